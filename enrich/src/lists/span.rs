//! One entry of a list: an address, a network or a range, as the first and the last address that it covers.

use std::net::Ipv6Addr;

/// The IPv4-mapped addresses, `::ffff:0:0/96`.
const MAPPED: u128 = 0xffff << 32;

/// The addresses from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Of IPv4.
    V4(u32, u32),
    /// Of IPv6.
    V6(u128, u128),
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The addresses that it covers.
    pub span: Span,
    /// A network that is written with host bits (`1.2.3.4/16`): taken as the network.
    pub has_host_bits: bool,
}

/// Reads `1.2.3.4`, `1.2.3.0/24`, `1.2.3.0/255.255.255.0`, `1.2.3.0-1.2.3.9` (blanks around the sign are allowed, another
/// dash or `to` is as well) and the same of IPv6. IPv4 may be padded with zeros: the numbers are decimal. Networks and ranges of IPv4-mapped addresses are
/// those of the IPv4 addresses.
///
/// ```
/// use enrich::lists::{Span, entry};
/// assert_eq!(entry(b"10.1.2.3/8").unwrap().span, Span::V4(0x0a00_0000, 0x0aff_ffff));
/// assert_eq!(entry(b"::ffff:1.2.3.0/120"), entry(b"1.2.3.0/24"));
/// assert_eq!(entry(b"example.com"), None);
/// ```
pub fn entry(text: &[u8]) -> Option<Entry> {
    let text = text.trim_ascii();
    plain(text).or_else(|| plain(&with_hyphen(text)?))
}

/// Bytes of the longest range that is written in another way.
const LONGEST_RANGE: usize = 128;

/// The text with a hyphen where it has another dash or a word between two blanks: as word processors and people write ranges.
pub(super) fn with_hyphen(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > LONGEST_RANGE || !text.first().is_some_and(u8::is_ascii_hexdigit) {
        return None;
    }
    let (from, to) = match text.iter().position(|byte| *byte >= 0x80) {
        // From the hyphen of Unicode to its horizontal bar, and its minus.
        Some(at) => match text.get(at..at + 3)? {
            [0xe2, 0x80, 0x90..=0x95] | [0xe2, 0x88, 0x92] => (at, at + 3),
            _ => return None,
        },
        None => {
            let from = text.iter().position(u8::is_ascii_whitespace)?;
            let rest = text[from..].trim_ascii_start();
            let word = rest.iter().position(u8::is_ascii_whitespace)?;
            let at = text.len() - rest.len();
            is_to(&rest[..word]).then_some((at, at + word))?
        }
    };
    Some([&text[..from], b"-", &text[to..]].concat())
}

/// Whether a word stands for the hyphen of a range.
pub(super) fn is_to(word: &[u8]) -> bool {
    [&b"to"[..], b"thru", b"through"].iter().any(|to| word.eq_ignore_ascii_case(to))
}

fn plain(text: &[u8]) -> Option<Entry> {
    if let Some(at) = text.iter().position(|byte| *byte == b'/') {
        return network(&text[..at], &text[at + 1..]);
    }
    let span = match text.iter().position(|byte| *byte == b'-') {
        Some(at) => match (address(text[..at].trim_ascii())?, address(text[at + 1..].trim_ascii())?) {
            (Span::V4(first, _), Span::V4(last, _)) if first <= last => Span::V4(first, last),
            (Span::V6(first, _), Span::V6(last, _)) if first <= last => unmapped(first, last),
            _ => return None,
        },
        None => match address(text)? {
            Span::V6(first, last) => unmapped(first, last),
            v4 => v4,
        },
    };
    Some(Entry { span, has_host_bits: false })
}

/// One address, as a range of one.
pub fn address(text: &[u8]) -> Option<Span> {
    if let Some(v4) = quad(text) {
        return Some(Span::V4(v4, v4));
    }
    // The longest spelling has 45 bytes.
    if text.len() > 45 || !text.contains(&b':') {
        return None;
    }
    let v6 = std::str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok()?.to_bits();
    Some(Span::V6(v6, v6))
}

/// A network of an address and a length, or a mask.
pub(super) fn network(address_text: &[u8], bits: &[u8]) -> Option<Entry> {
    let bits = bits.trim_ascii();
    match address(address_text.trim_ascii())? {
        Span::V4(ip, _) => {
            let hosts = match number(bits) {
                Some(bits) if bits <= 32 => u32::MAX.checked_shr(bits).unwrap_or(0),
                Some(_) => return None,
                // A mask: ones, then zeros.
                None => !quad(bits).filter(|mask| (!mask).wrapping_add(1).is_power_of_two() || *mask == 0)?,
            };
            Some(Entry { span: Span::V4(ip & !hosts, ip | hosts), has_host_bits: ip & hosts != 0 })
        }
        Span::V6(ip, _) => {
            let hosts = u128::MAX.checked_shr(number(bits).filter(|bits| *bits <= 128)?).unwrap_or(0);
            Some(Entry { span: unmapped(ip & !hosts, ip | hosts), has_host_bits: ip & hosts != 0 })
        }
    }
}

