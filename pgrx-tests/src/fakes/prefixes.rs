//! Which prefixes hold an address: a map for each prefix length, so that a million addresses against a
//! million prefixes are a matter of seconds.

use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Values by prefix, of both families.
#[derive(Debug)]
pub struct Prefixes<T> {
    /// By length (longest last), then by the network's bits.
    v4: BTreeMap<u8, HashMap<u128, T>>,
    v6: BTreeMap<u8, HashMap<u128, T>>,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Prefixes { v4: BTreeMap::new(), v6: BTreeMap::new() }
    }
}

impl<T> Prefixes<T> {
    /// Sets a prefix's value; host bits do not matter.
    pub fn insert(&mut self, prefix: IpNetwork, value: T) {
        let key = network_bits(prefix.ip(), prefix.prefix());
        self.family_mut(prefix.is_ipv4()).entry(prefix.prefix()).or_default().insert(key, value);
    }

    /// Forgets a prefix; whether it was there.
    pub fn remove(&mut self, prefix: IpNetwork) -> bool {
        let key = network_bits(prefix.ip(), prefix.prefix());
        let lengths = self.family_mut(prefix.is_ipv4());
        let Some(map) = lengths.get_mut(&prefix.prefix()) else {
            return false;
        };
        let was_there = map.remove(&key).is_some();
        if map.is_empty() {
            lengths.remove(&prefix.prefix());
        }
        was_there
    }

    /// The values of every prefix that holds `ip`, the longest prefix first.
    pub fn holding(&self, ip: IpAddr) -> impl Iterator<Item = &T> {
        let lengths = if ip.is_ipv4() { &self.v4 } else { &self.v6 };
        lengths.iter().rev().filter_map(move |(&length, map)| map.get(&network_bits(ip, length)))
    }

    fn family_mut(&mut self, v4: bool) -> &mut BTreeMap<u8, HashMap<u128, T>> {
        if v4 { &mut self.v4 } else { &mut self.v6 }
    }
}

/// An address as a number, and how many bits its family has.
#[must_use]
pub fn bits(ip: IpAddr) -> (u128, u8) {
    match ip {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

/// The bits of `ip` that a prefix of `length` keeps, moved to the right end.
fn network_bits(ip: IpAddr, length: u8) -> u128 {
    let (value, width) = bits(ip);
    // A shift by all 128 bits is an overflow: ::/0 keeps nothing.
    value.checked_shr(u32::from(width.saturating_sub(length))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(prefixes: &Prefixes<&'static str>, ip: &str) -> Vec<&'static str> {
        prefixes.holding(ip.parse().unwrap()).copied().collect()
    }

    #[test]
    fn the_longest_prefix_comes_first_and_families_do_not_mix() {
        let mut prefixes = Prefixes::default();
        for text in ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::/0", "2001:db8::/32"] {
            prefixes.insert(text.parse().unwrap(), text);
        }
        assert_eq!(found(&prefixes, "10.1.2.3"), ["10.1.2.3/32", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]);
        assert_eq!(found(&prefixes, "10.2.0.0"), ["10.0.0.0/8", "0.0.0.0/0"]);
        assert_eq!(found(&prefixes, "2001:db8::1"), ["2001:db8::/32", "::/0"]);
        assert_eq!(found(&prefixes, "::1"), ["::/0"]);
    }

    #[test]
    fn a_removed_prefix_is_gone_once() {
        let mut prefixes = Prefixes::default();
        prefixes.insert("10.1.0.0/16".parse().unwrap(), "sixteen");
        assert!(prefixes.remove("10.1.9.9/16".parse().unwrap()));
        assert!(!prefixes.remove("10.1.0.0/16".parse().unwrap()));
        assert!(found(&prefixes, "10.1.0.1").is_empty());
    }
}
