//! Every address in a free text: a shell command, a request, a line of a log.
//!
//! The text is an attacker's. One pass, no regular expressions, no copies: it looks for the separators of an address, and
//! from each one back and forward as far as an address can reach. What could be something else is left out: parts of
//! longer numbers (`1.2.3.4.5`) and of names (`1.2.3.4.example.com`), networks (`10.0.0.0/8`), times, hardware addresses
//! and paths of programs (`std::fmt`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::spelling::{defanged, host_of_browsers, refanged};

#[cfg(test)]
mod tests;

/// Bytes of a text that are looked at.
pub const MOST_BYTES: usize = 1 << 20;

/// The longest spelling of an IPv6 address; a longer run of its characters is none.
const LONGEST_V6: usize = 45;
/// Where the authority of a URL ends at the latest.
const LONGEST_AUTHORITY: usize = 255;

/// Bytes at which a look is worth it.
const IS_SEPARATOR: [bool; 256] = table(b".:[({");
/// Bytes that no authority of a URL has, and those that may begin a defanged separator. A password may have the others.
const ENDS_AUTHORITY: [bool; 256] = table(b"\t\n\x0c\r /?#\"'<>|;`,\\)}]&[({");

const fn table(bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
}

/// Hands over every address in the first [`MOST_BYTES`] of a text, in its order, repetitions included, until `found` says
/// that it wants no more.
///
/// Addresses are found in URLs of any scheme (hosts of a URL in the spellings of browsers as well), with ports, in
/// brackets, percent-encoded around, and defanged (`81[.]2[.]69[.]142`). Not found is what is encoded itself
/// (`2001%3Adb8%3A%3A1`); in an encoded URL (`http%3A%2F%2F010.1.1.1`) numbers are decimal; and to an IPv6 address behind a
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
            _ => match defanged(&text[at..]) {
                Some((separator, len)) => (separator, len),
                None => {
                    at += 1;
                    continue;
                }
            },
        };
        let (separator, len) = match separator {
            b":" => slashes(&text[at + len..]).map_or((separator, len), |slashes| (b"://", len + slashes)),
            _ => (separator, len),
        };
        let look = match separator {
            b"." => around_dot(text, at, done),
            b"://" => host(text, at + len),
            b":" if at >= no_v6 => around_colon(text, at, done).unwrap_or_else(|end| {
                no_v6 = end;
                Look::Nothing
            }),
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

/// How long the two slashes are that a text begins with: plain, defanged, or escaped as some write JSON (`http:\/\/`).
fn slashes(text: &[u8]) -> Option<usize> {
    let slash = |text: &[u8]| match text {
        [b'/', ..] => Some(1),
        [b'\\', b'/', ..] => Some(2),
        [b'[', b'/', b']', ..] => Some(3),
        _ => None,
    };
    let first = slash(text)?;
    Some(first + slash(&text[first..])?)
}

/// The host of a URL whose authority starts at `start`, where only browsers see an address in it; or any IPv4 address.
fn host(text: &[u8], start: usize) -> Look {
    let rest = &text[start..text.len().min(start + LONGEST_AUTHORITY)];
    let (len, is_defanged) = authority(rest);
    // What touches the limit may be longer.
    let Some(authority) = rest.get(..len).filter(|_| len < LONGEST_AUTHORITY) else { return Look::Nothing };
    let found = if is_defanged {
        let plain = refanged(authority);
        plain.and_then(|plain| browsed(&plain)).map(|(ip, end)| (ip, behind(authority, end)))
    } else {
        browsed(authority)
    };
    found.map_or(Look::Nothing, |(ip, end)| Look::Found(IpAddr::V4(ip), start + end))
}

/// How long the authority is that a text begins with, and whether there are defanged separators in it.
fn authority(text: &[u8]) -> (usize, bool) {
    let (mut end, mut is_defanged) = (0, false);
    while let Some(step) = text[end..].iter().position(|byte| ENDS_AUTHORITY[*byte as usize]) {
        end += step;
        match defanged(&text[end..]) {
            Some((b"." | b":" | b"@", len)) => (end, is_defanged) = (end + len, true),
            _ => return (end, is_defanged),
        }
    }
    (text.len(), is_defanged)
}

/// The IPv4 address that a browser sees in an authority, and where its host and port end.
fn browsed(authority: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let start = authority.iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 1);
    let host = &authority[start..];
    // Most are names.
    if !host.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let len = (0..host.len()).find(|at| !is_of_host(&host[*at..])).unwrap_or(host.len());
    let host = &host[..len];
    let name = match host.iter().position(|byte| *byte == b':') {
        // No port but the next group of an IPv6 address without brackets, which is looked for by its colons.
        Some(colon) if colon <= 4 && host[colon + 1..].contains(&b':') => return None,
        Some(colon) => &host[..colon],
        None => host,
    };
    Some((host_of_browsers(name)?, start + len))
}

