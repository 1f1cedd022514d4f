//! Which prefixes are announced by whom, and what the ASNs are called: what both of Team Cymru's services
//! answer from. One map a prefix length, so that a million addresses are a million times a few look-ups, and
//! rules that announce a whole range without a row for each prefix.

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

/// One announced prefix. Dates are `YYYY-MM-DD`; what is left empty is empty on the wire.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// The prefix; host bits are dropped.
    pub prefix: IpNetwork,
    /// Who announces it, the first one first.
    pub origins: Vec<u32>,
    /// The registry's country.
    #[serde(default)]
    pub country: String,
    /// `arin`, `ripencc`, …
    #[serde(default)]
    pub registry: String,
    /// When the registry gave it out.
    #[serde(default)]
    pub allocated: String,
}

/// What an ASN is called. Without one, `AS<n>` does not exist and whois has an empty column.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AsName {
    /// The ASN.
    pub asn: u32,
    /// As the service has it: `EXAMPLE-AS - Example, US`.
    pub name: String,
    /// The registry's country.
    #[serde(default)]
    pub country: String,
    /// `arin`, `ripencc`, …
    #[serde(default)]
    pub registry: String,
    /// When the registry gave it out.
    #[serde(default)]
    pub allocated: String,
}

/// Every prefix of `length` bits within a range is announced, the n-th of them by `first_asn` + n; all those
/// ASNs have names.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The range.
    pub within: IpNetwork,
    /// How long the announced prefixes are, in bits.
    pub length: u8,
    /// The first prefix's ASN.
    pub first_asn: u32,
    /// How many ASNs there are before the first comes again; without it, every prefix has its own.
    #[serde(default)]
    pub asns: Option<u32>,
}

impl Rule {
    /// How many ASNs announce its prefixes.
    fn asns(&self) -> u32 {
        let bits = u32::from(self.length - self.within.prefix());
        let prefixes = 1_u32.checked_shl(bits).unwrap_or(u32::MAX);
        self.asns.unwrap_or(prefixes).min(prefixes).min(u32::MAX - self.first_asn).max(1)
    }

    fn announcement(&self, ip: IpAddr) -> Option<Announcement> {
        if !self.within.contains(ip) {
            return None;
        }
        let prefix = network(ip, self.length)?;
        let (first, own) = (bits_of(self.within.network()), bits_of(prefix.network()));
        let nth = (own - first) >> (width(ip) - self.length);
        let asn = self.first_asn + (nth % u128::from(self.asns())) as u32;
        Some(Announcement {
            prefix,
            origins: vec![asn],
            country: "US".into(),
            registry: "arin".into(),
            allocated: "2001-01-01".into(),
        })
    }

    fn name(&self, asn: u32) -> Option<AsName> {
        let mine = asn.checked_sub(self.first_asn).is_some_and(|nth| nth < self.asns());
        mine.then(|| AsName {
            asn,
            name: format!("RULE-{asn} - Network {asn}, US"),
            country: "US".into(),
            registry: "arin".into(),
            allocated: "2001-01-01".into(),
        })
    }
}

/// A prefix's family (by its width in bits) and length.
type Shape = (u8, u8);

/// The table.
#[derive(Debug, Default)]
pub struct Table {
    /// Prefixes by shape, shortest first; in there by their bits.
    announced: BTreeMap<Shape, HashMap<u128, Announcement>>,
    /// What a rule would announce, and is withdrawn.
    withdrawn: HashSet<IpNetwork>,
    rules: Vec<Rule>,
    names: HashMap<u32, AsName>,
}

impl Table {
    /// Adds or replaces a prefix.
    ///
    /// # Errors
    /// Without an origin.
    pub fn announce(&mut self, mut announcement: Announcement) -> Result<(), String> {
        if announcement.origins.is_empty() {
            return Err(format!("{} needs an origin", announcement.prefix));
        }
        let prefix = canonical(announcement.prefix);
        announcement.prefix = prefix;
        self.withdrawn.remove(&prefix);
        self.announced.entry(shape(prefix)).or_default().insert(bits_of(prefix.network()), announcement);
        Ok(())
    }

