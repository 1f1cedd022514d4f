//! Every address in a free text: a shell command, a request, a line of a log.
//!
//! The text is an attacker's. One pass, no regular expressions, no copies: it looks for the separators of an address, and
//! from each one back and forward as far as an address can reach. What could be something else is left out: parts of
//! longer numbers (`1.2.3.4.5`) and of names (`1.2.3.4.example.com`), networks (`10.0.0.0/8`), times, hardware addresses
//! and paths of programs (`std::fmt`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::spelling::{defanged, host_of_browsers};

#[cfg(test)]
mod tests;

/// Bytes of a text that are looked at.
pub const MOST_BYTES: usize = 1 << 20;

/// The longest spelling of an IPv6 address; a longer run of its characters is none.
const LONGEST_V6: usize = 45;
/// Where the authority of a URL ends at the latest.
const LONGEST_AUTHORITY: usize = 255;

/// Bytes at which a look is worth it.
const IS_SEPARATOR: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 5 {
        table[b".:[({"[at] as usize] = true;
        at += 1;
    }
    table
};

/// Hands over every address in the first [`MOST_BYTES`] of a text, in its order, repetitions included, until `found` says
/// that it wants no more.
///
/// Addresses are found in URLs of any scheme (hosts of a URL in the spellings of browsers as well), with ports, in
/// brackets, percent-encoded around, and defanged (`81[.]2[.]69[.]142`).
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
            b':' if text[at..].starts_with(b"://") => (&b"://"[..], 3),
            b':' => (&b":"[..], 1),
            _ => match defanged(&text[at..]) {
                Some((separator, len)) => (separator, len),
                None => {
                    at += 1;
                    continue;
                }
            },
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

/// The host of a URL whose authority starts at `start`, where only browsers see an address in it; or any IPv4 address.
fn host(text: &[u8], start: usize) -> Look {
    let rest = &text[start..text.len().min(start + LONGEST_AUTHORITY)];
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"/?#\"'<>|;`,\\)}".contains(byte);
    let authority = &rest[..rest.iter().position(ends).unwrap_or(rest.len())];
    let host = authority.iter().rposition(|byte| *byte == b'@').map_or(authority, |at| &authority[at + 1..]);
    let host = host.iter().position(|byte| *byte == b':').map_or(host, |colon| &host[..colon]);
    match host_of_browsers(host) {
        Some(ip) => Look::Found(IpAddr::V4(ip), start + authority.len()),
        None => Look::Nothing,
    }
}

/// The four numbers whose first dot is at `dot`. Nothing before `from` belongs to them.
fn around_dot(text: &[u8], dot: usize, from: usize) -> Look {
    let digits = text[from..dot].iter().rev().take(6).take_while(|byte| byte.is_ascii_digit()).count();
    let mut start = dot - digits;
    // The first two digits behind a percent sign are an encoded byte: `%201.2.3.4`.
    if digits >= 3 && start > from && text[start - 1] == b'%' {
        start += 2;
    } else if !opens(text, start) {
        return Look::Nothing;
    }
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
    let digits = text[from..colon].iter().rev().take(5).take_while(|byte| byte.is_ascii_hexdigit()).count();
    let start = colon - digits;
    // A word before the colon is a label: `src:2001:db8::1`.
    let is_labelled = !opens(text, start) && text.get(colon + 1).is_some_and(u8::is_ascii_hexdigit);
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
    if len > LONGEST_V6 || !is_labelled && !opens(text, start) {
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
        // An encoded byte (`%2F1.2.3.4`), or an escaped one in a command (`\n1.2.3.4`).
        let encoded = before.len() >= 3 && {
            let tail = &before[before.len() - 3..];
            tail[0] == b'%' && tail[1..].iter().all(u8::is_ascii_hexdigit)
        };
        let escaped = [b"\\n", b"\\t", b"\\r"].iter().any(|escape| before.ends_with(*escape));
        return encoded || escaped || ends_colour(before);
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
