//! `no_proxy`: hosts that are asked directly. The spellings of other programs: `host`, `.domain`, `*.domain`, an address,
//! a network, `*`, each with a port or without.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// The entries of one list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exempt(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    All,
    /// Lower case; it, and whatever ends in it behind a dot.
    Domain(String),
    Network(IpNetwork),
}

impl Exempt {
    /// Reads a list, separated by commas or blanks.
    pub(super) fn parse(text: &str) -> Result<Exempt, &'static str> {
        let entries = elements(text).map(|entry| Entry::parse(entry).ok_or(EXPECTED));
        entries.collect::<Result<_, _>>().map(Exempt)
    }

    /// As [`Exempt::parse`], without the entries that cannot be read.
    pub(super) fn parse_leniently(text: &str) -> Exempt {
        Exempt(elements(text).filter_map(Entry::parse).collect())
    }

    /// Whether a host of a URL is meant. A name is not resolved: networks are for addresses in URLs.
    pub(super) fn covers(&self, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        let ip: Option<IpAddr> = host.parse().ok();
        self.0.iter().any(|entry| {
            entry.port.is_none_or(|wanted| wanted == port)
                && match &entry.host {
                    Host::All => true,
                    Host::Network(network) => ip.is_some_and(|ip| network.contains(ip)),
                    Host::Domain(domain) => {
                        host == *domain || host.strip_suffix(domain.as_str()).is_some_and(|start| start.ends_with('.'))
                    }
                }
        })
    }
}

const EXPECTED: &str = "Hosts, .domains, networks or * are expected, separated by commas.";

fn elements(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty())
}

impl Entry {
    fn parse(text: &str) -> Option<Entry> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(network) = bare.parse() {
            return Some(Entry { host: Host::Network(network), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text, None),
        };
        if host == "*" {
            return Some(Entry { host: Host::All, port });
        }
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(network) = bare.parse() {
            return Some(Entry { host: Host::Network(network), port });
        }
        let domain = host.strip_prefix('*').unwrap_or(host);
        let domain = domain.strip_prefix('.').unwrap_or(domain).trim_end_matches('.');
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let sound = !domain.is_empty() && domain.bytes().all(fits);
        sound.then(|| Entry { host: Host::Domain(domain.to_ascii_lowercase()), port })
    }
}
