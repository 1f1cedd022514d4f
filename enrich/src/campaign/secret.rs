//! Networks that are never sent, for statements: they compare addresses as they are written.
//!
//! An address is secret as it is written, or as its effective address: see [`cascade::is_secret`](crate::cascade::is_secret).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

/// The networks of IPv6 addresses that stand for an IPv4 address, as PostgreSQL reads them in an array of inet:
/// IPv4-mapped ones, NAT64, 6to4, Teredo.
pub const WRAPPED: &str = "{::ffff:0:0/96,64:ff9b::/96,2002::/16,2001::/32}";

/// These networks, and those of the addresses that stand for one in them. Teredo addresses are left out: they hold the
/// address inverted and at their end, so that no network names them.
pub fn forms(never_ask: &[IpNetwork]) -> Vec<IpNetwork> {
    let wrapped = |network: &IpNetwork| match network.network() {
        IpAddr::V4(ip) => wrapped(ip, network.prefix()),
        IpAddr::V6(_) => Vec::new(),
    };
    never_ask.iter().flat_map(|network| std::iter::once(*network).chain(wrapped(network))).collect()
}

fn wrapped(ip: Ipv4Addr, prefix: u8) -> Vec<IpNetwork> {
    let bits = u128::from(ip.to_bits());
    let forms = [(0xffff << 32 | bits, 96), (0x64_ff9b << 96 | bits, 96), (0x2002 << 112 | bits << 80, 16)];
    let network = |(bits, before): (u128, u8)| IpNetwork::new(Ipv6Addr::from_bits(bits).into(), before + prefix).ok();
    forms.into_iter().filter_map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::effective;
    use crate::cascade::is_secret;

    /// 8.8.4.4 in each form.
    const WRAPPED_8_8_4_4: [&str; 4] = ["::ffff:8.8.4.4", "64:ff9b::8.8.4.4", "2002:808:404::1", "2001:0:1::f7f7:fbfb"];

    #[test]
    fn each_wrapped_address_is_in_one_of_the_networks() {
        let networks: Vec<IpNetwork> =
            WRAPPED.trim_matches(['{', '}']).split(',').map(|text| text.parse().unwrap()).collect();
        for (network, text) in networks.iter().zip(WRAPPED_8_8_4_4) {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(effective(ip).to_string(), "8.8.4.4", "{text}");
            assert!(network.contains(ip), "{text}");
        }
        let plain: IpAddr = "2600::1".parse().unwrap();
        assert!(effective(plain) == plain && !networks.iter().any(|network| network.contains(plain)));
    }

    #[test]
    fn secret_networks_are_named_in_all_forms_but_teredo() {
        let never_ask: Vec<IpNetwork> = ["8.8.4.0/23", "2600:1::/32"].map(|text| text.parse().unwrap()).into();
        let forms = forms(&never_ask);
        let named = |text: &str| {
            let ip: IpAddr = text.parse().unwrap();
            let named = forms.iter().any(|network| network.contains(ip));
            assert!(is_secret(&never_ask, ip) || !named, "{text}");
            named
        };
        for text in ["8.8.4.4", "8.8.5.255", "2600:1::1", "2002:808:5ff:ffff::", "::ffff:8.8.5.255"] {
            assert!(named(text), "{text}");
        }
        for text in ["8.8.6.0", "::ffff:8.8.6.0", "64:ff9b::8.8.3.255", "2002:808:600::", "2600:2::1"] {
            assert!(!named(text), "{text}");
        }
        assert_eq!(WRAPPED_8_8_4_4.map(named), [true, true, true, false]);
    }

    #[test]
    fn everything_is_named_once() {
        let all: Vec<IpNetwork> = vec!["0.0.0.0/0".parse().unwrap()];
        let texts: Vec<String> = forms(&all).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["0.0.0.0/0", "::ffff:0.0.0.0/96", "64:ff9b::/96", "2002::/16"]);
    }
}