/// Whether all of a span lies in another one of its family.
pub(super) fn is_within(inner: Span, outer: Span) -> bool {
    match (inner, outer) {
        (Span::V4(first, last), Span::V4(from, to)) => from <= first && last <= to,
        (Span::V6(first, last), Span::V6(from, to)) => from <= first && last <= to,
        _ => false,
    }
}

/// A range of IPv4-mapped addresses as one of IPv4. All of them together, as lists of unused networks have them, do not
/// stand for all of IPv4.
fn unmapped(first: u128, last: u128) -> Span {
    let is_mapped = |ip: u128| ip >> 32 == MAPPED >> 32;
    match is_mapped(first) && is_mapped(last) && last - first < u128::from(u32::MAX) {
        true => Span::V4(first as u32, last as u32),
        false => Span::V6(first, last),
    }
}

/// A number of at most three digits.
fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 3 {
        return None;
    }
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
}

/// Four decimal numbers.
fn quad(text: &[u8]) -> Option<u32> {
    let (mut ip, mut part, mut digits, mut dots) = (0u32, 0u32, 0, 0);
    for byte in text {
        match byte {
            b'0'..=b'9' if digits < 3 => (part, digits) = (part * 10 + u32::from(byte - b'0'), digits + 1),
            b'.' if digits > 0 && dots < 3 && part < 256 => {
                (ip, part, digits, dots) = (ip << 8 | part, 0, 0, dots + 1);
            }
            _ => return None,
        }
    }
    (dots == 3 && digits > 0 && part < 256).then_some(ip << 8 | part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Option<Span> {
        entry(text.as_bytes()).map(|entry| entry.span)
    }

    #[test]
    fn addresses_networks_and_ranges_are_spans() {
        for (text, wanted) in [
            ("1.2.3.4", Span::V4(0x0102_0304, 0x0102_0304)),
            ("001.002.003.010", Span::V4(0x0102_030a, 0x0102_030a)),
            ("1.2.3.0/24", Span::V4(0x0102_0300, 0x0102_03ff)),
            ("1.2.3.4/32", Span::V4(0x0102_0304, 0x0102_0304)),
            ("0.0.0.0/0", Span::V4(0, u32::MAX)),
            ("1.2.3.0/255.255.255.128", Span::V4(0x0102_0300, 0x0102_037f)),
            ("1.2.3.9 - 1.2.4.1", Span::V4(0x0102_0309, 0x0102_0401)),
            ("1.2.3.9 \u{2013} 1.2.4.1", Span::V4(0x0102_0309, 0x0102_0401)),
            ("1.2.3.9\u{2014}1.2.4.1", Span::V4(0x0102_0309, 0x0102_0401)),
            ("1.2.3.9 \u{2212}1.2.4.1", Span::V4(0x0102_0309, 0x0102_0401)),
            ("1.2.3.9 to 1.2.4.1", Span::V4(0x0102_0309, 0x0102_0401)),
            ("1.2.3.9\tTHROUGH  1.2.4.1", Span::V4(0x0102_0309, 0x0102_0401)),
            ("2001:db8::1 to 2001:db8::3", Span::V6((0x2001_0db8 << 96) + 1, (0x2001_0db8 << 96) + 3)),
            ("2001:db8::/32", Span::V6(0x2001_0db8 << 96, (0x2001_0db9 << 96) - 1)),
            ("::/0", Span::V6(0, u128::MAX)),
            ("2001:db8::1-2001:db8::3", Span::V6((0x2001_0db8 << 96) + 1, (0x2001_0db8 << 96) + 3)),
            ("::ffff:1.2.3.4", Span::V4(0x0102_0304, 0x0102_0304)),
            ("::ffff:1.2.3.4/128", Span::V4(0x0102_0304, 0x0102_0304)),
            ("::ffff:0:0/96", Span::V6(MAPPED, MAPPED + u128::from(u32::MAX))),
        ] {
            assert_eq!(span(text), Some(wanted), "{text}");
        }
    }

    #[test]
    fn host_bits_are_cut_and_noted() {
        for (text, network, noted) in [("1.2.3.4/16", "1.2.0.0/16", true), ("2001:db8::1/64", "2001:db8::/64", true)] {
            let read = entry(text.as_bytes()).unwrap();
            assert_eq!((Some(read.span), read.has_host_bits), (span(network), noted));
        }
        assert!(!entry(b"1.2.0.0/16").unwrap().has_host_bits);
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            "/",
            "-",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "1.2.3.0/33",
            "1.2.3.0/",
            "1.2.3.0/255.0.255.0",
            "1.2.3.0/+8",
            "1.2.3.9-1.2.3.1",
            "1.2.3.4-::1",
            "2001:db8::/129",
            "fe80::1%eth0",
            "1.2.3.4:80",
            "x1.2.3.4",
            "1..2.3",
            "0001.2.3.4",
            "1.2.3.4-",
            "a-b",
            "1.2.3.4 to",
            "1.2.3.4 to x",
            "1.2.3.9 to 1.2.3.1",
            "1.2.3.4 to 1.2.3.9 to 1.2.3.11",
            "1.2.3.4 \u{2013}",
            "1.2.3.4 \u{e9} 1.2.3.9",
            "1.2.3.4\u{2013}1.2.3.9\u{2013}1.2.3.11",
        ] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
