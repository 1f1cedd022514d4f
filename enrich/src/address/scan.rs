//! Every address in a free text: a shell command, a request, a line of a log.
//!
//! The text is an attacker's. One pass, no regular expressions, no copies: it looks for the separators of an address, and
//! from each one back and forward as far as an address can reach. What could be something else is left out: parts of
//! longer numbers (`1.2.3.4.5`) and of names (`1.2.3.4.example.com`), networks (`10.0.0.0/8`), times, hardware addresses
//! and paths of programs (`std::fmt`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::slice;

use super::escape::{Before, closed, ends_in_word, escaped, goes_on, is_foreign_letter, is_of_word};
use super::host::may_have_zone;
use super::spelling::defanged;

mod authority;
#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;

use authority::{Host, host, table};

/// Bytes of a text that are looked at.
pub const MOST_BYTES: usize = 1 << 20;

/// The longest spelling of an IPv6 address; a longer run of its characters is none.
const LONGEST_V6: usize = 45;
/// How far behind an address a host name is looked for that it begins.
const LONGEST_NAME: usize = 100;

/// Endings of files that are no domains, all of letters.
const FILE_ENDINGS: [&[u8]; 9] = [b"csv", b"gz", b"json", b"log", b"pcap", b"tgz", b"txt", b"xz", b"zst"];

/// Bytes at which a look is worth it.
const IS_SEPARATOR: [bool; 256] = table(b".:[({");

/// Hands over every address in the first [`MOST_BYTES`] of a text, in its order, repetitions included, until `found` says
/// that it wants no more.
///
/// Addresses are found in URLs of any scheme (hosts of a URL in the spellings of browsers as well), with ports, in
/// brackets, percent-encoded around, and defanged (`81[.]2[.]69[.]142`). Not found is what is encoded itself, but for hosts
/// (`2001%3Adb8%3A%3A1`, `8%31.2.69.142`); in an encoded URL (`http%3A%2F%2F010.1.1.1`) numbers are decimal; and to an IPv6 address behind a
/// word that nothing parts from it, the word is a label: `x2001:db8::1` is `db8::1`.
///
/// ```
/// let mut found = Vec::new();
/// enrich::address::scan(b"wget http://81.2.69.142/x; ping 2001:db8::1", |ip| {
///     found.push(ip.to_string());
///     true
/// });
/// assert_eq!(found, ["81.2.69.142", "2001:db8::1"]);
/// ```
pub fn scan(text: &[u8], mut found: impl FnMut(IpAddr) -> bool) {
    let is_cut = text.len() > MOST_BYTES;
    let text = &text[..text.len().min(MOST_BYTES)];
    // Behind the last address; and behind the last run of an IPv6 address's characters that was none.
    let (mut done, mut no_v6) = (0, 0);
    let mut at = 0;
    while let Some(step) = text.get(at..).and_then(|rest| rest.iter().position(|byte| IS_SEPARATOR[*byte as usize])) {
        at += step;
        let (separator, len) = match text[at] {
            b'.' => (&b"."[..], 1),
            b':' => (&b":"[..], 1),
            _ => match defanged(text, at) {
                Some((separator, len)) => (separator, len),
                None => {
                    at += 1;
                    continue;
                }
            },
        };
        let look = match separator {
            b"." => around_dot(text, at, done),
            b":" | b"::" | b"://" => match host(text, at, len, separator == b"://") {
                Some(Host::Address(ip, end)) => Look::Found(IpAddr::V4(ip), end),
                Some(Host::Name(end)) => Look::Passed(end),
                None if separator != b"://" && at >= no_v6 => around_colon(text, at, done).unwrap_or_else(|end| {
                    no_v6 = end;
                    Look::Nothing
                }),
                None => Look::Nothing,
            },
            _ => Look::Nothing,
        };
        at = match look {
            Look::Nothing => at + len,
            Look::Passed(end) => end,
            // What touches the cut may be longer.
            Look::Found(ip, end) => {
                let is_whole = !is_cut || end < text.len();
                if is_whole && !found(ip) {
                    return;
                }
                end
            }
        };
        if !matches!(look, Look::Nothing) {
            done = at;
        }
    }
}

/// What stands around a separator.
#[derive(Clone, Copy)]
enum Look {
    /// No address.
    Nothing,
    /// An address that does not count, and the place behind it.
    Passed(usize),
    /// An address, and the place behind it.
    Found(IpAddr, usize),
}

