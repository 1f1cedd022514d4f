//! The fakes' data: announcements, rules that compute them, names, scanners, the GreyNoise key and quota. The same
//! shapes are read from a file (`--data`) and from the control port.

use super::prefixes::{Prefixes, bits};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

/// A prefix and its origins, in Team Cymru's form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// The announced prefix.
    pub prefix: IpNetwork,
    /// The origin ASNs, at least one.
    pub origins: Vec<u32>,
    /// The registry's country; empty as the service leaves it empty.
    #[serde(default)]
    pub country: String,
    /// `arin`, `ripencc`, …
    #[serde(default)]
    pub registry: String,
    /// `2002-03-15`, or empty.
    #[serde(default)]
    pub allocated: String,
}

/// Every block of `length` inside `within` is announced, by `first_asn` plus the block's index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Where the rule holds.
    pub within: IpNetwork,
    /// The prefix length of each announcement.
    pub length: u8,
    /// The ASN of the first block.
    pub first_asn: u32,
    /// The country of all of them.
    #[serde(default)]
    pub country: String,
}

impl Rule {
    /// The block's ASN and prefix, where the rule holds for `ip`.
    fn announcement(&self, ip: IpAddr) -> Option<Announcement> {
        if !self.within.contains(ip) {
            return None;
        }
        let (value, width) = bits(ip);
        let shift = u32::from(width.checked_sub(self.length)?);
        let block = value.checked_shr(shift).unwrap_or(0);
        let first = bits(self.within.network()).0.checked_shr(shift).unwrap_or(0);
        let index = u32::try_from(block.checked_sub(first)?).ok()?;
        Some(Announcement {
            prefix: IpNetwork::new(IpNetwork::new(ip, self.length).ok()?.network(), self.length).ok()?,
            origins: vec![self.first_asn.checked_add(index)?],
            country: self.country.clone(),
            registry: "arin".into(),
            allocated: "2001-01-01".into(),
        })
    }
}

/// An ASN's registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AsName {
    /// The ASN.
    pub asn: u32,
    /// `EXAMPLE-AS - Example, US`.
    pub name: String,
    /// The registry's country.
    #[serde(default)]
    pub country: String,
    /// `arin`, `ripencc`, …
    #[serde(default)]
    pub registry: String,
    /// `2002-03-15`, or empty.
    #[serde(default)]
    pub allocated: String,
}

/// GreyNoise's data about an address. Fields that are `None` are omitted from the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scanner {
    /// The address.
    pub ip: Ipv4Addr,
    /// Seen scanning the internet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<bool>,
    /// A common business service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub riot: Option<bool>,
    /// `benign`, `malicious` or `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<String>,
    /// The actor or service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A date or a timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
}

impl Scanner {
    /// An address that scans: `malicious`, `benign` or `unknown`.
    #[must_use]
    pub fn noise(ip: Ipv4Addr, classification: &str, name: &str) -> Scanner {
        Scanner {
            ip,
            noise: Some(true),
            riot: Some(false),
            classification: Some(classification.into()),
            name: Some(name.into()),
            last_seen: Some("2026-09-13".into()),
        }
    }

    /// A well-known service.
    #[must_use]
    pub fn riot(ip: Ipv4Addr, name: &str) -> Scanner {
        Scanner { noise: Some(false), riot: Some(true), ..Scanner::noise(ip, "benign", name) }
    }
}

/// How many answers GreyNoise gives before it says 429.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Answers (200 and 404) that are left.
    pub left: u64,
    /// The `Retry-After` of the 429s: seconds, or an HTTP date.
    #[serde(default)]
    pub retry_after: Option<String>,
}

/// Data to add: a file's content, or one command's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// Prefixes to announce; an announcement replaces the same prefix's earlier one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub announce: Vec<Announcement>,
    /// Prefixes that are no longer announced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withdraw: Vec<IpNetwork>,
    /// Rules, asked where no announcement is set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Names of ASNs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<AsName>,
    /// Addresses that GreyNoise has seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scanners: Vec<Scanner>,
    /// Addresses that GreyNoise no longer knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forget: Vec<Ipv4Addr>,
}

/// All that is known now.
#[derive(Debug, Default)]
pub struct World {
    announced: Prefixes<Announcement>,
    rules: Vec<Rule>,
    names: HashMap<u32, AsName>,
    scanners: HashMap<Ipv4Addr, Scanner>,
    /// The key that GreyNoise wants; `None`: any, or none.
    pub key: Option<String>,
    /// `None`: without end.
    pub quota: Option<Quota>,
}

