//! Characters written as escapes, as they stand before, in and behind the addresses of a text: `%20`, `%2520`, `%u0020`,
//! `\x20`, `\u0020`, `\u{20}`, `\U00000020`, `\062`, `&#32;`; with backslashes doubled and `&amp;` for `&`.
//!
//! An attacker writes digits that way: `%38%31.2.69.142` holds another address than `31.2.69.142`.

/// The longest run of hexadecimal digits in which an escape is looked for: the eight of `\U00000020`, and a group.
const LONGEST_RUN: usize = 12;
/// Backslashes that stand for one, each program on the way having doubled them.
const MOST_BACKSLASHES: usize = 8;

/// The character that a text begins with, if it is an escape, and how long that is.
pub(super) fn escaped(text: &[u8]) -> Option<(u32, usize)> {
    match text {
        [b'%', rest @ ..] => {
            // Encoded again, at most as often as it is read backwards.
            let signs = rest.chunks_exact(2).take(4).take_while(|pair| pair == b"25").count();
            let (inner, len) = match &rest[2 * signs..] {
                [b'u' | b'U', digits @ ..] => (hex(digits, 4), 5),
                digits => (hex(digits, 2), 2),
            };
            match inner {
                Some(inner) => Some((inner, 1 + 2 * signs + len)),
                None => (signs > 0).then_some((b'%'.into(), 1 + 2 * signs)),
            }
        }
        [b'\\', rest @ ..] => {
            let more = rest.iter().take(MOST_BACKSLASHES).take_while(|byte| **byte == b'\\').count();
            behind_backslash(&rest[more..]).map(|(value, len)| (value, 1 + more + len))
        }
        [b'&', rest @ ..] => {
            let again = rest.chunks_exact(4).take(2).take_while(|four| four == b"amp;").count();
            reference(&rest[4 * again..]).map(|(value, len)| (value, 1 + 4 * again + len))
        }
        _ => None,
    }
}

/// The rest of an escape that begins with a backslash.
fn behind_backslash(text: &[u8]) -> Option<(u32, usize)> {
    match text {
        [b'x' | b'u', b'{', digits @ ..] => {
            let (value, len) = number(digits, 16)?;
            (digits.get(len) == Some(&b'}')).then_some((value, len + 3))
        }
        [b'x', digits @ ..] => Some((hex(digits, 2)?, 3)),
        [b'u', digits @ ..] => Some((hex(digits, 4)?, 5)),
        [b'U', digits @ ..] => Some((hex(digits, 8)?, 9)),
        // Octal numbers without a zero are parts of paths: `C:\inetpub\66.249.66.1\64bit`.
        [b'0', high @ b'0'..=b'7', low @ b'0'..=b'7', ..] => {
            Some((u32::from(high - b'0') << 3 | u32::from(low - b'0'), 3))
        }
        _ => None,
    }
}

/// The rest of a character reference of HTML, which browsers read without its semicolon too.
fn reference(text: &[u8]) -> Option<(u32, usize)> {
    let (digits, sign, radix) = match text {
        [b'#', b'x' | b'X', digits @ ..] => (digits, 2, 16),
        [b'#', digits @ ..] => (digits, 1, 10),
        _ if text.starts_with(b"period;") => return Some((b'.'.into(), 7)),
        _ if text.starts_with(b"colon;") => return Some((b':'.into(), 6)),
        _ => return None,
    };
    let (value, len) = number(digits, radix)?;
    Some((value, sign + len + usize::from(digits.get(len) == Some(&b';'))))
}

/// A number of so many hexadecimal digits.
fn hex(text: &[u8], len: usize) -> Option<u32> {
    text.get(..len)?.iter().try_fold(0, |sum, byte| Some(sum << 4 | char::from(*byte).to_digit(16)?))
}

/// A number of at most seven digits, and how many it has.
fn number(text: &[u8], radix: u32) -> Option<(u32, usize)> {
    let digits = text.iter().take(8).map_while(|byte| char::from(*byte).to_digit(radix));
    let (value, len) = digits.fold((0u32, 0), |(sum, len), digit| (sum * radix + digit, len + 1));
    (1..=7).contains(&len).then_some((value, len))
}

