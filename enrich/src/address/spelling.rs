//! Spellings of addresses that people and programs use on purpose: hosts as browsers read them, and defanged indicators.

use std::net::Ipv4Addr;

/// The bytes of a URL's host that could be an IPv4 address at all: four octal numbers of eleven digits, and dots.
const LONGEST_HOST: usize = 64;

/// The IPv4 address that a browser sees in a URL's host (WHATWG URL, "IPv4 parser"): one to four numbers, decimal, octal
/// with a leading `0` or hexadecimal with `0x`, of which the last one fills what is left.
///
/// ```
/// # use std::net::Ipv4Addr;
/// use enrich::address::host_of_browsers;
/// for host in ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.01", "127.1."] {
///     assert_eq!(host_of_browsers(host.as_bytes()), Some(Ipv4Addr::LOCALHOST));
/// }
/// assert_eq!(host_of_browsers(b"089.0.0.1"), None, "no octal number has an 8");
/// ```
pub fn host_of_browsers(host: &[u8]) -> Option<Ipv4Addr> {
    let host = host.strip_suffix(b".").unwrap_or(host);
    if host.len() > LONGEST_HOST {
        return None;
    }
    let mut numbers = [0u64; 4];
    let mut count = 0;
    for part in host.split(|byte| *byte == b'.') {
        *numbers.get_mut(count)? = number(part)?;
        count += 1;
    }
    let (last, octets) = numbers.get(..count)?.split_last()?;
    if octets.iter().any(|octet| *octet > 255) || *last >= 1 << (8 * (4 - octets.len())) {
        return None;
    }
    let high = octets.iter().enumerate().map(|(at, octet)| octet << (8 * (3 - at))).sum::<u64>();
    u32::try_from(high + last).ok().map(Ipv4Addr::from_bits)
}

/// The IPv4 address in a URL's host: as browsers read it, and where they do not, four decimal numbers with leading zeros, as
/// logs pad them (`086.035.071.014`).
pub(super) fn host_of_url(host: &[u8]) -> Option<Ipv4Addr> {
    host_of_browsers(host).or_else(|| decimal(host))
}

/// Four decimal numbers, and the dot of the root as browsers take it.
pub(super) fn decimal(host: &[u8]) -> Option<Ipv4Addr> {
    literal_v4(host.strip_suffix(b".").unwrap_or(host))
}

/// Four decimal numbers. As the standard library reads them, but for leading zeros, and at a third of the price: every
/// event of a loader passes here.
#[inline]
pub(super) fn literal_v4(text: &[u8]) -> Option<Ipv4Addr> {
    if !(7..=15).contains(&text.len()) {
        return None;
    }
    let (mut address, mut dots, mut number, mut digits) = (0u32, 0, 0u32, 0);
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            // No number so long that it could overflow.
            if digits == 3 {
                return None;
            }
            number = number * 10 + u32::from(digit);
            digits += 1;
        } else if byte == b'.' && digits > 0 && number < 256 && dots < 3 {
            address = address << 8 | number;
            (number, digits, dots) = (0, 0, dots + 1);
        } else {
            return None;
        }
    }
    let whole = dots == 3 && digits > 0 && number < 256;
    whole.then(|| Ipv4Addr::from_bits(address << 8 | number))
}

/// One number of such a host. `0x` alone is 0, as in the standard.
fn number(part: &[u8]) -> Option<u64> {
    let (digits, radix) = match part {
        [] => return None,
        [b'0', b'x' | b'X', digits @ ..] => (digits, 16),
        [b'0', digits @ ..] => (digits, 8),
        digits => (digits, 10),
    };
    digits.iter().try_fold(0u64, |sum, byte| {
        let digit = char::from(*byte).to_digit(radix)?;
        sum.checked_mul(radix.into())?.checked_add(digit.into())
    })
}