impl World {
    /// Takes `data` in; withdrawals go first.
    ///
    /// # Errors
    /// Impossible data: an announcement without an origin. Nothing is added then.
    pub fn add(&mut self, data: Data) -> Result<(), String> {
        if let Some(bare) = data.announce.iter().find(|announcement| announcement.origins.is_empty()) {
            return Err(format!("{} is announced by nobody", bare.prefix));
        }
        if let Some(rule) = data.rules.iter().find(|rule| !rule_is_sound(rule)) {
            return Err(format!("a rule for /{} within {} makes no sense", rule.length, rule.within));
        }
        for prefix in data.withdraw {
            self.announced.remove(prefix);
            self.rules.retain(|rule| rule.within != prefix);
        }
        for mut announcement in data.announce {
            let prefix = announcement.prefix;
            announcement.prefix = IpNetwork::new(prefix.network(), prefix.prefix()).unwrap_or(prefix);
            self.announced.insert(prefix, announcement);
        }
        self.rules.extend(data.rules);
        self.names.extend(data.names.into_iter().map(|name| (name.asn, name)));
        for ip in data.forget {
            self.scanners.remove(&ip);
        }
        self.scanners.extend(data.scanners.into_iter().map(|scanner| (scanner.ip, scanner)));
        Ok(())
    }

    /// Every announcement that holds `ip`, the longest prefix first; empty: not announced.
    #[must_use]
    pub fn announcements(&self, ip: IpAddr) -> Vec<Announcement> {
        let set: Vec<Announcement> = self.announced.holding(ip).cloned().collect();
        if set.is_empty() {
            self.rules.iter().find_map(|rule| rule.announcement(ip)).into_iter().collect()
        } else {
            set
        }
    }

    /// An ASN's registration. One that only a rule makes up has a made-up name.
    #[must_use]
    pub fn name(&self, asn: u32) -> Option<AsName> {
        if let Some(name) = self.names.get(&asn) {
            return Some(name.clone());
        }
        let rule = self.rules.iter().find(|rule| {
            let blocks = 1u64.checked_shl(u32::from(rule.length - rule.within.prefix())).unwrap_or(u64::MAX);
            asn.checked_sub(rule.first_asn).is_some_and(|index| u64::from(index) < blocks)
        })?;
        Some(AsName {
            asn,
            name: format!("NET-{asn} - Network {asn}, {}", rule.country),
            country: rule.country.clone(),
            registry: "arin".into(),
            allocated: "2001-01-01".into(),
        })
    }

    /// GreyNoise's data about `ip`.
    #[must_use]
    pub fn scanner(&self, ip: Ipv4Addr) -> Option<&Scanner> {
        self.scanners.get(&ip)
    }
}

/// The length lies between the rule's own and the family's, so that subtractions of lengths cannot fail.
fn rule_is_sound(rule: &Rule) -> bool {
    (rule.within.prefix()..=bits(rule.within.ip()).1).contains(&rule.length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(json: serde_json::Value) -> World {
        let mut world = World::default();
        world.add(serde_json::from_value(json).unwrap()).unwrap();
        world
    }

    #[test]
    fn a_rule_counts_its_blocks() {
        let world = world(serde_json::json!({
            "rules": [{ "within": "20.0.0.0/6", "length": 20, "first_asn": 64500, "country": "US" }],
        }));
        let second = &world.announcements("20.0.16.9".parse().unwrap())[0];
        assert_eq!((second.prefix.to_string().as_str(), second.origins[0]), ("20.0.16.0/20", 64501));
        assert_eq!(world.name(64501).unwrap().name, "NET-64501 - Network 64501, US");
        assert!(world.announcements("24.0.0.0".parse().unwrap()).is_empty());
        assert_eq!(world.name(64500 + 16_384), None);
    }

    #[test]
    fn an_announcement_hides_a_rule_and_a_withdrawal_shows_it_again() {
        let mut world = world(serde_json::json!({
            "announce": [{ "prefix": "20.0.16.0/24", "origins": [7] }],
            "rules": [{ "within": "20.0.0.0/6", "length": 20, "first_asn": 64500 }],
        }));
        assert_eq!(world.announcements("20.0.16.1".parse().unwrap())[0].origins, [7]);
        let withdraw = vec!["20.0.16.0/24".parse().unwrap()];
        world.add(Data { withdraw, ..Data::default() }).unwrap();
        assert_eq!(world.announcements("20.0.16.1".parse().unwrap())[0].origins, [64501]);
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |json| World::default().add(serde_json::from_value(json).unwrap()).unwrap_err();
        assert!(
            refused(serde_json::json!({ "announce": [{ "prefix": "1.0.0.0/8", "origins": [] }] })).contains("nobody")
        );
        assert!(
            refused(serde_json::json!({ "rules": [{ "within": "1.0.0.0/8", "length": 4, "first_asn": 1 }] }))
                .contains("no sense")
        );
    }
}