/// Whether a text goes on with a character of a host or a port. Punctuation outside of ASCII (quotes, a hard blank) is in
/// no name, other letters are.
fn is_of_host(text: &[u8]) -> bool {
    match text {
        [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
            let byte = digit(*high) << 4 | digit(*low);
            byte != b':' && is_of_host(&[byte])
        }
        [0xc2, ..] | [0xe2, 0x80, ..] => false,
        [byte, ..] => byte.is_ascii_alphanumeric() || b".:-_%".contains(byte) || !byte.is_ascii(),
        [] => false,
    }
}

/// Where in a defanged text the first `plain` bytes of its plain spelling end.
fn behind(text: &[u8], plain: usize) -> usize {
    let (mut at, mut passed) = (0, 0);
    while passed < plain {
        let (separator, len) = defanged(&text[at..]).map_or((1, 1), |(separator, len)| (separator.len(), len));
        (at, passed) = (at + len, passed + separator);
    }
    at
}

/// The place behind the encoded character (`%20`, `\x20`, `\u0020`) whose digits run into those that end at `end`. Nothing
/// before `from` belongs to it.
fn behind_encoded(text: &[u8], from: usize, end: usize) -> Option<usize> {
    let digits = text[from..end].iter().rev().take(9).take_while(|byte| byte.is_ascii_hexdigit()).count();
    let start = end - digits;
    let len = match &text[from..start] {
        [.., b'%'] | [.., b'\\', b'x'] => 2,
        [.., b'\\', b'u'] => 4,
        _ => return None,
    };
    (digits >= len).then_some(start + len)
}

/// The four numbers whose first dot is at `dot`. Nothing before `from` belongs to them.
fn around_dot(text: &[u8], dot: usize, from: usize) -> Look {
    let digits = text[from..dot].iter().rev().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Look::Nothing;
    }
    let start = match behind_encoded(text, from, dot).filter(|start| *start < dot) {
        Some(start) => start,
        None if opens(text, dot - digits) => dot - digits,
        None => return Look::Nothing,
    };
    let Some((ip, end)) = quad(text, start) else { return Look::Nothing };
    if !closes(text, end) {
        return Look::Nothing;
    }
    let is_host = start > 0 && b"/@".contains(&text[start - 1]);
    match prefix(text, end) {
        Some((bits, end)) if !is_host && bits < 32 && ip.to_bits() << bits == 0 => Look::Passed(end),
        _ => Look::Found(IpAddr::V4(ip), end),
    }
}