    /// Takes a prefix out, also one that a rule announces.
    pub fn withdraw(&mut self, prefix: IpNetwork) {
        let prefix = canonical(prefix);
        self.withdrawn.insert(prefix);
        if let Some(prefixes) = self.announced.get_mut(&shape(prefix)) {
            prefixes.remove(&bits_of(prefix.network()));
        }
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// For a length that does not fit the range, or no ASNs.
    pub fn rule(&mut self, mut rule: Rule) -> Result<(), String> {
        rule.within = canonical(rule.within);
        if !(rule.within.prefix()..=width(rule.within.ip())).contains(&rule.length) || rule.asns == Some(0) {
            return Err(format!("no prefixes of {} bits are in {}", rule.length, rule.within));
        }
        self.rules.push(rule);
        Ok(())
    }

    /// Names an ASN.
    pub fn name(&mut self, name: AsName) {
        self.names.insert(name.asn, name);
    }

    /// Everything that covers `ip`, the least specific prefix first: whoever takes the first record for the
    /// answer gets it visibly wrong.
    pub fn covering(&self, ip: IpAddr) -> Vec<Announcement> {
        let width = width(ip);
        let listed = self.announced.range((width, 0)..=(width, width)).filter_map(|(&(_, length), prefixes)| {
            let prefix = network(ip, length)?;
            prefixes.get(&bits_of(prefix.network())).cloned()
        });
        let ruled = self.rules.iter().filter_map(|rule| rule.announcement(ip));
        let mut found: Vec<Announcement> = listed.collect();
        for announcement in ruled {
            let known = found.iter().any(|listed| listed.prefix == announcement.prefix);
            if !known && !self.withdrawn.contains(&announcement.prefix) {
                found.push(announcement);
            }
        }
        found.sort_by_key(|announcement| announcement.prefix.prefix());
        found
    }

    /// What an ASN is called, if it exists.
    pub fn name_of(&self, asn: u32) -> Option<AsName> {
        self.names.get(&asn).cloned().or_else(|| self.rules.iter().find_map(|rule| rule.name(asn)))
    }
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn shape(prefix: IpNetwork) -> Shape {
    (width(prefix.ip()), prefix.prefix())
}

fn bits_of(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn network(ip: IpAddr, length: u8) -> Option<IpNetwork> {
    IpNetwork::new(ip, length).ok().map(canonical)
}

/// Without host bits.
fn canonical(prefix: IpNetwork) -> IpNetwork {
    IpNetwork::new(prefix.network(), prefix.prefix()).unwrap_or(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn announced(prefix: &str, origin: u32) -> Announcement {
        Announcement {
            prefix: prefix.parse().expect("a prefix"),
            origins: vec![origin],
            country: String::new(),
            registry: String::new(),
            allocated: String::new(),
        }
    }

    fn origins(table: &Table, text: &str) -> Vec<(String, u32)> {
        table.covering(ip(text)).into_iter().map(|found| (found.prefix.to_string(), found.origins[0])).collect()
    }

    #[test]
    fn all_covering_prefixes_come_and_the_least_specific_is_the_first() {
        let mut table = Table::default();
        for (prefix, origin) in
            [("94.136.40.0/24", 2), ("94.136.32.0/19", 1), ("0.0.0.0/0", 9), ("94.136.41.0/24", 3), ("::/0", 8)]
        {
            table.announce(announced(prefix, origin)).expect("sound");
        }
        let found = origins(&table, "94.136.40.7");
        assert_eq!(
            found,
            [("0.0.0.0/0".into(), 9), ("94.136.32.0/19".into(), 1), ("94.136.40.0/24".into(), 2)] as [(String, u32); 3]
        );
        assert_eq!(origins(&table, "2001:db8::1"), [("::/0".into(), 8)]);
        table.withdraw("94.136.40.0/24".parse().expect("a prefix"));
        assert_eq!(origins(&table, "94.136.40.7").len(), 2);
    }

    #[test]
    fn a_rule_announces_every_prefix_of_its_range_and_names_the_asns() {
        let mut table = Table::default();
        let rule = r#"{"within":"20.0.0.0/6","length":20,"first_asn":64500}"#;
        table.rule(serde_json::from_str(rule).expect("a rule")).expect("sound");
        assert_eq!(origins(&table, "20.0.0.1"), [("20.0.0.0/20".into(), 64_500)]);
        assert_eq!(origins(&table, "20.0.16.1"), [("20.0.16.0/20".into(), 64_501)]);
        assert_eq!(origins(&table, "23.255.255.255"), [("23.255.240.0/20".into(), 64_500 + 16_383)]);
        assert_eq!(origins(&table, "24.0.0.0"), []);
        assert!(table.name_of(64_500 + 16_383).is_some_and(|name| name.name.contains("80883")));
        assert_eq!(table.name_of(64_500 + 16_384), None);
        assert_eq!(table.name_of(64_499), None);
        table.withdraw("20.0.16.0/20".parse().expect("a prefix"));
        assert_eq!(origins(&table, "20.0.16.1"), []);
    }

    #[test]
    fn the_widest_rules_do_not_overflow() {
        let mut table = Table::default();
        for rule in [
            r#"{"within":"::/0","length":128,"first_asn":4294967290}"#,
            r#"{"within":"0.0.0.0/0","length":32,"first_asn":1,"asns":7}"#,
        ] {
            table.rule(serde_json::from_str(rule).expect("a rule")).expect("sound");
        }
        assert_eq!(table.covering(ip("ffff::ffff")).len(), 1);
        assert_eq!(origins(&table, "0.0.0.8"), [("0.0.0.8/32".into(), 2)]);
        let wrong = r#"{"within":"20.0.0.0/24","length":20,"first_asn":1}"#;
        assert!(table.rule(serde_json::from_str(wrong).expect("a rule")).is_err());
    }
}
