//! The host of a URL in a free text, as browsers read it (WHATWG URL, "host parser").

use std::net::Ipv4Addr;

use crate::address::escape::{escaped, goes_on, is_foreign_letter, percent_decoded};
use crate::address::host::is_sip;
use crate::address::spelling::{decimal, defanged, host_of_url, refanged};

/// Where the authority of a URL ends at the latest.
const LONGEST_AUTHORITY: usize = 255;
/// Slashes that are passed between a scheme and its authority.
const MOST_SLASHES: usize = 16;

/// Bytes that no authority of a URL has, and those that may begin a defanged separator. A password may have the others.
const ENDS_AUTHORITY: [bool; 256] = table(b"\t\n\x0c\r /?#\"'<>|;`,\\)}]&[({");

/// Bytes of a host or a port that need no second look.
const IS_OF_HOST: [bool; 256] = table(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-_");

pub(super) const fn table(bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
}

/// What a URL's host is.
pub(super) enum Host {
    /// An IPv4 address; the place behind the host and its port.
    Address(Ipv4Addr, usize),
    /// A name, or numbers that are no address, with the place behind them: what looks like an address in it is none.
    Name(usize),
}

/// How the numbers of a host are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// As browsers do.
    Url,
    /// Four decimal numbers.
    Sip,
    /// Behind other slashes than two: as browsers do, where it can be nothing else. `http:8080` is a port, and
    /// `ws:1732989771:room` a key. `numbers`: behind more than two, one number may be an address.
    Evident { numbers: bool },
}

/// The host of the URL whose scheme ends with the colon at `colon`, `len` bytes long; `None` where there is no URL, or its
/// host is looked for by its separators, as IPv6 and decimal numbers are.
/// `has_slashes`: it is a `[://]`.
pub(super) fn host(text: &[u8], colon: usize, len: usize, has_slashes: bool) -> Option<Host> {
    let after = &text[colon + len..];
    let first = after.first()?;
    if !has_slashes && !matches!(first, b'/' | b'\\' | b'[' | b'0'..=b'9') {
        return None;
    }
    let scheme = scheme(&text[..colon]);
    let (count, slashes) = if has_slashes { (2, 0) } else { slashes(after, is_special(scheme)) };
    let reading = match count {
        0 if !first.is_ascii_digit() => return None,
        0 | 1 if is_special(scheme) => Reading::Evident { numbers: false },
        0 | 1 => return None,
        3.. => Reading::Evident { numbers: true },
        _ if is_sip(scheme) => Reading::Sip,
        _ => Reading::Url,
    };
    authority_host(text, colon + len + slashes, reading)
}

/// The word that a text ends with.
fn scheme(text: &[u8]) -> &[u8] {
    let len = text.iter().rev().take(7).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    &text[text.len() - len..]
}

/// Whether browsers ignore the number and the direction of the slashes behind a scheme.
fn is_special(scheme: &[u8]) -> bool {
    [&b"http"[..], b"https", b"hxxp", b"hxxps", b"ftp", b"ws", b"wss"]
        .iter()
        .any(|name| scheme.eq_ignore_ascii_case(name))
}

/// How many slashes a text begins with (two, or behind a special scheme any number and backslashes too), and how long they
/// are: plain, defanged, or escaped as some write JSON (`http:\/\/`).
fn slashes(text: &[u8], is_special: bool) -> (usize, usize) {
    let (mut count, mut at) = (0, 0);
    let most = if is_special { MOST_SLASHES } else { 2 };
    while count < most {
        at += match &text[at..] {
            [b'/', ..] => 1,
            [b'\\', b'/', ..] => 2,
            [b'[', b'/', b']', ..] => 3,
            [b'\\', b'\\', ..] if is_special => 1,
            // No byte in octal behind just another backslash: `http:\\010.1.1.1`.
            [b'\\', b'0'..=b'9', ..] if is_special && at == 1 && text[0] == b'\\' => 1,
            rest @ [b'\\', ..] if is_special && escaped(rest).is_none() => 1,
            _ => break,
        };
        count += 1;
    }
    (count, at)
}