/// Four decimal numbers, their dots defanged or not, and where they end.
fn quad(text: &[u8], start: usize) -> Option<(Ipv4Addr, usize)> {
    let (mut at, mut bits) = (start, 0u32);
    for octet in 0..4 {
        if octet > 0 {
            at += match text.get(at)? {
                b'.' => 1,
                _ => defanged(&text[at..]).filter(|(separator, _)| *separator == b".")?.1,
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
    let begins = |start: &usize| matches!(&text[*start..colon], b"" | b"0" | b"64" | [_, _, _, ..]);
    let (start, is_open) = match behind_encoded(text, from, colon).filter(begins) {
        Some(start) => (start, true),
        None => {
            let digits = text[from..colon].iter().rev().take(5).take_while(|byte| byte.is_ascii_hexdigit()).count();
            (colon - digits, opens(text, colon - digits))
        }
    };
    // A word before the colon is a label: `src:2001:db8::1`.
    let is_labelled = !is_open && text.get(colon + 1).is_some_and(u8::is_ascii_hexdigit);
    let start = if is_labelled { colon + 1 } else { start };
    let (mut plain, mut len) = ([0u8; LONGEST_V6 + 1], 0);
    // Where each character of the plain spelling ends in the text.
    let (mut end, mut ends) = (start, [0usize; LONGEST_V6 + 1]);
    while let Some(byte) = text.get(end) {
        let (byte, width) = match byte {
            b':' | b'.' => (*byte, 1),
            byte if byte.is_ascii_hexdigit() => (*byte, 1),
            _ => match defanged(&text[end..]) {
                Some((b":", width)) => (b':', width),
                Some((b".", width)) => (b'.', width),
                _ => break,
            },
        };
        end += width;
        if let (Some(place), Some(ending)) = (plain.get_mut(len), ends.get_mut(len)) {
            (*place, *ending) = (byte, end);
        }
        len += 1;
    }
    let run = end;
    if len > LONGEST_V6 || !is_labelled && !is_open {
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
    if !closes(text, end) {
        return Err(run);
    }
    Ok(match prefix(text, end) {
        Some((bits, end)) if bits < 128 && ip.to_bits() << bits == 0 => Look::Passed(end),
        _ => Look::Found(IpAddr::V6(ip), end),
    })
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
    if ends_product(before) {
        return false;
    }
    // The end of a longer number or name.
    let is_dotted = |len: usize| {
        let Some(at) = before.len().checked_sub(len) else { return false };
        let is_dot = before[at..] == *b"." || defanged(&before[at..]).is_some_and(|found| found == (b".", len));
        is_dot && at > 0 && before[at - 1].is_ascii_alphanumeric()
    };
    ![1, 3, 5].into_iter().any(is_dotted)
}

/// A terminal's colour: `ESC[31m`.
fn ends_colour(before: &[u8]) -> bool {
    let Some(codes) = before.strip_suffix(b"m") else { return false };
    let len = codes.iter().rev().take(12).take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
    codes[..codes.len() - len].ends_with(b"[")
}

/// A product's name, whose version follows: `Chrome/126.0.0.0`. Not a part of a path (`/Data/1.2.3.4`).
fn ends_product(before: &[u8]) -> bool {
    let Some(name) = before.strip_suffix(b"/") else { return false };
    let len = name.iter().rev().take(32).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let (rest, name) = name.split_at(name.len() - len);
    name.first().is_some_and(u8::is_ascii_uppercase) && !rest.ends_with(b"/")
}

/// Whether an address may end at `end`.
fn closes(text: &[u8], end: usize) -> bool {
    let rest = &text[end..];
    let dot = match rest.first() {
        None => return true,
        Some(byte) if byte.is_ascii_alphanumeric() => return false,
        Some(b'.') => 1,
        Some(_) => match defanged(rest) {
            Some((b".", len)) => len,
            _ => return true,
        },
    };
    !rest.get(dot).is_some_and(u8::is_ascii_alphanumeric)
}

/// A prefix length behind an address, and where it ends.
fn prefix(text: &[u8], end: usize) -> Option<(u32, usize)> {
    let rest = text.get(end..)?.strip_prefix(b"/")?;
    let digits = rest.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    let bits: u32 = str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    let end = end + 1 + digits;
    (closes(text, end) && text.get(end) != Some(&b'/')).then_some((bits, end))
}
