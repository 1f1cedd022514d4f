//! Jobs that ask network sources: which addresses they are about, handing them to the worker's network side, and
//! counting the results. An address counts once all its sources are done; MaxMind, if it is one of them, goes first,
//! since its answer decides whether Team Cymru is asked.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use enrich::campaign::claim::Target;
use enrich::source::{Source, SourceSet};

use super::list;
use super::list::write_list;
use crate::inventory::due::Which;
use crate::inventory::{due, known};
use crate::network::Network;
use crate::pg::catalog::Schema;
use crate::settings;
use crate::shared::trouble::Work;
use crate::shared::watched;
use crate::shared::{Done, Job, sources};

/// Addresses that are handed over at a time: open questions are held in memory, and a refresh may have millions.
const CHUNK: usize = 50_000;
/// With so many left, the next ones are handed over: there is always something to ask.
const ROOM: u64 = 10_000;

/// The sources of a job by name.
pub fn names(job: &Job) -> Vec<&'static str> {
    SourceSet::from_bits(job.sources.load(Ordering::Relaxed)).iter().map(Source::as_str).collect()
}

/// Finds the addresses of a job: those it was given, or all that are stale at any of its sources, most observed first.
/// They are in its list from then on. Returns their number.
pub fn measure(job: &Job) -> u64 {
    let Some(schema) = Schema::hold() else { return 0 };
    // One that was taken over from a worker that ended begins again.
    job.counts.reset_but_maxmind();
    let id = job.id.load(Ordering::Relaxed);
    if !job.listed.load(Ordering::Relaxed) {
        let ips = stale(&schema, job);
        write_list(id, &ips);
        job.listed.store(true, Ordering::Release);
    }
    let total = list::stream(id).map_or(0, Iterator::count) as u64;
    job.total.store(total, Ordering::Relaxed);
    total
}

fn stale(schema: &Schema, job: &Job) -> Vec<IpAddr> {
    let bits = job.sources.load(Ordering::Relaxed);
    let lifetimes = settings::lifetimes();
    let most = job.max_ips.load(Ordering::Relaxed).max(1) as usize;
    let mut ips: Vec<(u64, IpAddr)> = Vec::new();
    let mut add = |rows: Vec<Target>| ips.extend(rows.into_iter().map(|row| (row.seen, row.ip)));
    if bits & sources::CYMRU != 0 {
        add(due::claim(schema, Source::Cymru, Which::Outdated, &lifetimes, most));
    }
    if bits & sources::GREYNOISE != 0 {
        add(due::claim(schema, Source::GreyNoise, Which::Outdated, &lifetimes, most));
    }
    if bits & sources::MAXMIND != 0 {
        add(due::claim_at_maxmind(schema, job.stale_before.load(Ordering::Relaxed), most));
    }
    ips.sort_unstable_by_key(|(seen, ip)| (std::cmp::Reverse(*seen), *ip));
    ips.dedup();
    ips.truncate(most);
    ips.into_iter().map(|(_, ip)| ip).collect()
}

/// A job whose network sources are being asked.
pub struct Asking {
    /// Addresses that are still to be handed over.
    list: Box<dyn Iterator<Item = IpAddr>>,
    /// No address is left there.
    ended: bool,
}

/// Begins to ask about the addresses of a job.
pub fn start(slot: usize, job: &Job, network: &mut Network) -> Asking {
    network.start_job(slot);
    let id = job.id.load(Ordering::Relaxed);
    let asks_greynoise = job.sources.load(Ordering::Relaxed) & sources::GREYNOISE != 0;
    if asks_greynoise && job.total.load(Ordering::Relaxed) > CHUNK as u64 {
        most_observed_first(id);
    }
    let list: Box<dyn Iterator<Item = IpAddr>> = match list::stream(id) {
        Ok(list) => Box::new(list),
        Err(error) => {
            pgrx::warning!("asn_inventory: could not read the list of job {id}: {error}");
            Box::new(std::iter::empty())
        }
    };
    Asking { list, ended: false }
}

/// Sorts the list of a job by observations, most first: it is handed over piece by piece, and the quota may not reach
/// beyond the first.
fn most_observed_first(id: i64) {
    let ips = list::read(id).unwrap_or_default();
    let mut ranked: Vec<(u64, IpAddr)> = Vec::with_capacity(ips.len());
    for part in ips.chunks(CHUNK) {
        let claimed =
            watched::part(Work::Job, || Schema::hold().map(|schema| due::observed(&schema, part)).unwrap_or_default());
        match claimed {
            Ok(claims) => ranked.extend(claims.into_iter().map(|claim| (claim.seen, claim.ip))),
            // As they stand, then.
            Err(_) => return,
        }
    }
    // One that is not in the inventory stays out: it has no row to write to.
    ranked.sort_unstable_by_key(|(seen, ip)| (std::cmp::Reverse(*seen), *ip));
    if ranked.len() == ips.len()
        && let Err(error) = list::write_in_order(id, ranked.iter().map(|(_, ip)| ip))
    {
        pgrx::warning!("asn_inventory: could not sort the list of job {id}: {error}");
    }
}

/// Hands addresses of a job to the network side. Those that no source is asked about are through already.
fn hand_over(slot: usize, job: &Job, network: &mut Network, ips: Vec<IpAddr>) {
    let bits = job.sources.load(Ordering::Relaxed);
    let on = network.sources_on();
    let wanted: SourceSet = SourceSet::from_bits(bits).iter().filter(|source| on.contains(*source)).collect();
    network.ask_for_job(slot, &ips, wanted, bits & sources::ANEW != 0);
    let rest: Vec<IpAddr> = ips.into_iter().filter(|ip| !network.asks_for(slot, *ip)).collect();
    if !rest.is_empty() {
        count_rest(job, &rest);
    }
}

/// Addresses that the network is not asked about count by how MaxMind stands, if that was asked, or as skipped.
fn count_rest(job: &Job, rest: &[IpAddr]) {
    let result = watched::part(Work::Job, || {
        let Some(schema) = Schema::hold() else { return [0; 3] };
        known::at_maxmind(&schema, rest)
    });
    let [found, not_found, other] = result.unwrap_or([0; 3]);
    let processed = rest.len() as u64;
    if job.sources.load(Ordering::Relaxed) & sources::MAXMIND != 0 {
        job.counts.add(&Done { processed, enriched: found, not_found, skipped: other, ..Done::default() });
    } else {
        job.counts.add(&Done { processed, skipped: found + not_found + other, ..Done::default() });
    }
}

/// Hands over as many as there is room for, and counts new results. True: the job is done.
pub fn go_on(slot: usize, job: &Job, network: &mut Network, asking: &mut Asking) -> bool {
    if !asking.ended && network.left_of_job(slot) <= ROOM {
        let ips: Vec<IpAddr> = asking.list.by_ref().take(CHUNK).collect();
        asking.ended = ips.len() < CHUNK;
        if !ips.is_empty() {
            hand_over(slot, job, network, ips);
        }
    }
    let (progress, settled) = network.job_progress(slot);
    job.counts.add(&Done {
        processed: progress.processed,
        enriched: progress.enriched,
        cymru_asn: progress.cymru_asn,
        greynoise_scanners: progress.scanners,
        not_found: progress.not_found,
        skipped: progress.skipped,
        errors: progress.errors,
        ..Done::default()
    });
    settled && asking.ended
}
