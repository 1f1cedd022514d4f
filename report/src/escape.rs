//! Text from outside, made safe to stand in the page.

use enrich::text::clean;

/// Longest name shown in a table, in characters.
pub const NAME: usize = 60;

/// `raw` as HTML text or as the value of a quoted attribute: control characters and bidirectional marks dropped, cut
/// to `chars` characters, markup escaped.
pub fn html(raw: &str, chars: usize) -> String {
    markup(&plain(raw, chars))
}

/// `raw` safe to be read, but not yet markup: the plots' backend escapes by itself.
pub fn plain(raw: &str, chars: usize) -> String {
    // Four bytes hold any character.
    let clean = clean(raw, chars.saturating_mul(4));
    let kept: String = clean.chars().filter(|c| !is_hidden(*c)).collect();
    if kept.chars().count() <= chars {
        return kept;
    }
    let mut cut: String = kept.chars().take(chars.saturating_sub(1)).collect();
    cut.truncate(cut.trim_end_matches([' ', '…']).len());
    cut.push('…');
    cut
}

/// Marks that change the direction of the text, and characters that XML forbids.
fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}'
    )
}

fn markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The same page with a character reference for everything that is not ASCII.
pub fn ascii(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    for c in page.chars() {
        if c.is_ascii() { out.push(c) } else { out.push_str(&format!("&#{};", u32::from(c))) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text() {
        assert_eq!(
            html("<script>alert(\"1\" & '2')</script>", NAME),
            "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;"
        );
        assert_eq!(html("&lt;b&gt;", NAME), "&amp;lt;b&amp;gt;", "what is escaped already is text all the same");
    }

    #[test]
    fn what_hides_or_turns_text_is_dropped() {
        assert_eq!(html("a\u{0}b\u{1b}[31m\u{7f}\u{85}c", NAME), "ab[31m c");
        assert_eq!(html("x\u{202e}gpj.exe\u{2066}\u{200f}\u{61c}y", NAME), "xgpj.exey");
        assert_eq!(html("a\r\n\tb\u{fffe}", NAME), "a b");
    }

    #[test]
    fn long_names_are_cut_in_characters_and_before_escaping() {
        assert_eq!(html(&"<".repeat(1000), 5), "&lt;&lt;&lt;&lt;…");
        assert_eq!(html("Größe überall", 6), "Größe…");
        assert_eq!(html("Größe", 5), "Größe");
        assert_eq!(html(&"𝕏".repeat(100), 3), "𝕏𝕏…");
    }

    #[test]
    fn a_page_in_ascii_says_the_same() {
        assert_eq!(ascii("Zürich – 𝕏"), "Z&#252;rich &#8211; &#120143;");
    }
}
