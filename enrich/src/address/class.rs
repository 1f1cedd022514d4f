//! The class of an address, by the IANA special-purpose address registries.
//!
//! Sources, as of their 2025-10 editions: the [IPv4] and the [IPv6 Special-Purpose Address Registry], whose column
//! "Globally Reachable" decides what is public; the multicast blocks `224.0.0.0/4` (RFC 5771) and `ff00::/8` (RFC
//! 4291); and the [IPv6 address space], of which only `2000::/3` is given out as global unicast. Every entry of both
//! registries is in the tests.
//!
//! [IPv4]: https://www.iana.org/assignments/iana-ipv4-special-registry/
//! [IPv6 Special-Purpose Address Registry]: https://www.iana.org/assignments/iana-ipv6-special-registry/
//! [IPv6 address space]: https://www.iana.org/assignments/ipv6-address-space/

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

#[cfg(test)]
mod tests;

/// The kind of an address; all except [`Public`](AddressClass::Public) stop before the first source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressClass {
    /// Globally reachable: the ordinary Internet, and the few special blocks that the registries mark so
    /// (AS112, AMT, the PCP, TURN and SRP anycast addresses, ORCHIDv2, DRIP entity tags).
    Public,
    /// Used freely inside a network: RFC 1918, unique local (`fc00::/7`), and the local-use translation
    /// prefix `64:ff9b:1::/48`.
    Private,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// Valid on one link only: `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// Shared address space behind carrier-grade NAT: `100.64.0.0/10` (RFC 6598).
    Cgnat,
    /// For examples in texts: the three TEST-NETs, `2001:db8::/32`, `3fff::/20`.
    Documentation,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// For tests of network devices: `198.18.0.0/15`, `2001:2::/48`.
    Benchmarking,
    /// Not in use: kept for the future (`240.0.0.0/4`, IPv6 outside `2000::/3`) or given back (6to4 relays
    /// `192.88.99.0/24`, the first ORCHID prefix, site-local `fec0::/10`, IPv4-compatible `::/96`).
    Reserved,
    /// No address: `0.0.0.0`, `::`.
    Unspecified,
    /// "This network": the rest of `0.0.0.0/8`.
    ThisNetwork,
    /// The limited broadcast, `255.255.255.255`.
    Broadcast,
    /// Assigned to a protocol and not globally reachable: `192.0.0.0/24`, `2001::/23`, the dummy prefix
    /// `100:0:0:1::/64`, segment identifiers `5f00::/16`.
    IetfProtocol,
    /// Packets to it are discarded: `100::/64` (RFC 6666).
    DiscardOnly,
}