/// The four numbers whose first dot is at `dot`. Nothing before `from` belongs to them.
fn around_dot(text: &[u8], dot: usize, from: usize) -> Look {
    let before = &text[from..dot];
    // A defanged dot may begin before the byte that led here: with a blank, or with backslashes, which commands are full of.
    let dot = match before.last() {
        Some(b' ') if defanged(text, dot - 1).is_some() => dot - 1,
        Some(b'\\') => dot - before.iter().rev().take(2).take_while(|byte| **byte == b'\\').count(),
        _ => dot,
    };
    let digits = text[from..dot].iter().rev().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Look::Nothing;
    }
    let Some(start) = first_number(text, from, dot - digits, dot) else { return Look::Nothing };
    let Some((ip, end)) = quad(text, start) else { return Look::Nothing };
    // Of a range or a session (`10.0.0.1-10.0.0.2-www.example.com`), what stands behind the last one is no part of it.
    let ends_range = from > 0 && start == from + 1 && text[from] == b'-';
    let is_whole = closes(text, end) || begins_directory(&text[end..]);
    if !is_whole || !ends_range && begins_name(text, end) {
        return Look::Nothing;
    }
    let is_host = start > 0 && b"/@".contains(&text[start - 1]);
    match prefix(text, end) {
        Some((bits, end)) if !is_host && bits < 32 && ip.to_bits() << bits == 0 => Look::Passed(end),
        _ => Look::Found(IpAddr::V4(ip), end),
    }
}

/// Where the number begins that ends at `dot`, and whose digits begin at `digits`: they may be those of an escape.
fn first_number(text: &[u8], from: usize, digits: usize, dot: usize) -> Option<usize> {
    let Some(before) = Before::of(text, from, dot) else { return opens(text, digits).then_some(digits) };
    // All of the digits stand behind a percent sign: `LIKE '%192.168.1.1%'`.
    let behind_sign = before.is_percent.then(|| quad(text, before.digits)).flatten();
    if behind_sign.is_some_and(|(_, end)| before.is_no_text() || before.is_repeated(text, end)) {
        return Some(before.digits);
    }
    // Of an address or a name that is encoded itself: `%38%31.2.69.142`.
    if goes_on(before.character) {
        return None;
    }
    if before.end == dot {
        return before.is_percent.then_some(before.digits);
    }
    let is_product = before.character == u32::from(b'/') && names_product(&text[..before.start]);
    (!is_product).then_some(before.end)
}

/// Four decimal numbers, their dots defanged or not, and where they end.
fn quad(text: &[u8], start: usize) -> Option<(Ipv4Addr, usize)> {
    let (mut at, mut bits) = (start, 0u32);
    for octet in 0..4 {
        if octet > 0 {
            at += match text.get(at..)? {
                [b'.', b'0'..=b'9', ..] => 1,
                _ => defanged(text, at).filter(|(separator, _)| *separator == b".")?.1,
            };
        }
        let digits = text[at..].iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=3).contains(&digits) {
            return None;
        }
        let number = text[at..at + digits].iter().fold(0u32, |sum, byte| sum * 10 + u32::from(byte - b'0'));
        if number > 255 {
            return None;
        }
        bits = bits << 8 | number;
        at += digits;
    }
    Some((Ipv4Addr::from_bits(bits), at))
}

