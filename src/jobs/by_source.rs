//! Jobs that ask network sources: which addresses they are about, handing them to the worker's network side, and
//! counting the results. An address counts once all its sources are done; MaxMind, if it is one of them, goes first,
//! since its answer decides whether Team Cymru is asked.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use enrich::campaign::claim::Target;
use enrich::campaign::interest::Progress;
use enrich::roster;
use enrich::roster::{RANKED_WIDTH, Roster, Sorted, Sorter};
use enrich::source::{Source, SourceSet};

use super::end::dropping;
use super::list;
use super::list::write_list;
use crate::inventory::due::Which;
use crate::inventory::{due, known};
use crate::network::Network;
use crate::pg::catalog::Schema;
use crate::pg::tx;
use crate::pg::tx::Failure;
use crate::settings;
use crate::shared::trouble::Work;
use crate::shared::watched;
use crate::shared::{Done, Job, sources};

/// Addresses that are handed over at a time: open questions are held in memory, and a refresh may have millions.
const CHUNK: u64 = 50_000;
/// With so many left, the next ones are handed over: there is always something to ask.
const ROOM: u64 = 10_000;
/// Addresses that are ranked in one turn of the worker's loop, which has other duties and looks whether the job is cancelled.
const RANKED: u64 = 10_000;
/// Attempts to hand over that may fail one after the other, but for locks, and how long apart they are.
const MAX_FAILURES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Finds the addresses of a job: those it was given, or all that are stale at any of its sources, most observed first.
/// They are in its list from then on. Returns their number; `None`: the extension is gone.
pub fn measure(job: &Job) -> Option<u64> {
    let schema = Schema::hold()?;
    // One that was taken over from a worker that ended begins again, and finds in the inventory what it has done already.
    job.counts.reset_but_maxmind();
    if !job.listed.load(Ordering::Relaxed) {
        let ips = stale(&schema, job);
        job.total.store(write_list(job.id.load(Ordering::Relaxed), &ips), Ordering::Relaxed);
        job.listed.store(true, Ordering::Release);
    }
    let total = list::of_start(job, list::total);
    job.total.store(total, Ordering::Relaxed);
    Some(total)
}

