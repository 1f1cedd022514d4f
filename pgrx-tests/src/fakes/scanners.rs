//! What GreyNoise knows: listed addresses, the key it wants and the quota it gives.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// What a listed address is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scanner {
    /// The address.
    pub ip: Ipv4Addr,
    /// It scans the Internet.
    #[serde(default)]
    pub noise: bool,
    /// It belongs to a common business service.
    #[serde(default)]
    pub riot: bool,
    /// `benign`, `malicious`, `unknown`.
    #[serde(default)]
    pub classification: String,
    /// The actor or the service.
    #[serde(default)]
    pub name: String,
    /// A date or a timestamp.
    #[serde(default)]
    pub last_seen: String,
}

impl Scanner {
    /// One that scans, and means harm.
    #[must_use]
    pub fn malicious(ip: Ipv4Addr) -> Scanner {
        Scanner::of(ip, "malicious", "unknown")
    }

    /// One that scans for a good reason.
    #[must_use]
    pub fn benign(ip: Ipv4Addr, name: &str) -> Scanner {
        Scanner::of(ip, "benign", name)
    }

    /// A common business service (RIOT), which does not scan.
    #[must_use]
    pub fn service(ip: Ipv4Addr, name: &str) -> Scanner {
        Scanner { noise: false, riot: true, ..Scanner::of(ip, "benign", name) }
    }

    fn of(ip: Ipv4Addr, classification: &str, name: &str) -> Scanner {
        Scanner {
            ip,
            noise: true,
            riot: false,
            classification: classification.into(),
            name: name.into(),
            last_seen: "2026-09-14".into(),
        }
    }

    fn body(&self) -> Json {
        let kind = if self.riot { "riot" } else { "ip" };
        json!({
            "ip": self.ip,
            "noise": self.noise,
            "riot": self.riot,
            "classification": self.classification,
            "name": self.name,
            "link": format!("https://viz.greynoise.io/{kind}/{}", self.ip),
            "last_seen": self.last_seen,
            "message": "Success",
        })
    }
}

/// A number of answers, and what a client hears when they are used up.
#[derive(Clone, Debug)]
struct Quota {
    left: u64,
    retry_after: Option<String>,
}

/// An HTTP answer's matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// `Retry-After`.
    pub retry_after: Option<String>,
}

impl Answer {
    fn json(status: u16, body: &Json) -> Answer {
        Answer { status, body: body.to_string(), retry_after: None }
    }

    /// A path that does not exist: no answer about any address.
    pub fn no_such_page() -> Answer {
        Answer { status: 404, body: String::new(), retry_after: None }
    }
}

/// The service's knowledge and its terms.
#[derive(Debug, Default)]
pub struct Scanners {
    listed: HashMap<Ipv4Addr, Scanner>,
    key: Option<String>,
    quota: Option<Quota>,
}

impl Scanners {
    /// Lists an address.
    pub fn list(&mut self, scanner: Scanner) {
        self.listed.insert(scanner.ip, scanner);
    }

    /// Takes an address off the list.
    pub fn forget(&mut self, ip: Ipv4Addr) {
        self.listed.remove(&ip);
    }

    /// From now on only with this key; `None`: with any or without.
    pub fn expect_key(&mut self, key: Option<String>) {
        self.key = key;
    }

    /// From now on so many answers; `None`: any number.
    pub fn set_quota(&mut self, limit: Option<u64>, retry_after: Option<String>) {
        self.quota = limit.map(|left| Quota { left, retry_after });
    }

    /// What the service says about `address`, the text in the path, to someone with this `key`.
    pub fn answer(&mut self, address: &str, key: Option<&str>) -> Answer {
        if self.key.as_deref().is_some_and(|expected| key != Some(expected)) {
            return Answer::json(401, &json!({ "message": "unauthorized" }));
        }
        if let Some(quota) = self.quota.as_ref().filter(|quota| quota.left == 0) {
            let retry_after = quota.retry_after.clone();
            return Answer { retry_after, ..Answer::json(429, &json!({ "message": "You have hit your rate limit." })) };
        }
        let Some(ip) = address.parse().ok().filter(|&ip| is_routable(ip)) else {
            let message = "Request is not a valid routable IPv4 address";
            return Answer::json(400, &json!({ "ip": address, "noise": false, "riot": false, "message": message }));
        };
        if let Some(quota) = &mut self.quota {
            quota.left -= 1;
        }
        match self.listed.get(&ip) {
            Some(scanner) => Answer::json(200, &scanner.body()),
            None => Answer::json(404, &not_seen(ip)),
        }
    }

    /// As [`Self::answer`] for a listed address, with a `last_seen` that is no date.
    pub fn bad_last_seen(&self, ip: Option<Ipv4Addr>) -> Answer {
        let ip = ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let scanner = self.listed.get(&ip).cloned().unwrap_or_else(|| Scanner::malicious(ip));
        Answer::json(200, &Scanner { last_seen: "the day before yesterday".into(), ..scanner }.body())
    }
}

fn not_seen(ip: Ipv4Addr) -> Json {
    json!({
        "ip": ip,
        "noise": false,
        "riot": false,
        "message": "IP not observed scanning the internet or contained in RIOT data set.",
    })
}

/// Written out here, and not taken from the code under test.
fn is_routable(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || a == 0
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || (a, b, c) == (192, 0, 0);
    !special
}