/// Whether a character goes on with a number or a word.
pub(super) fn is_of_word(character: u32) -> bool {
    u8::try_from(character).is_ok_and(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a character goes on with a number, a word or an address.
pub(super) fn goes_on(character: u32) -> bool {
    is_of_word(character) || character == u32::from(b'.')
}

/// Whether a character outside of ASCII, or the first byte of one, may be a letter of a name: no quote, no comma and no blank.
pub(super) fn is_foreign_letter(character: u32) -> bool {
    character > 0xbf && !matches!(character, 0xc2 | 0xe2 | 0x2000..=0x206f | 0x3000..=0x303f | 0xff00..=0xff0d)
}

/// The escape that a text ends with, if it has an end of its own, so that none of its digits run into what follows: where
/// it begins, and its character.
pub(super) fn closed(text: &[u8]) -> Option<(usize, u32)> {
    if !matches!(text.last(), Some(b';' | b'}')) {
        return None;
    }
    let from = text.len().saturating_sub(20);
    let start = from + text[from..].iter().rposition(|byte| b"&\\".contains(byte))?;
    let (character, len) = escaped(&text[start..])?;
    (start + len == text.len()).then_some((start, character))
}

/// Whether a text ends with such an escape of a letter, a digit or a dot.
pub(super) fn ends_in_word(text: &[u8]) -> bool {
    closed(text).is_some_and(|(_, character)| goes_on(character))
}

/// An escape whose digits run into those of a number: `%2081`, `\x2081`, `\u002081`, `&#3281`.
pub(super) struct Before {
    /// Where it begins.
    pub start: usize,
    /// Where its digits begin, and so a number begins that stands behind a percent sign which encodes nothing.
    pub digits: usize,
    /// The place behind it.
    pub end: usize,
    pub character: u32,
    /// Whether all of it may be a percent sign (itself encoded or not) before a number.
    pub is_percent: bool,
}

impl Before {
    /// The escape that runs into the digits that end at `end`. Nothing before `from` belongs to it.
    pub fn of(text: &[u8], from: usize, end: usize) -> Option<Before> {
        let run = text[from..end].iter().rev().take(LONGEST_RUN).take_while(|byte| byte.is_ascii_hexdigit()).count();
        let first = end - run;
        let before = &text[from..first];
        let sign = match before {
            [.., b'%'] => return Before::percent(text, first, end),
            [.., b'\\'] => 1,
            [.., b'\\', b'x' | b'u' | b'U'] | [.., b'%', b'u'] | [.., b'&', b'#'] => 2,
            [.., b'&', b'#', b'x' | b'X'] => 3,
            _ => return None,
        };
        let start = first - sign;
        let (character, len) = escaped(&text[start..end])?;
        Some(Before { start, digits: first, end: start + len, character, is_percent: false })
    }

    /// The one whose percent sign stands before `first`.
    fn percent(text: &[u8], first: usize, end: usize) -> Option<Before> {
        let (start, mut digits) = (first - 1, first);
        while end - digits > 2 && text[digits..].starts_with(b"25") {
            digits += 2;
        }
        if let Some(character) = hex(&text[digits..end], 2) {
            return Some(Before { start, digits, end: digits + 2, character, is_percent: true });
        }
        // `%253`: a percent sign that is encoded, and one digit.
        let is_sign = digits > first;
        is_sign.then(|| Before { start, digits: digits - 2, end: digits, character: b'%'.into(), is_percent: true })
    }

    /// Whether no text has its character: then the percent sign encodes nothing.
    pub fn is_no_text(&self) -> bool {
        self.is_percent && matches!(self.character, 0x01..=0x08 | 0x0b | 0x0c | 0x0e..=0x1f)
    }

    /// Whether it is a character in the middle of a word or an address: `8%31.2.69.142`, `2001:%64b8::1`.
    pub fn is_inside(&self, text: &[u8]) -> bool {
        let before = &text[..self.start];
        let is_glued = before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || b".:".contains(byte));
        is_of_word(self.character) && (is_glued || ends_in_word(before))
    }

    /// Whether the same percent sign stands at `end` and encodes nothing, and so this one does not either: `LIKE '%…%'`.
    pub fn is_repeated(&self, text: &[u8], end: usize) -> bool {
        let after = text[end..].strip_prefix(&text[self.start..self.digits]);
        self.is_percent
            && !self.is_inside(text)
            && after.is_some_and(|after| hex(after, 2).is_none() && !after.starts_with(b"u00"))
    }
}

/// A host without its percent signs, in a place that is long enough for it; `None` where they encode nothing.
pub(super) fn percent_decoded<'a>(host: &[u8], place: &'a mut [u8]) -> Option<&'a [u8]> {
    let (mut at, mut len) = (0, 0);
    while let Some(byte) = host.get(at) {
        let (byte, width) = match byte {
            b'%' => (u8::try_from(hex(&host[at + 1..], 2)?).ok()?, 3),
            byte => (*byte, 1),
        };
        *place.get_mut(len)? = byte;
        (at, len) = (at + width, len + 1);
    }
    place.get(..len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_in_all_forms() {
        for (text, character, len) in [
            ("%20", ' ', 3),
            ("%2e1", '.', 3),
            ("%2532", '2', 5),
            ("%252532", '2', 7),
            ("%25x", '%', 3),
            ("%u0032", '2', 6),
            ("\\x321", '2', 4),
            ("\\u00321", '2', 6),
            ("\\u{32}1", '2', 6),
            ("\\x{32}1", '2', 6),
            ("\\U000000321", '2', 10),
            ("\\\\u00321", '2', 7),
            ("\\\\\\\\x321", '2', 7),
            ("\\062", '2', 4),
            ("&#50;", '2', 5),
            ("&#x32;", '2', 6),
            ("&#50x", '2', 4),
            ("&amp;#x32", '2', 9),
            ("&amp;amp;#50;", '2', 13),
            ("&period;1", '.', 8),
            ("&amp;colon;", ':', 11),
            ("%25u00321", '2', 8),
        ] {
            assert_eq!(escaped(text.as_bytes()), Some((character.into(), len)), "{text}");
        }
        for text in [
            "",
            "%",
            "%2",
            "%zz",
            "\\n",
            "\\",
            "\\x",
            "\\u{}",
            "\\101",
            "\\62",
            "\\64bit",
            "\\x{32",
            "&amp;",
            "&#;",
            "&#12345678;",
            "&periods",
            "50;",
        ] {
            assert_eq!(escaped(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_host_is_decoded_once() {
        let mut place = [0; 16];
        assert_eq!(percent_decoded(b"8%31%2e2", &mut place), Some(&b"81.2"[..]));
        assert_eq!(percent_decoded(b"8%2531", &mut place), Some(&b"8%31"[..]));
        for host in ["8%", "8%3", "8%zz", "more than its place has"] {
            assert_eq!(percent_decoded(host.as_bytes(), &mut place), None, "{host}");
        }
    }
}
