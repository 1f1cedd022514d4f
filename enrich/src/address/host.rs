//! The address in a text from an event: bare, with a port, in brackets, or as the host of a URL.
//!
//! The bytes come from attackers of a honeypot: this code reads at most [`LOOK`] bytes of a text, and copies nothing but
//! what is defanged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::escape::{escaped, goes_on, percent_decoded};
use super::spelling::{decimal, host_of_browsers, host_of_url, literal_v4, refanged};

#[cfg(test)]
mod tests;

/// How many bytes of a text are looked at, leading and trailing blanks aside. An address with zone and port needs 70; a
/// URL's authority rarely more, and a longer text names no address worth keeping.
const LOOK: usize = 512;

/// The longest text of an address: `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`.
const LONGEST_LITERAL: usize = 45;

/// Why a text names no single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotAnAddress {
    /// A name, as a URL's host or by itself with a dot in it. Names are never resolved.
    #[error("a host name, not an address")]
    HostName,
    /// A network: an address with a prefix length shorter than the whole address.
    #[error("a network, not a host address")]
    Network,
    /// Anything else, and anything too long to be looked at.
    #[error("not an address")]
    Garbage,
}

use NotAnAddress::{Garbage, HostName, Network};

/// The address in an event's text, or `None` if it is empty or blank.
///
/// | text | read as |
/// |---|---|
/// | `203.0.113.9`, `2001:db8::1`, with ASCII blanks around | the address |
/// | `203.0.113.9/32`, `2001:db8::1/128` | the address |
/// | `203.0.113.9:22`, `[2001:db8::1]`, `[2001:db8::1]:22`, `[203.0.113.9]`, `[IPv6:2001:db8::1]` | the address |
/// | `fe80::1%eth0` | the address, without its zone |
/// | `http://user:pw@203.0.113.9:8080/x?y`, `//[2001:db8::1]/x`, `jndi:ldap://203.0.113.9/a` | the host |
/// | `http://2001:db8::1/x` | the host, whose brackets are missing; what looks like a port belongs to it |
/// | `http://2130706433/`, `http://0x7f.1/`, `http://0177.0.0.1/` | the host, as browsers read it |
/// | `http://086.035.071.014/` | the host, decimal: leading zeros are octal only where all of it can be |
/// | `sip:100@203.0.113.9:5060;transport=udp` | the host |
/// | `203[.]0[.]113[.]9`, `hxxp://203(dot)0(dot)113(dot)9/` | the same with plain separators |
///
/// Outside of a URL, IPv4 counts only as four decimal numbers of at most three digits, with leading zeros or without, as
/// PostgreSQL reads them. `::ffff:8.8.8.8` stays an IPv6 address: see [`effective`](super::effective).
///
/// # Errors
/// [`NotAnAddress`] says why the text is not an address. It is fast for any input, and never panics.
///
/// ```
/// use enrich::address::{NotAnAddress, parse_host};
/// assert_eq!(parse_host(b" 203.0.113.9:22 "), Ok(Some("203.0.113.9".parse().unwrap())));
/// assert_eq!(parse_host(b"http://example.com/"), Err(NotAnAddress::HostName));
/// assert_eq!(parse_host(b"10.0.0.0/8"), Err(NotAnAddress::Network));
/// assert_eq!(parse_host(b" "), Ok(None));
/// ```
pub fn parse_host(text: &[u8]) -> Result<Option<IpAddr>, NotAnAddress> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    // Nearly every text of a column of addresses is one, so try that before anything else.
    if let Some(ip) = literal(text) {
        return Ok(Some(ip));
    }
    let head = &text[..text.len().min(LOOK)];
    let cut = head.len() < text.len();
    let plain = host_in(head, cut);
    // What cannot be read may be defanged: a copy of the head is made for that alone.
    let plain = if plain.is_ok() { plain } else { refanged(head).map_or(plain, |text| host_in(&text, cut)) };
    plain.map(Some)
}

/// The address in the beginning of a text. `cut`: there was more text than `head` holds.
fn host_in(head: &[u8], cut: bool) -> Result<IpAddr, NotAnAddress> {
    if let Some((scheme, after)) = after_scheme(head) {
        let numbers: Numbers = match scheme {
            // Nobody says who reads it: numbers as PostgreSQL reads them come first.
            b"" => |host| decimal(host).or_else(|| host_of_browsers(host)),
            _ if is_sip(scheme) => decimal,
            _ => host_of_url,
        };
        return url_host(after, cut, numbers);
    }
    if cut {
        return Err(Garbage);
    }
    if let Some(after) = after_sip(head) {
        let end = after.iter().position(|b| b";?".contains(b)).unwrap_or(after.len());
        return url_host(&after[..end], false, decimal);
    }
    match head.iter().rposition(|&b| b == b'/') {
        Some(slash) => with_prefix_length(&head[..slash], &head[slash + 1..]),
        None => bare_host(head),
    }
}

