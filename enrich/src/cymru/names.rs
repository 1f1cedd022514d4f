//! The DNS names to ask. All are rooted: without the trailing dot a resolver would try its search domains,
//! and tell strangers which addresses were looked up.

use std::fmt::Write as _;
use std::net::IpAddr;

/// The name whose TXT records say who announces `ip`: reversed octets, or all 32 reversed nibbles.
///
/// ```
/// use enrich::cymru::names::origin;
/// assert_eq!(origin("216.90.108.31".parse()?), "31.108.90.216.origin.asn.cymru.com.");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
pub fn origin(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.origin.asn.cymru.com.")
        }
        IpAddr::V6(v6) => {
            let mut name = String::with_capacity(32 * 2 + "origin6.asn.cymru.com.".len());
            for octet in v6.octets().iter().rev() {
                // Writing to a String cannot fail.
                let _ = write!(name, "{:x}.{:x}.", octet & 0xf, octet >> 4);
            }
            name.push_str("origin6.asn.cymru.com.");
            name
        }
    }
}

/// The name whose TXT record says whose `asn` is.
pub fn autonomous_system(asn: u32) -> String {
    format!("AS{asn}.asn.cymru.com.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_reversed() {
        assert_eq!(origin("1.2.3.4".parse().unwrap()), "4.3.2.1.origin.asn.cymru.com.");
    }

    #[test]
    fn all_nibbles_are_reversed() {
        assert_eq!(
            origin("2001:4860:b002::68".parse().unwrap()),
            "8.6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.b.0.6.8.4.1.0.0.2.origin6.asn.cymru.com."
        );
    }

    #[test]
    fn a_number_above_two_thousand_million_keeps_its_sign() {
        assert_eq!(autonomous_system(4_200_000_001), "AS4200000001.asn.cymru.com.");
    }
}