fn stale(schema: &Schema, job: &Job) -> Vec<IpAddr> {
    let bits = job.sources.load(Ordering::Relaxed);
    let (lifetimes, never_ask) = (settings::lifetimes(), settings::policy().never_ask);
    // Rows that must not be asked about go on being stale: they would take the places of others each time.
    let outdated = Which::Outdated(&never_ask);
    let most = job.max_ips.load(Ordering::Relaxed).max(1) as usize;
    let mut ips: Vec<(u64, IpAddr)> = Vec::new();
    let mut add = |rows: Vec<Target>| ips.extend(rows.into_iter().map(|row| (row.seen, row.ip)));
    if bits & sources::CYMRU != 0 {
        add(due::claim(schema, Source::Cymru, outdated, &lifetimes, most));
    }
    if bits & sources::GREYNOISE != 0 {
        add(due::claim(schema, Source::GreyNoise, outdated, &lifetimes, most));
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
    /// Where the addresses come from.
    order: Order,
    unread: u64,
    /// Addresses that are read, and still to be handed over.
    next: Vec<IpAddr>,
    /// Attempts that failed since one succeeded, and when the next one is.
    failures: u32,
    again: Option<Instant>,
    /// Whether the last step was one of sorting: the next one has nothing to wait for.
    sorting: bool,
}

/// In which order the addresses of a job are handed over: piece by piece, and the quota may not reach beyond the first.
enum Order {
    /// To be sorted by observations: not begun.
    Unsorted,
    /// Being sorted.
    Sorting(Ranking),
    /// Most observed first.
    Ranked(Sorted<RANKED_WIDTH>),
    /// That of the list: not opened yet.
    Listed,
    /// The same, open.
    Reading(Roster),
}

/// A list that is being sorted, a part in memory at a time.
struct Ranking {
    list: Roster,
    /// Addresses that are ranked.
    done: u64,
    sorter: Sorter<RANKED_WIDTH>,
}

impl Ranking {
    fn begin(id: i64, total: u64) -> Result<Ranking, Obstacle> {
        let list = list::open(id, Some(total))?;
        let sorter = list::sorter(id).map_err(Obstacle::Sorting)?;
        Ok(Ranking { list, done: 0, sorter })
    }

    /// Ranks the next addresses. True: all are.
    fn go_on(&mut self) -> Result<bool, Obstacle> {
        let ips = self.list.read(self.done, self.done + RANKED)?;
        let claims = tx::run(|| Schema::hold().map(|schema| due::observed(&schema, &ips)).unwrap_or_default())?;
        let seen: HashMap<IpAddr, u64> = claims.into_iter().map(|claim| (claim.ip, claim.seen)).collect();
        for ip in &ips {
            // One whose row is gone since it was listed goes last.
            let seen = seen.get(ip).copied().unwrap_or(0);
            self.sorter.push(roster::ranked(*ip, seen)).map_err(Obstacle::Sorting)?;
        }
        self.done += ips.len() as u64;
        Ok(self.done >= self.list.total())
    }
}

/// What keeps the next addresses from being handed over.
enum Obstacle {
    List(io::Error),
    Sorting(io::Error),
    Rows(Failure),
}

impl From<io::Error> for Obstacle {
    fn from(error: io::Error) -> Obstacle {
        Obstacle::List(error)
    }
}

impl From<Failure> for Obstacle {
    fn from(failure: Failure) -> Obstacle {
        Obstacle::Rows(failure)
    }
}

/// Begins to ask about the addresses of a job.
pub fn start(slot: usize, job: &Job, network: &mut Network) -> Asking {
    let total = job.total.load(Ordering::Relaxed);
    network.start_job(slot);
    let order = if asks_greynoise(job) && total > CHUNK { Order::Unsorted } else { Order::Listed };
    Asking { order, unread: total, next: Vec::new(), failures: 0, again: None, sorting: false }
}

fn asks_greynoise(job: &Job) -> bool {
    job.sources.load(Ordering::Relaxed) & sources::GREYNOISE != 0
}

/// Hands over as many as there is room for, and counts new results. True: the job is done.
///
/// # Errors
/// Why the job cannot go on.
pub fn go_on(slot: usize, job: &Job, network: &mut Network, asking: &mut Asking) -> Result<bool, String> {
    let waits = asking.is_through()
        || job.cancel.load(Ordering::Acquire)
        || network.left_of_job(slot) > ROOM
        // Without the key, GreyNoise would count as switched off.
        || asks_greynoise(job) && network.awaits_key();
    asking.sorting = false;
    let handed = if waits { Ok(()) } else { asking.go_on(slot, job, network) };
    let (progress, settled) = network.job_progress(slot);
    count(job, &progress);
    handed?;
    Ok(settled && asking.is_through())
}

fn count(job: &Job, progress: &Progress) {
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
}

impl Asking {
    /// Whether the list is being sorted, and the next step of that has nothing to wait for.
    pub fn is_sorting(&self) -> bool {
        self.sorting
    }

    /// Whether no address is left to be handed over.
    fn is_through(&self) -> bool {
        self.unread == 0 && self.next.is_empty()
    }

    /// Hands the next addresses over. What another session holds is waited for; anything else is tried a few times, and
    /// then an error. But a list that cannot be sorted is handed over as it stands.
    fn go_on(&mut self, slot: usize, job: &Job, network: &mut Network) -> Result<(), String> {
        if self.again.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        let id = job.id.load(Ordering::Relaxed);
        let failure = match self.hand_over_next(slot, job, network) {
            Ok(()) => {
                (self.failures, self.again) = (0, None);
                return Ok(());
            }
            Err(Obstacle::List(error)) => return Err(list::unreadable(id, &error)),
            Err(Obstacle::Sorting(error)) => {
                self.leave_unsorted(id, &error.to_string());
                return Ok(());
            }
            Err(Obstacle::Rows(failure)) => failure,
        };
        self.again = Some(Instant::now() + PAUSE);
        if !failure.is_lock() {
            watched::failed(Work::Job, &failure);
            self.failures += 1;
        } else if dropping() {
            // DROP EXTENSION may wait for the session that waits for this job: one of them must give way.
            job.cancel.store(true, Ordering::Release);
        }
        if self.failures < MAX_FAILURES {
            return Ok(());
        }
        if matches!(self.order, Order::Unsorted | Order::Sorting(_)) {
            self.failures = 0;
            self.leave_unsorted(id, &failure.message);
            return Ok(());
        }
        Err(format!("could not read the rows to ask about: {}", failure.message))
    }

    fn hand_over_next(&mut self, slot: usize, job: &Job, network: &mut Network) -> Result<(), Obstacle> {
        let (id, total) = (job.id.load(Ordering::Relaxed), job.total.load(Ordering::Relaxed));
        if matches!(self.order, Order::Unsorted | Order::Sorting(_)) {
            self.sort(id, total)?;
            self.sorting = true;
            return Ok(());
        }
        self.read(id, total)?;
        self.hand_over(slot, job, network).map_err(Obstacle::Rows)
    }

    /// One step of sorting the list by observations.
    fn sort(&mut self, id: i64, total: u64) -> Result<(), Obstacle> {
        if let Order::Unsorted = self.order {
            self.order = Order::Sorting(Ranking::begin(id, total)?);
        }
        if let Order::Sorting(ranking) = &mut self.order
            && !ranking.go_on()?
        {
            return Ok(());
        }
        if let Order::Sorting(ranking) = std::mem::replace(&mut self.order, Order::Listed) {
            self.order = Order::Ranked(ranking.sorter.finish().map_err(Obstacle::Sorting)?);
        }
        Ok(())
    }

    /// The list is handed over as it stands.
    fn leave_unsorted(&mut self, id: i64, why: &str) {
        self.order = Order::Listed;
        pgrx::warning!("asn_inventory: could not sort the list of job {id}: {why}");
    }

    /// Reads the next addresses, unless there are some that were not handed over.
    fn read(&mut self, id: i64, total: u64) -> io::Result<()> {
        if !self.next.is_empty() {
            return Ok(());
        }
        if let Order::Listed = self.order {
            self.order = Order::Reading(list::open(id, Some(total))?);
        }
        let at = total.saturating_sub(self.unread);
        self.next = match &mut self.order {
            Order::Reading(list) => list.read(at, at + CHUNK)?,
            Order::Ranked(sorted) => {
                sorted.take(CHUNK as usize).map(|ranked| roster::unranked(&ranked?)).collect::<io::Result<_>>()?
            }
            Order::Unsorted | Order::Sorting(_) | Order::Listed => Vec::new(),
        };
        self.unread = self.unread.saturating_sub(self.next.len() as u64);
        Ok(())
    }

    /// Hands the addresses that were read to the network side. Those that no source is asked about are through already: they
    /// count by their answers since the job began, which came while another worker had it, and by MaxMind's.
    fn hand_over(&mut self, slot: usize, job: &Job, network: &mut Network) -> Result<(), Failure> {
        let (bits, began) = (job.sources.load(Ordering::Relaxed), job.started_at.load(Ordering::Relaxed));
        let named = SourceSet::from_bits(bits);
        let known = tx::run(|| Schema::hold().map(|schema| known::answers(&schema, &self.next, named, began)))?;
        let Some(mut known) = known else {
            // The extension is gone.
            job.cancel.store(true, Ordering::Release);
            return Ok(());
        };
        let on = network.sources_on();
        let wanted: SourceSet = named.iter().filter(|source| on.contains(*source)).collect();
        network.ask_for_job(slot, &self.next, wanted, (bits & sources::ANEW != 0).then_some(began))?;
        let mut rest = Progress::default();
        for ip in std::mem::take(&mut self.next) {
            let answers = known.remove(&ip).unwrap_or_default();
            if network.asks_for(slot, ip) {
                answers.into_iter().for_each(|(source, end)| network.note_answer(slot, ip, source, end));
            } else {
                rest.add(&answers);
            }
        }
        count(job, &rest);
        Ok(())
    }
}