/// How separators are written so that nobody follows a link by mistake, and what each one stands for.
const DEFANGED: [(&[u8], &[u8]); 12] = [
    (b"[.]", b"."),
    (b"(.)", b"."),
    (b"{.}", b"."),
    (b"[dot]", b"."),
    (b"(dot)", b"."),
    (b"{dot}", b"."),
    (b"[:]", b":"),
    (b"[::]", b"::"),
    (b"[://]", b"://"),
    (b"[@]", b"@"),
    (b"[at]", b"@"),
    (b"[/]", b"/"),
];

/// Bytes on either side of a `[::]` that may belong to its address: the longest one, with all of its colons in brackets.
const NEAR: usize = 64;

/// The separator at `at` in a defanged spelling, and how long that spelling is. Half a bracket and a
/// backslash (of a regular expression) count between letters and digits alone, and blanks around brackets belong to them.
pub(super) fn defanged(text: &[u8], at: usize) -> Option<(&'static [u8], usize)> {
    match &text[at..] {
        [b'[', b':', b':', b']', ..] => is_double_colon(text, at).then_some((&b"::"[..], 4)),
        [b'[', b'.', next, ..] | [b'\\', b'.', next, ..] if next.is_ascii_alphanumeric() => Some((b".", 2)),
        [b'.', b']', next, ..] if next.is_ascii_digit() => Some((b".", 2)),
        [b'\\', b'\\', b'.', next, ..] if next.is_ascii_alphanumeric() => Some((b".", 3)),
        rest @ [b'[' | b'(' | b'{', ..] => bracketed(rest),
        [b' ', rest @ ..] => {
            let (separator, len) = bracketed(rest)?;
            (separator != b"::" && rest.get(len) == Some(&b' ')).then_some((separator, len + 2))
        }
        _ => None,
    }
}

/// Whether the `[::]` at `at` is a separator inside of an IPv6 address, and not an address: that all of a machine's own
/// (`[::]:443`), beside which another one may stand (`[::]81.2.69.142`, `2001:db8::1[::]`).
fn is_double_colon(text: &[u8], at: usize) -> bool {
    let (before, after) = (&text[..at], &text[at + 4..]);
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    if !is_digit(before.last()) || !is_digit(after.first()) {
        return false;
    }
    let Some(right) = rest_of_address(after.iter()) else { return false };
    let is_dotted = matches!(after.get(right), Some(b'(' | b'{' | b'\\')) && defanged(after, right).is_some();
    !is_dotted && rest_of_address(before.iter().rev()).is_some()
}

/// How many bytes on one side of a `[::]` may belong to its address; `None` where they do not: no address has two of them,
/// and four decimal numbers count for themselves.
fn rest_of_address<'a>(side: impl Iterator<Item = &'a u8>) -> Option<usize> {
    let (mut last, mut len) = (b' ', 0);
    for byte in side.take(NEAR) {
        match byte {
            b'[' | b']' => {}
            b':' if last == b':' => return None,
            b'0'..=b'9' if last == b'.' => return None,
            b':' | b'.' | b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' => last = *byte,
            _ => break,
        }
        len += 1;
    }
    Some(len)
}

fn bracketed(text: &[u8]) -> Option<(&'static [u8], usize)> {
    // Nearly every bracket is code.
    if !matches!(text, [b'[' | b'(' | b'{', b'.' | b':' | b'd' | b'D' | b'@' | b'a' | b'A' | b'/', ..]) {
        return None;
    }
    let is = |spelling: &[u8]| text.get(..spelling.len()).is_some_and(|head| head.eq_ignore_ascii_case(spelling));
    DEFANGED.iter().find(|(spelling, _)| is(spelling)).map(|(spelling, plain)| (*plain, spelling.len()))
}