/// The host of the authority that begins at `start`.
fn authority_host(text: &[u8], start: usize, reading: Reading) -> Option<Host> {
    let rest = &text[start..text.len().min(start + LONGEST_AUTHORITY)];
    let (len, is_defanged) = authority(rest);
    // What touches the limit may be longer.
    let authority = rest.get(..len).filter(|_| len < LONGEST_AUTHORITY)?;
    let next = rest.get(len).copied();
    let host = if is_defanged {
        judged(&refanged(authority)?, next, reading, |end| start + behind(authority, end))
    } else {
        judged(authority, next, reading, |end| start + end)
    };
    match host? {
        Host::Address(_, end) if is_cut_short(&text[start..end], &text[end..]) => Some(Host::Name(end)),
        host => Some(host),
    }
}

/// Whether a host goes on behind its end: in a text in which all is escaped (`http://81.2.69.14\u0032/`), behind half a
/// defanged dot, or as an IPv6 address whose colons are encoded.
fn is_cut_short(authority: &[u8], rest: &[u8]) -> bool {
    let is_dot = matches!(rest, [b'[' | b'(' | b'{' | b'\\', b'.', ..]);
    let ends_group = || {
        let group = authority.strip_suffix(b":").unwrap_or(authority);
        let digits = group.iter().rev().take(5).take_while(|byte| byte.is_ascii_hexdigit()).count();
        (digits <= 4 || group.contains(&b'%')) && !group[..group.len() - digits].ends_with(b".")
    };
    let is_colon = |next: u32| next == u32::from(b':') && ends_group();
    let is_hyphen = |next: u32| next == u32::from(b'-') || next == u32::from(b'_');
    let is_of_name = |next: u32| goes_on(next) || is_hyphen(next) || is_foreign_letter(next);
    is_dot || escaped(rest).is_some_and(|(next, _)| is_of_name(next) || is_colon(next))
}

/// How long the authority is that a text begins with, and whether there are defanged separators in it.
fn authority(text: &[u8]) -> (usize, bool) {
    let (mut end, mut is_defanged) = (0, false);
    while let Some(step) = text[end..].iter().position(|byte| ENDS_AUTHORITY[*byte as usize]) {
        end += step;
        // `81.2.69.]142`: its dot is passed already.
        let start = end - usize::from(text[end] == b']' && text[..end].ends_with(b"."));
        match defanged(text, start) {
            Some((b"." | b":" | b"::" | b"@", len)) => (end, is_defanged) = (start + len, true),
            _ => return (end, is_defanged),
        }
    }
    (text.len(), is_defanged)
}