/// The rest after `sip:` or `sips:` (RFC 3261, 19.1), which have no slashes.
fn after_sip(head: &[u8]) -> Option<&[u8]> {
    let colon = head.iter().take(5).position(|&b| b == b':')?;
    is_sip(&head[..colon]).then(|| &head[colon + 1..])
}

/// Whether a scheme is of SIP, whose hosts are decimal (RFC 3261, 25.1): no browser reads them, and a number alone is a
/// telephone's.
pub(super) fn is_sip(scheme: &[u8]) -> bool {
    scheme.eq_ignore_ascii_case(b"sip") || scheme.eq_ignore_ascii_case(b"sips")
}

/// The scheme and the rest after `scheme://` or a leading `//`. A scheme may hold colons, for the nested ones of log4j and
/// JDBC (`jndi:ldap://`), which RFC 3986 would not read any further; the last one counts.
fn after_scheme(head: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(after) = head.strip_prefix(b"//") {
        return Some((b"", after));
    }
    let end = head.windows(3).position(|three| three == b"://")?;
    let schemes = &head[..end];
    let (first, rest) = schemes.split_first()?;
    let is_scheme =
        first.is_ascii_alphabetic() && rest.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.:".contains(b));
    let last = schemes.rsplit(|&b| b == b':').next().unwrap_or(schemes);
    is_scheme.then(|| (last, &head[end + 3..]))
}

/// Reads the IPv4 address in a host.
type Numbers = fn(&[u8]) -> Option<Ipv4Addr>;

/// The host of a URL's authority, `[userinfo@]host[:port]` (RFC 3986, 3.2). `cut`: there was more text than
/// `after` holds.
fn url_host(after: &[u8], cut: bool, numbers: Numbers) -> Result<IpAddr, NotAnAddress> {
    let authority = match after.iter().position(|b| b"/?#".contains(b)) {
        Some(end) => &after[..end],
        None if cut => return Err(Garbage),
        None => after,
    };
    // Programs disagree about which host a backslash leaves (`http://8.8.8.8\@10.0.0.1/`): no guesses.
    let odd = |b: &u8| b.is_ascii_control() || *b == b' ' || *b == b'\\';
    if authority.iter().any(odd) || str::from_utf8(authority).is_err() {
        return Err(Garbage);
    }
    // A password may contain an unescaped `@`: the last one counts, as in the WHATWG URL standard.
    let host = match authority.iter().rposition(|&b| b == b'@') {
        Some(at) => &authority[at + 1..],
        None => authority,
    };
    if host.starts_with(b"[") {
        return bracketed(host);
    }
    let host = match host.iter().position(|&b| b == b':') {
        Some(colon) if is_port(&host[colon + 1..]) || colon + 1 == host.len() => &host[..colon],
        // IPv6 whose brackets are missing. There is no port then: all of it is the address.
        Some(_) => return zoned(host).ok_or(Garbage),
        None => host,
    };
    let ip = numbers(host).or_else(|| {
        let mut plain = [0; LOOK];
        // Most hosts have no percent sign. A name is not read that way.
        host.contains(&b'%').then(|| numbers(percent_decoded(host, &mut plain)?))?
    });
    ip.map(IpAddr::V4).ok_or(if is_name(host) { HostName } else { Garbage })
}

/// `[v6]`, `[v6]:port`, `[v4]`, `v4:port`, `v6%zone`.
fn bare_host(text: &[u8]) -> Result<IpAddr, NotAnAddress> {
    if text.starts_with(b"[") {
        return bracketed(text);
    }
    if let Some(ip) = zoned(text) {
        return Ok(ip);
    }
    let host = match text.iter().position(|&b| b == b':') {
        Some(colon) if is_port(&text[colon + 1..]) => &text[..colon],
        Some(_) => return Err(Garbage),
        None => text,
    };
    // A word alone (`unknown`, `n/a`) would pass as a name, so a name by itself has to have a dot.
    let is_name = || host.contains(&b'.') && is_name(host);
    literal_v4(host).map(IpAddr::V4).ok_or_else(|| if is_name() { HostName } else { Garbage })
}