/// The IPv6 address around the colon at `colon`; `Err` is where the run of its characters ends, where that is none.
fn around_colon(text: &[u8], colon: usize, from: usize) -> Result<Look, usize> {
    // Behind a percent sign that encodes nothing (`LIKE '%2001:db8::1'`) all of the digits are a group: no address goes on
    // with `01`.
    let begins = |before: &Before| {
        !before.is_percent
            || is_of_word(before.character)
            || matches!(&text[before.end..colon], b"" | b"0" | b"64" | [_, _, _, ..])
    };
    let (start, is_open, is_encoded) = match Before::of(text, from, colon).filter(begins) {
        Some(before) => (before.end, true, belongs_to_group(&text[..before.start], before.character)),
        None => {
            let digits = text[from..colon].iter().rev().take(5).take_while(|byte| byte.is_ascii_hexdigit()).count();
            let start = colon - digits;
            let is_encoded = closed(&text[..start]).is_some_and(|(at, next)| belongs_to_group(&text[..at], next));
            (start, opens(text, start), is_encoded)
        }
    };
    // A word before the colon is a label: `src:2001:db8::1`.
    let is_labelled = !is_open && text.get(colon + 1).is_some_and(u8::is_ascii_hexdigit);
    let start = if is_labelled { colon + 1 } else { start };
    let (mut plain, mut len) = ([0u8; LONGEST_V6 + 1], 0);
    // Where each character of the plain spelling ends in the text.
    let (mut end, mut ends) = (start, [0usize; LONGEST_V6 + 1]);
    while let Some(byte) = text.get(end) {
        let (spelled, width) = match byte {
            b':' | b'.' => (slice::from_ref(byte), 1),
            byte if byte.is_ascii_hexdigit() => (slice::from_ref(byte), 1),
            _ => match defanged(text, end) {
                Some((separator @ (b":" | b"::" | b"."), width)) => (separator, width),
                _ => break,
            },
        };
        end += width;
        for byte in spelled {
            if let (Some(place), Some(ending)) = (plain.get_mut(len), ends.get_mut(len)) {
                (*place, *ending) = (*byte, end);
            }
            len += 1;
        }
    }
    let run = end;
    if len > LONGEST_V6 || is_encoded || !is_labelled && !is_open {
        return Err(run);
    }
    let mut word = &plain[..len];
    // The end of a sentence or of a clause.
    while word.ends_with(b".") || word.ends_with(b":") && !word.ends_with(b"::") {
        word = &word[..word.len() - 1];
    }
    let colons = word.iter().filter(|byte| **byte == b':').count();
    if colons < 2 || !word.iter().any(u8::is_ascii_digit) || is_hardware(word) {
        return Err(run);
    }
    let end = ends[word.len() - 1];
    let ip = str::from_utf8(word).ok().and_then(|word| word.parse::<Ipv6Addr>().ok()).ok_or(run)?;
    // A zone may look like an escape: `fe80::1%31`.
    let has_zone = may_have_zone(ip) && text.get(end) == Some(&b'%');
    if !has_zone && (!closes(text, end) || has_colon(&text[end..])) {
        return Err(run);
    }
    Ok(match prefix(text, end) {
        Some((bits, end)) if bits < 128 && ip.to_bits() << bits == 0 => Look::Passed(end),
        _ => Look::Found(IpAddr::V6(ip), end),
    })
}

/// Whether an escape before a group is one of its digits, or the colon behind another group (`2001%3Adb8::1`); behind a
/// word it ends a label. `before`: what stands before the escape.
fn belongs_to_group(before: &[u8], character: u32) -> bool {
    let ends_group = || {
        let digits = before.iter().rev().take(5).take_while(|byte| byte.is_ascii_hexdigit()).count();
        (1..=4).contains(&digits) && !before[..before.len() - digits].last().is_some_and(u8::is_ascii_alphanumeric)
    };
    is_of_word(character) || character == u32::from(b':') && ends_group()
}

/// Whether an IPv6 address goes on with an encoded colon.
fn has_colon(text: &[u8]) -> bool {
    let colon = escaped(text).filter(|(character, _)| *character == u32::from(b':'));
    colon.is_some_and(|(_, len)| text.get(len).is_some_and(|next| next.is_ascii_hexdigit() || b":%\\&".contains(next)))
}

/// Eight groups of two digits are an EUI-64 or a world wide name.
fn is_hardware(word: &[u8]) -> bool {
    word.len() == 23 && word.split(|byte| *byte == b':').all(|group| group.len() == 2)
}

/// Whether an address may begin at `start`: what is before it does not belong to it.
fn opens(text: &[u8], start: usize) -> bool {
    let before = &text[..start];
    let Some(last) = before.last() else { return true };
    if last.is_ascii_alphanumeric() {
        // An escaped byte in a command: `\n1.2.3.4`.
        let escaped = [b"\\n", b"\\t", b"\\r"].iter().any(|escape| before.ends_with(*escape));
        return escaped || ends_colour(before);
    }
    let is_product = before.strip_suffix(b"/").is_some_and(names_product);
    if is_product || ends_in_word(before) || is_wide_digit(&before[start.saturating_sub(3)..]) {
        return false;
    }
    // The end of a longer number or name.
    let is_dotted = |len: usize| {
        let Some(at) = start.checked_sub(len) else { return false };
        let is_dot = len == 1 && before[at] == b'.' || defanged(text, at) == Some((b".", len));
        is_dot && at > 0 && before[at - 1].is_ascii_alphanumeric()
    };
    ![1, 2, 3, 5, 7].into_iter().any(is_dotted)
}

/// A digit as wide as a Chinese character, which browsers read as any other.
fn is_wide_digit(text: &[u8]) -> bool {
    matches!(text, [0xef, 0xbc, 0x90..=0x99, ..])
}

/// A terminal's colour: `ESC[31m`.
fn ends_colour(before: &[u8]) -> bool {
    let Some(codes) = before.strip_suffix(b"m") else { return false };
    let len = codes.iter().rev().take(12).take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
    codes[..codes.len() - len].ends_with(b"[")
}

