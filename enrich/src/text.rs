//! Text from outside, made safe to store and to show.
//!
//! Names of organizations, cities and scanners come from DNS, whois, HTTP and files. PostgreSQL refuses a
//! NUL in a text, and one refused value would lose the whole batch it came in; a terminal obeys control
//! characters; and an index row has no room for 300 kB.

use std::borrow::Cow;

#[cfg(test)]
mod tests;

/// How long a stored text may be, in bytes of UTF-8.
pub const MAX_TEXT: usize = 255;

/// Shows that a text was cut. Three bytes, which count against the limit.
const ELLIPSIS: char = '…';

/// `raw` without control characters, with single blanks between words and none around, and at most
/// `max_bytes` long.
///
/// - White space in Unicode's sense, line breaks and tabs included: every run becomes one blank.
/// - Other control characters (C0, DEL, C1) and the bidirectional overrides and isolates (U+202A–202E,
///   U+2066–2069, which make a line read as something it is not) are dropped.
/// - A longer text is cut between two characters and ends in `…`; a limit of less than three bytes has no room for that
///   and only cuts.
///
/// Borrows from `raw` unless something inside it changes. A clean text stays as it is, so cleaning twice is the same as
/// once. Time and memory depend on `max_bytes`, not on the rest of the text.
///
/// ```
/// use enrich::text::clean;
/// assert_eq!(clean("  Example\0 Net\n", 255), "Example Net");
/// assert_eq!(clean("Example Net", 10), "Example…");
/// ```
pub fn clean(raw: &str, max_bytes: usize) -> Cow<'_, str> {
    let trimmed = raw.trim();
    if trimmed.len() <= max_bytes && is_clean(trimmed) {
        return Cow::Borrowed(trimmed);
    }
    let mut out = String::with_capacity(trimmed.len().min(max_bytes));
    let mut blank = false;
    for c in trimmed.chars() {
        if c.is_whitespace() {
            blank = true;
            continue;
        }
        if is_dropped(c) {
            continue;
        }
        // The blank waits for the character after it, so none is left at either end.
        let blanks = usize::from(blank && !out.is_empty());
        if out.len() + blanks + c.len_utf8() > max_bytes {
            return Cow::Owned(cut(out, max_bytes));
        }
        if blanks == 1 {
            out.push(' ');
        }
        out.push(c);
        blank = false;
    }
    Cow::Owned(out)
}

/// Whether a trimmed text needs no change.
fn is_clean(trimmed: &str) -> bool {
    let mut after_blank = false;
    trimmed.chars().all(|c| {
        let blank = c == ' ';
        let fine = if blank { !after_blank } else { !c.is_whitespace() && !is_dropped(c) };
        after_blank = blank;
        fine
    })
}

fn is_dropped(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Ends a text that had more to say with the ellipsis, inside the limit.
fn cut(mut out: String, max_bytes: usize) -> String {
    let Some(room) = max_bytes.checked_sub(ELLIPSIS.len_utf8()) else {
        return out;
    };
    out.truncate(out.floor_char_boundary(room));
    out.truncate(out.trim_end().len());
    out.push(ELLIPSIS);
    out
}