/// The host of an authority, before which byte it ends, and where in the text its places are.
fn judged(authority: &[u8], next: Option<u8>, reading: Reading, behind: impl Fn(usize) -> usize) -> Option<Host> {
    let start = authority.iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 1);
    let host = &authority[start..];
    let mut len = 0;
    while let Some(width) = of_host(&host[len..]) {
        len += width;
    }
    let (host, next) = (&host[..len], host.get(len).copied().or(next));
    let (written, port) = match host.iter().position(|byte| *byte == b':') {
        // No port but the next group of an IPv6 address without brackets, which is looked for by its colons.
        Some(colon) if may_be_group(&host[..colon], &host[colon + 1..]) => return None,
        Some(colon) => (&host[..colon], &host[colon + 1..]),
        None => (host, &b""[..]),
    };
    let end = start + len;
    let name = Host::Name(behind(start + written.len()));
    // Most are names.
    let is_encoded = written.contains(&b'%');
    let mut place;
    let plain = if is_encoded {
        place = [0; LONGEST_AUTHORITY];
        percent_decoded(written, &mut place)?
    } else {
        written
    };
    // The end of a sentence or of a word.
    let len = plain.iter().rposition(|byte| !b".-_".contains(byte))? + 1;
    let (plain, rest) = plain.split_at(len);
    if let Some(letters) = plain.iter().position(|byte| !byte.is_ascii()) {
        // Words of some languages follow without a blank.
        let word = if is_encoded || plain[letters..].contains(&b'.') { None } else { decimal(&plain[..letters]) };
        return match reading {
            Reading::Evident { .. } => None,
            _ => Some(word.map_or(name, |ip| Host::Address(ip, behind(start + letters)))),
        };
    }
    let ip = match reading {
        Reading::Sip => decimal(plain),
        Reading::Evident { numbers } => {
            host_of_url(plain).filter(|ip| is_evident(plain, *ip, host.get(written.len()).copied().or(next), numbers))
        }
        Reading::Url => host_of_url(plain),
    };
    let dots = plain.iter().filter(|byte| **byte == b'.').count();
    // A program puts the number behind the dot: `http://10.0.0.$i/`.
    let is_open = rest.contains(&b'.') && dots < 3 && next.is_some_and(|byte| !b" \t\n\r/:?#\"')>;,|&".contains(&byte));
    // Nobody glues these to a number that is an address: `http://443_`, `http://1732989771:room`.
    let is_glued = rest.iter().any(|byte| b"-_".contains(byte)) || port.iter().any(u8::is_ascii_alphabetic);
    let is_open = is_open || dots < 3 && is_glued;
    match ip {
        Some(ip) if !is_open => return Some(Host::Address(ip, behind(end))),
        _ if matches!(reading, Reading::Evident { .. }) => return None,
        _ => {}
    }
    // A domain, unless its last label is a number: those are looked at by their dots, as `81.2.69.142-81.2.69.150`.
    let last = plain.rsplit(|byte| *byte == b'.').next().unwrap_or(plain);
    let last = last.rsplit(|byte| b"-_".contains(byte)).next().unwrap_or(last);
    (is_open || is_encoded || !last.iter().all(u8::is_ascii_digit)).then_some(name)
}

/// Whether what is before the first colon of a host may be the first group of an IPv6 address without brackets, and no host
/// before its port.
fn may_be_group(group: &[u8], rest: &[u8]) -> bool {
    let is_short = group.len() <= 4 || group.contains(&b'%');
    // No port has a colon, or is encoded.
    is_short && rest.iter().any(|byte| b":%".contains(byte))
}

/// Whether a host behind other slashes than two is an address, and no version, port, time or key. `next`: what follows it.
fn is_evident(host: &[u8], ip: Ipv4Addr, next: Option<u8>, numbers: bool) -> bool {
    let dots = host.iter().filter(|byte| **byte == b'.').count();
    let is_hex = dots > 0 && (host.starts_with(b"0x") || host.starts_with(b"0X"));
    let is_closed = |after: &[u8]| next.is_some_and(|byte| after.contains(&byte));
    let is_long = ip.octets()[0] > 0;
    // A colon behind a number alone may be one of an IPv6 address.
    dots == 3 || is_long && (is_hex && is_closed(b"/\\:?#") || numbers && dots == 0 && is_closed(b"/\\?#"))
}

/// How long the character of a host or a port is that a text begins with. Punctuation outside of ASCII (quotes, a hard
/// blank) is in no name, other letters are.
fn of_host(text: &[u8]) -> Option<usize> {
    match text {
        [byte, ..] if IS_OF_HOST[*byte as usize] => Some(1),
        [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
            let byte = digit(*high) << 4 | digit(*low);
            let is_of_name = byte.is_ascii_alphanumeric() || b".-_".contains(&byte) || !byte.is_ascii();
            (is_of_name && !matches!(byte, 0xc2 | 0xe2)).then_some(3)
        }
        [0xc2, ..] | [0xe2, 0x80, ..] => None,
        [byte, ..] => (!byte.is_ascii()).then_some(1),
        [] => None,
    }
}

/// Where in a defanged text the first `plain` bytes of its plain spelling end.
fn behind(text: &[u8], plain: usize) -> usize {
    let (mut at, mut passed) = (0, 0);
    while passed < plain {
        let (separator, len) = defanged(text, at).map_or((1, 1), |(separator, len)| (separator.len(), len));
        (at, passed) = (at + len, passed + separator);
    }
    at
}