/// Whether a text before a slash ends with a product's name, whose version follows: `Chrome/126.0.0.0`. Not a part of a
/// path (`/Data/1.2.3.4`).
fn names_product(name: &[u8]) -> bool {
    let len = name.iter().rev().take(32).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let (rest, name) = name.split_at(name.len() - len);
    // Encoded, as the slash may be: `%20Chrome%2F126.0.0.0`.
    let (is_path, name) = match name {
        [high, low, name @ ..] if rest.ends_with(b"%") => ([*high, *low].eq_ignore_ascii_case(b"2f"), name),
        _ => (rest.ends_with(b"/"), name),
    };
    name.first().is_some_and(u8::is_ascii_uppercase) && !is_path
}

/// Whether an address may end at `end`.
fn closes(text: &[u8], end: usize) -> bool {
    let rest = &text[end..];
    let dot = match rest {
        [] => return true,
        [byte, ..] if byte.is_ascii_alphanumeric() => return false,
        [b'.', ..] => 1,
        [0xef, ..] => return !is_wide_digit(rest),
        _ => match (defanged(text, end), escaped(rest)) {
            (Some((b".", len)), _) if rest[0] != b' ' => len,
            (_, Some((character, _))) if is_of_word(character) => return false,
            (_, Some((character, len))) if character == u32::from(b'.') => len,
            _ => return true,
        },
    };
    let rest = &rest[dot..];
    !rest.first().is_some_and(u8::is_ascii_alphanumeric) && !escaped(rest).is_some_and(|(next, _)| is_of_word(next))
}

/// Whether the escaped letter behind a server's address is the name of a directory: `\\10.0.0.5\x64\setup.exe`.
fn begins_directory(rest: &[u8]) -> bool {
    let backslashes = rest.iter().take_while(|byte| **byte == b'\\').count();
    backslashes > 0 && matches!(rest[backslashes..], [b'x', b'4'..=b'7', ..])
}

/// Whether what is behind an address leads to a domain, encoded, defanged or not: `81.2.69.142-static.example.com`. Not the
/// name of a user or of a file (`81.2.69.142-john.doe`, `81.2.69.142-sshd.log`, `81.2.69.142-10.0.0.5.pcap.gz`), nor what
/// stands behind another address.
fn begins_name(text: &[u8], end: usize) -> bool {
    if !matches!(of_name(text, end), Some((b'-', _))) {
        return false;
    }
    let (mut plain, mut len, mut at) = ([0u8; LONGEST_NAME], 0, end);
    while let (Some(place), Some((byte, width))) = (plain.get_mut(len), of_name(text, at)) {
        *place = byte;
        (len, at) = (len + 1, at + width);
    }
    let plain = &plain[..len];
    let is_address = |at: usize| quad(plain, at).is_some_and(|(_, end)| closes(plain, end));
    let other = (0..len).find(|at| plain[*at] == b'-' && is_address(at + 1));
    let name = &plain[..other.unwrap_or(len)];
    let trimmed = name.iter().rposition(|byte| !b"-_.".contains(byte)).map_or(0, |last| last + 1);
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || !byte.is_ascii();
    let is_file = |label: &[u8]| FILE_ENDINGS.iter().any(|ending| label.eq_ignore_ascii_case(ending));
    let is_word = |label: &[u8]| label.len() > 1 && label.iter().all(is_letter) && !is_file(label);
    let is_top = |label: &[u8]| is_word(label) || label.starts_with(b"xn--");
    let mut labels = name[..trimmed].rsplit(|byte| *byte == b'.');
    labels.next().is_some_and(is_top)
        && labels.next().is_some_and(|label| label.iter().any(is_letter))
        && labels.next().is_some()
}

/// A byte of a name, as it is or defanged or encoded, and how long it is in the text.
fn of_name(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let byte = *text.get(at)?;
    if is_of_name(byte) {
        return Some((byte, 1));
    }
    let (character, len) = match defanged(text, at) {
        Some((b".", len)) => return Some((b'.', len)),
        _ => escaped(&text[at..]).unwrap_or((byte.into(), 1)),
    };
    let byte = u8::try_from(character).unwrap_or(u8::MAX);
    // The bytes behind the first one of a letter outside of ASCII, too.
    (is_of_name(byte) || is_foreign_letter(character) || matches!(byte, 0x80..=0xbf)).then_some((byte, len))
}

/// A prefix length behind an address, and where it ends.
fn prefix(text: &[u8], end: usize) -> Option<(u32, usize)> {
    let rest = text.get(end..)?.strip_prefix(b"/")?;
    let digits = rest.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    let bits: u32 = str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    let end = end + 1 + digits;
    (closes(text, end) && text.get(end) != Some(&b'/')).then_some((bits, end))
}