/// A text with its separators put back; `None` where none is defanged.
pub(super) fn refanged(text: &[u8]) -> Option<Vec<u8>> {
    // Every defanged spelling has one of these; most garbage has none.
    if !text.iter().any(|byte| matches!(byte, b'[' | b'(' | b'{' | b']' | b'\\')) {
        return None;
    }
    let mut plain = Vec::new();
    let (mut at, mut changed) = (0, false);
    while let Some(byte) = text.get(at) {
        let begins = matches!(byte, b'[' | b'(' | b'{' | b'.' | b'\\' | b' ');
        if let Some((separator, len)) = begins.then(|| defanged(text, at)).flatten() {
            plain.extend_from_slice(separator);
            at += len;
            changed = true;
        } else {
            plain.push(*byte);
            at += 1;
        }
    }
    changed.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_browsers_read_them() {
        for (host, address) in [
            ("8.8.8.8", "8.8.8.8"),
            ("8.8.8.8.", "8.8.8.8"),
            ("2130706433", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("0X7F.1", "127.0.0.1"),
            ("017700000001", "127.0.0.1"),
            ("1.2.65535", "1.2.255.255"),
            ("1.16777215", "1.255.255.255"),
            ("010.0.0.1", "8.0.0.1"),
            ("0x", "0.0.0.0"),
            ("00000000000000000000000000000000000000000000000000000000000001", "0.0.0.1"),
            ("4294967295", "255.255.255.255"),
        ] {
            assert_eq!(host_of_browsers(host.as_bytes()), Some(address.parse().unwrap()), "{host}");
        }
        for host in [
            "",
            ".",
            "1..2",
            "1.2.3.4.5",
            "4294967296",
            "1.2.65536",
            "1.2.3.256",
            "256.1.1.1",
            "08.1.1.1",
            "0xg",
            "a",
            "1.2.3.4..",
            "-1",
            "+1",
            "1e3",
            "99999999999999999999999",
            "0x1.0x2.0x3.0x4.0x5",
        ] {
            assert_eq!(host_of_browsers(host.as_bytes()), None, "{host}");
        }
    }

    #[test]
    fn zeros_before_numbers_that_are_not_octal_are_decimal() {
        for (host, address) in
            [("086.035.071.014", "86.35.71.14"), ("089.0.0.1.", "89.0.0.1"), ("010.1.1.1", "8.1.1.1")]
        {
            assert_eq!(host_of_url(host.as_bytes()), Some(address.parse().unwrap()), "{host}");
        }
        for host in ["0089.0.0.1", "089.0.0", "089.0.0.1.1", "089..0.1", "089.0.0.256", "089.0.0.0x1"] {
            assert_eq!(host_of_url(host.as_bytes()), None, "{host}");
        }
    }

    #[test]
    fn separators_are_put_back() {
        for (text, plain) in [
            ("81[.]2[.]69[.]142", "81.2.69.142"),
            ("81(dot)2[DOT]69{.}142", "81.2.69.142"),
            ("hxxp[://]81[.]2.69.142[/]a", "hxxp://81.2.69.142/a"),
            ("2001[:]db8[:][:]1", "2001:db8::1"),
            ("2001[:]db8[::]1", "2001:db8::1"),
            ("81.2.69[.142", "81.2.69.142"),
            ("81.2.69.]142", "81.2.69.142"),
            (r"81\.2\.69\.142", "81.2.69.142"),
            (r"81\\.2\\.69\\.142", "81.2.69.142"),
            ("81 [.] 2 (dot) 69 [.] 142", "81.2.69.142"),
            ("[2001[:]db8[::]1]:80", "[2001:db8::1]:80"),
        ] {
            assert_eq!(refanged(text.as_bytes()).as_deref(), Some(plain.as_bytes()), "{text}");
        }
        for text in [
            "",
            "81.2.69.142",
            "[2001:db8::1]:80",
            "[",
            "[.",
            "(x)",
            ".]",
            "\\.",
            "a [x] b",
            "[::]",
            "[::]1",
            "1[::]",
            "1 [::] 2",
            "[::]81.2.69.142",
            "2001:db8::1[::]2",
            "1[::]2:3::4",
            "81.2.69.142[::]1",
            "64:ff9b[::]81.2.69.142",
            "1[::]2[::]3",
        ] {
            assert_eq!(refanged(text.as_bytes()), None, "{text}");
        }
    }
}
