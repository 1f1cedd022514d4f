//! A caller's parameters: the limits of a job, and its sources.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use enrich::source::Source;

use crate::files::maxmind;
use crate::inventory::asker;
use crate::pg::catalog::Schema;
use crate::pg::errors::{bad_value, not_ready};
use crate::pg::inet::Inet;
use crate::shared;
use crate::shared::source;
use crate::shared::{kind, sources};

/// The addresses that a caller names.
pub enum Ips {
    /// One by one.
    Named(Vec<IpAddr>),
    /// Those of the inventory in a range, in which a netmask's host bits do not count.
    Within(Inet),
}

/// A caller's parameters.
pub struct Request {
    /// Rows of one write.
    pub batch_size: u32,
    /// Rows of one transaction.
    pub commit_interval: u32,
    /// Most addresses; 0: all.
    pub max_ips: u64,
    /// Most helpers.
    pub workers: u32,
    /// Just these addresses.
    pub ips: Option<Ips>,
    /// The caller waits for the end.
    pub wait: bool,
    /// See [`kind`].
    pub kind: u32,
    /// Listed addresses that the inventory does not know are added to it.
    pub adds: bool,
    /// Answers from before this (timestamptz) are due again.
    pub stale_before: i64,
    /// See [`sources`].
    pub sources: u32,
}

impl Request {
    /// A refresh; the caller then names its rows.
    pub fn refresh() -> Request {
        Request {
            batch_size: 1000,
            commit_interval: 5000,
            max_ips: 0,
            workers: 4,
            ips: None,
            wait: true,
            kind: kind::REFRESH,
            adds: false,
            stale_before: i64::MIN,
            sources: sources::MAXMIND,
        }
    }
}

/// The sources that a name stands for. A network source that is off cannot be named; `all` are those that are on.
pub fn wanted(schema: &Schema, source: Option<String>) -> u32 {
    const SOURCES: &str = "Sources are: maxmind, cymru, greynoise, all.";
    let Some(source) = source else { bad_value("null cannot be refreshed", SOURCES, "") };
    // Where another node asks, what is off here may be on there, and that node says so.
    let asked_elsewhere = !asker::is_here(schema);
    let open = |of: Source| {
        let slot = shared::here();
        let state = slot
            .and_then(|slot| source::of(&slot.sources, of))
            .map_or(source::state::UNKNOWN, |shown| shown.state.load(Ordering::Relaxed));
        asked_elsewhere || !matches!(state, source::state::OFF | source::state::NO_KEY | source::state::REFUSED)
    };
    let policy = asker::policy(schema);
    let (cymru, greynoise) = (policy.cymru && open(Source::Cymru), policy.greynoise && open(Source::GreyNoise));
    match source.as_str() {
        "maxmind" => sources::MAXMIND,
        "cymru" if cymru => sources::CYMRU,
        "greynoise" if greynoise => sources::GREYNOISE,
        "cymru" => not_ready(
            "Team Cymru is switched off",
            "asn_inventory.cymru is off.",
            "Set asn_inventory.cymru = on and reload.",
        ),
        "greynoise" => not_ready(
            "GreyNoise is not asked",
            "It is switched off, has no key, or refuses the key: source_status says which.",
            "Look at asn_inventory.greynoise and asn_inventory.greynoise_api_key, and reload.",
        ),
        "all" => {
            let maxmind = maxmind::with(|databases| !databases.is_empty()) || !(cymru || greynoise);
            let bit = |on: bool, bit: u32| if on { bit } else { 0 };
            bit(maxmind, sources::MAXMIND) | bit(cymru, sources::CYMRU) | bit(greynoise, sources::GREYNOISE)
        }
        _ => bad_value(format!("\"{source}\" cannot be refreshed"), SOURCES, ""),
    }
}