impl AddressClass {
    /// Every class, each once.
    pub const fn all() -> &'static [AddressClass] {
        use AddressClass::*;
        &[
            Public,
            Private,
            Loopback,
            LinkLocal,
            Cgnat,
            Documentation,
            Multicast,
            Benchmarking,
            Reserved,
            Unspecified,
            ThisNetwork,
            Broadcast,
            IetfProtocol,
            DiscardOnly,
        ]
    }

    /// The name that SQL shows, in snake case. It is stored in tables: never rename one.
    pub const fn as_str(self) -> &'static str {
        match self {
            AddressClass::Public => "public",
            AddressClass::Private => "private",
            AddressClass::Loopback => "loopback",
            AddressClass::LinkLocal => "link_local",
            AddressClass::Cgnat => "cgnat",
            AddressClass::Documentation => "documentation",
            AddressClass::Multicast => "multicast",
            AddressClass::Benchmarking => "benchmarking",
            AddressClass::Reserved => "reserved",
            AddressClass::Unspecified => "unspecified",
            AddressClass::ThisNetwork => "this_network",
            AddressClass::Broadcast => "broadcast",
            AddressClass::IetfProtocol => "ietf_protocol",
            AddressClass::DiscardOnly => "discard_only",
        }
    }

    /// Whether sources may be asked about an address of this class.
    pub const fn is_public(self) -> bool {
        matches!(self, AddressClass::Public)
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not the name of an [`AddressClass`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown address class")]
pub struct UnknownClass;

impl FromStr for AddressClass {
    type Err = UnknownClass;

    /// Reads exactly what [`AddressClass::as_str`] writes.
    fn from_str(name: &str) -> Result<Self, UnknownClass> {
        let mut all = Self::all().iter().copied();
        all.find(|class| class.as_str() == name).ok_or(UnknownClass)
    }
}

/// The class of the address that `ip` stands for (see [`effective`]): `::ffff:8.8.8.8` is public,
/// `2002:a00:1::` (10.0.0.1 through 6to4) is private.
///
/// ```
/// use enrich::address::{AddressClass, classify};
/// assert_eq!(classify("100.64.0.1".parse()?), AddressClass::Cgnat);
/// assert_eq!(classify("2002:a00:1::".parse()?).as_str(), "private");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[inline]
pub fn classify(ip: IpAddr) -> AddressClass {
    match effective(ip) {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

/// The IPv4 address that an IPv4-mapped one (`::ffff:0:0/96`) writes; every other address as it is.
///
/// ```
/// use enrich::address::unmapped;
/// assert_eq!(unmapped("::ffff:203.0.113.9".parse().unwrap()).to_string(), "203.0.113.9");
/// assert!(unmapped("::203.0.113.9".parse().unwrap()).is_ipv6());
/// ```
#[inline]
#[must_use]
pub fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// The IPv4 address that an IPv6 address stands for; any other address as it is.
///
/// | prefix | the IPv4 address is | source |
/// |---|---|---|
/// | `::ffff:0:0/96` mapped | the last 32 bits | RFC 4291 |
/// | `64:ff9b::/96` NAT64 | the last 32 bits | RFC 6052 |
/// | `2002::/16` 6to4 | bits 16 to 48 | RFC 3056 |
/// | `2001::/32` Teredo | the client: the last 32 bits, inverted | RFC 4380 |
///
/// `64:ff9b:1::/48` stays: its networks choose for themselves where the IPv4 address stands.
#[inline]
pub fn effective(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            embedded(high, low)
        }
        [0x2001, 0, .., high, low] => embedded(!high, !low),
        _ => ip,
    }
}

fn embedded(high: u16, low: u16) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

/// Patterns on the leading octets, not a table: they compile to a few compares, and a public address
/// leaves after the first. More specific blocks stand before the block around them.
#[inline]
fn classify_v4(ip: Ipv4Addr) -> AddressClass {
    use AddressClass::*;
    match ip.octets() {
        [0, 0, 0, 0] => Unspecified,
        [0, ..] => ThisNetwork,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Private,
        [100, 64..=127, ..] => Cgnat,
        [127, ..] => Loopback,
        [169, 254, ..] => LinkLocal,
        // PCP and TURN anycast are globally reachable, all around them is not.
        [192, 0, 0, 9 | 10] => Public,
        [192, 0, 0, _] => IetfProtocol,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Documentation,
        [192, 88, 99, _] => Reserved,
        [198, 18 | 19, ..] => Benchmarking,
        [224..=239, ..] => Multicast,
        [255, 255, 255, 255] => Broadcast,
        [240..=255, ..] => Reserved,
        _ => Public,
    }
}

/// As [`classify_v4`]; the prefixes that [`effective`] resolves do not come here.
#[inline]
fn classify_v6(ip: Ipv6Addr) -> AddressClass {
    use AddressClass::*;
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Loopback,
        [0x64, 0xff9b, 1, ..] => Private,
        [0x100, 0, 0, 0, ..] => DiscardOnly,
        [0x100, 0, 0, 1, ..] => IetfProtocol,
        [0x2001, 0..=0x1ff, ..] => classify_protocol_v6(ip),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Documentation,
        [0x2000..=0x3fff, ..] => Public,
        [0x5f00, ..] => IetfProtocol,
        [0xfc00..=0xfdff, ..] => Private,
        [0xfe80..=0xfebf, ..] => LinkLocal,
        [0xff00..=0xffff, ..] => Multicast,
        _ => Reserved,
    }
}

/// Inside `2001::/23`, which is not globally reachable "unless allowed by a more specific allocation".
fn classify_protocol_v6(ip: Ipv6Addr) -> AddressClass {
    use AddressClass::*;
    match ip.segments() {
        // PCP, TURN and DNS-SD SRP anycast.
        [_, 1, 0, 0, 0, 0, 0, 1..=3] => Public,
        [_, 2, 0, ..] => Benchmarking,
        // AMT, AS112.
        [_, 3, ..] | [_, 4, 0x112, ..] => Public,
        // The first ORCHID prefix was given back in 2014.
        [_, 0x10..=0x1f, ..] => Reserved,
        // ORCHIDv2 and DRIP entity tags.
        [_, 0x20..=0x3f, ..] => Public,
        _ => IetfProtocol,
    }
}
