//! Characters written as escapes, as they stand before, in and behind the addresses of a text: `%20`, `%2520`, `%u0020`,
//! `\x20`, `\u0020`, `\u{20}`, `\062`, `&#32;`.
//!
//! An attacker writes digits that way: `%38%31.2.69.142` holds another address than `31.2.69.142`.

/// The longest run of hexadecimal digits in which an escape is looked for: one encoded three times, and a number.
const LONGEST_RUN: usize = 10;

/// The character that a text begins with, if it is an escape, and how long that is.
pub(super) fn escaped(text: &[u8]) -> Option<(u32, usize)> {
    match text {
        [b'%', b'u' | b'U', digits @ ..] => Some((hex(digits, 4)?, 6)),
        [b'%', b'2', b'5', ..] => {
            // Encoded again, at most as often as it is read backwards.
            let signs = text[1..].chunks_exact(2).take(4).take_while(|pair| pair == b"25").count();
            match hex(&text[1 + 2 * signs..], 2) {
                Some(inner) => Some((inner, 3 + 2 * signs)),
                None => Some((b'%'.into(), 1 + 2 * signs)),
            }
        }
        [b'%', digits @ ..] => Some((hex(digits, 2)?, 3)),
        [b'\\', b'x', digits @ ..] => Some((hex(digits, 2)?, 4)),
        [b'\\', b'u', b'{', digits @ ..] => braced(digits, b'}', 16).map(|(value, len)| (value, len + 3)),
        [b'\\', b'u', digits @ ..] => Some((hex(digits, 4)?, 6)),
        // No others than these: a path may be `\101`.
        [b'\\', b'0', high @ b'0'..=b'7', low @ b'0'..=b'7', ..] => {
            Some((u32::from(high - b'0') << 3 | u32::from(low - b'0'), 4))
        }
        [b'&', b'#', b'x' | b'X', digits @ ..] => braced(digits, b';', 16).map(|(value, len)| (value, len + 3)),
        [b'&', b'#', digits @ ..] => braced(digits, b';', 10).map(|(value, len)| (value, len + 2)),
        _ => None,
    }
}

/// A number of so many hexadecimal digits.
fn hex(text: &[u8], len: usize) -> Option<u32> {
    text.get(..len)?.iter().try_fold(0, |sum, byte| Some(sum << 4 | char::from(*byte).to_digit(16)?))
}

/// A number of at most seven digits up to an end, and the length of both.
fn braced(text: &[u8], end: u8, radix: u32) -> Option<(u32, usize)> {
    let len = text.iter().take(8).position(|byte| *byte == end).filter(|len| *len > 0)?;
    let value = text[..len].iter().try_fold(0, |sum, byte| Some(sum * radix + char::from(*byte).to_digit(radix)?))?;
    Some((value, len + 1))
}

/// Whether a character goes on with a number or a word.
pub(super) fn is_of_word(character: u32) -> bool {
    u8::try_from(character).is_ok_and(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a character goes on with a number, a word or an address.
pub(super) fn goes_on(character: u32) -> bool {
    is_of_word(character) || character == u32::from(b'.')
}

/// Whether a text ends with an escape of a letter, a digit or a dot that has an end of its own, so that none of its digits
/// run into what follows.
pub(super) fn ends_in_word(text: &[u8]) -> bool {
    if !matches!(text.last(), Some(b';' | b'}')) {
        return false;
    }
    let tail = &text[text.len().saturating_sub(12)..];
    let Some(start) = tail.iter().rposition(|byte| b"&\\".contains(byte)) else { return false };
    escaped(&tail[start..]).is_some_and(|(value, len)| len == tail.len() - start && goes_on(value))
}

/// An escape whose digits run into those of a number: `%2081`, `\x2081`, `\u002081`.
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
        let (sign, len, is_percent) = match &text[from..first] {
            [.., b'%'] => (1, 2, true),
            [.., b'\\', b'x'] => (2, 2, false),
            [.., b'\\' | b'%', b'u'] => (2, 4, false),
            _ => return None,
        };
        let start = first - sign;
        let mut digits = first;
        while is_percent && end - digits > 2 && text[digits..].starts_with(b"25") {
            digits += 2;
        }
        if let Some(character) = hex(&text[digits..end], len) {
            return Some(Before { start, digits, end: digits + len, character, is_percent });
        }
        // `%253`: a percent sign that is encoded, and one digit.
        let is_sign = digits > first;
        is_sign.then(|| Before { start, digits: digits - 2, end: digits, character: b'%'.into(), is_percent })
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
            ("\\062", '2', 4),
            ("&#50;", '2', 5),
            ("&#x32;", '2', 6),
        ] {
            assert_eq!(escaped(text.as_bytes()), Some((character.into(), len)), "{text}");
        }
        for text in ["", "%", "%2", "%zz", "\\n", "\\", "\\x", "\\u{}", "\\101", "&amp;", "&#;", "&#12345678;", "50;"] {
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