/// `[v6]` with a port or without; an empty port is a valid one in a URL (RFC 3986, 3.2.3). Mail has `[v4]` and
/// `[IPv6:v6]` (RFC 5321, 4.1.3).
fn bracketed(text: &[u8]) -> Result<IpAddr, NotAnAddress> {
    let close = text.iter().position(|&b| b == b']').ok_or(Garbage)?;
    match &text[close + 1..] {
        [] | [b':'] => (),
        [b':', port @ ..] if is_port(port) => (),
        _ => return Err(Garbage),
    }
    let inside = &text[1..close];
    let address = match inside.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case(b"ipv6:") => address,
        _ => return literal(inside).or_else(|| zoned(inside)).ok_or(Garbage),
    };
    zoned(address).ok_or(Garbage)
}

/// An address and the text after its slash.
fn with_prefix_length(address: &[u8], length: &[u8]) -> Result<IpAddr, NotAnAddress> {
    let ip = literal(address).or_else(|| zoned(address)).ok_or(Garbage)?;
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    match number(length, 3) {
        Some(bits) if bits == whole => Ok(ip),
        Some(bits) if bits < whole => Err(Network),
        _ => Err(Garbage),
    }
}

/// An IPv6 address, with a zone (RFC 4007, 11) or without. The zone is dropped: it means something only on
/// the host that wrote it. What may be an encoded part of the address (`2001:db8::%31`) is a zone only of those that have
/// one.
fn zoned(text: &[u8]) -> Option<IpAddr> {
    let (address, zone) = text.split_at(text.iter().position(|&b| b == b'%').unwrap_or(text.len()));
    let odd = |b: &u8| !b.is_ascii_graphic() || b"/[]".contains(b);
    if zone.len() == 1 || zone.iter().any(odd) {
        return None;
    }
    let may_go_on = escaped(zone).is_some_and(|(next, _)| goes_on(next) || next == u32::from(b':'));
    literal(address).filter(|ip| match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => !may_go_on || may_have_zone(*ip),
    })
}

/// Whether an address is of a link, of an interface or of a site (`fe80::/10`, `fec0::/10`, `ff?1::`, `ff?2::`): those are
/// written with their zone (RFC 4007, 11), which Windows does by a number.
pub(super) fn may_have_zone(ip: Ipv6Addr) -> bool {
    let head = ip.segments()[0];
    head & 0xff80 == 0xfe80 || matches!(head & 0xff0f, 0xff01 | 0xff02)
}

fn literal(text: &[u8]) -> Option<IpAddr> {
    literal_v4(text).map(IpAddr::V4).or_else(|| {
        // Most garbage has no colon, and this spares it the UTF-8 check and the parser.
        let plausible = text.len() <= LONGEST_LITERAL && text.contains(&b':');
        let text = plausible.then(|| str::from_utf8(text).ok())??;
        text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    })
}

fn is_port(text: &[u8]) -> bool {
    // Leading zeros do no harm in a port; more than five digits do not fit.
    let digits = (1..=5).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    digits && str::from_utf8(text).is_ok_and(|port| port.parse::<u16>().is_ok())
}

/// A decimal number of at most `digits` digits without leading zeros.
fn number(text: &[u8], digits: usize) -> Option<u32> {
    let plain = text.len() <= digits && text.iter().all(u8::is_ascii_digit);
    let plain = plain && (text == b"0" || !text.starts_with(b"0"));
    plain.then(|| str::from_utf8(text).ok()?.parse().ok())?
}

/// Whether this could be a host name: labels of letters, digits, hyphens and underscores, or of non-ASCII letters (RFC
/// 1123, 2.1; RFC 5890). A last label that is a number is none (RFC 3696, 2): `1.2.3.999` and `0x7g` are failed
/// addresses.
fn is_name(host: &[u8]) -> bool {
    let host = host.strip_suffix(b".").unwrap_or(host);
    let is_label = |label: &[u8]| {
        (1..=63).contains(&label.len())
            && !label.starts_with(b"-")
            && !label.ends_with(b"-")
            && label.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_' || !b.is_ascii())
    };
    let last = host.rsplit(|&b| b == b'.').next().unwrap_or(host);
    let is_number = last.iter().all(u8::is_ascii_digit) || last.starts_with(b"0x") || last.starts_with(b"0X");
    host.len() <= 253 && !is_number && host.split(|&b| b == b'.').all(is_label) && str::from_utf8(host).is_ok()
}
