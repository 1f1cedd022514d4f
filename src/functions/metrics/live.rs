//! The metrics without SQL: from shared memory and the manifest of the files.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use enrich::latency::BOUNDS;

use super::page::{Durations, Page, Sample};
use crate::files::{lists as network_lists, maxmind};
use crate::pg::process;
use crate::pg::time;
use crate::settings::Switch;
use crate::shared::checks::{Checked, SETTINGS, found};
use crate::shared::trouble::{Trouble, WORKS, Work};
use crate::shared::{Database, kind, latency, state};
use crate::{settings, shared};

/// Bounds of histograms begin with one of these digits: three a decade are enough for a quantile to go by.
const STEPS: [u64; 3] = [100, 250, 500];

/// 1 or 0.
pub fn truth(value: bool) -> Option<f64> {
    Some(f64::from(u8::from(value)))
}

/// Unix seconds of a time (timestamptz) in shared memory; 0 there is never.
fn moment(at: &AtomicI64) -> Option<f64> {
    let at = at.load(Ordering::Relaxed);
    (at != 0).then(|| time::to_unix_us(at) as f64 / 1e6)
}

/// Whether it works.
pub fn worker(page: &mut Page, slot: Option<&Database>) {
    let standby = process::in_recovery();
    page.gauge("up", "Whether the worker of this database runs.", Sample::of(truth(shared::my_worker().is_some())));
    page.gauge(
        "scrape_timestamp_seconds",
        "When these figures were read: a file of them that is no longer written stays as it is.",
        Sample::of(Some(time::now_unix_us() as f64 / 1e6)),
    );
    page.gauge("standby", "Whether this server is a standby, where no worker runs.", Sample::of(truth(standby)));
    page.gauge(
        "enabled",
        "Whether asn_inventory.enabled is on, on the server and in the session that reads the metrics.",
        Sample::of(truth(settings::enabled() && settings::enabled_on_server())),
    );
    page.gauge(
        "last_absorb_timestamp_seconds",
        "When the worker last looked at the queue.",
        Sample::of(slot.and_then(|slot| moment(&slot.absorbed_at))),
    );
    page.gauge(
        "absorb_interval_seconds",
        "How long the worker may leave observations in the queue, by asn_inventory.absorb_interval.",
        Sample::of(Some(settings::snapshot().absorb_interval.as_secs_f64())),
    );
    page.gauge(
        "worker_timestamp_seconds",
        "When the worker last showed that it works: every few seconds, and with each step of long work.",
        Sample::of(slot.filter(|slot| slot.living_worker().is_some()).and_then(|slot| moment(&slot.beat_at))),
    );
    page.gauge(
        "launcher_timestamp_seconds",
        "When the launcher last showed that it works: every second, and between pieces of an import.",
        Sample::of(shared::shared().and_then(|shared| moment(&shared.launcher.beat_at))),
    );
}

/// How long observations have waited that the worker has not begun to absorb, in seconds.
pub fn queue_age(slot: &Database) -> Option<f64> {
    moment(&slot.waiting_since).map(|since| (time::now_unix_us() as f64 / 1e6 - since).max(0.0))
}

/// The counts since the server started.
pub fn counters(page: &mut Page, slot: Option<&Database>) {
    let count = |of: fn(&Database) -> &AtomicU64| Sample::of(slot.map(|slot| of(slot).load(Ordering::Relaxed) as f64));
    page.counter(
        "absorbed_addresses_total",
        "Queued addresses that the worker has absorbed.",
        count(|slot| &slot.absorbed),
    );
    page.counter(
        "cache_hits_total",
        "Calls of enrich_ip() that a fresh row of the inventory answered.",
        count(|slot| &slot.cache_hits),
    );
    page.counter("cache_misses_total", "Calls of enrich_ip() that had more to do.", count(|slot| &slot.cache_misses));
    page.counter(
        "unobserved_statements_total",
        "Statements whose rows were not observed, since ip_observation was locked.",
        count(|slot| slot.unobserved.total()),
    );
}

/// The failures of the worker and its helpers.
pub fn troubles(page: &mut Page, slot: Option<&Database>) {
    let Some(slot) = slot else { return };
    let each = |of: fn(&Trouble) -> f64| {
        let sample = move |(work, name, _): &(Work, &str, &str)| {
            Sample::labelled(vec![("work", (*name).to_owned())], Some(of(slot.troubles.of(*work))))
        };
        WORKS.iter().filter_map(sample)
    };
    page.gauge(
        "worker_failing",
        "Whether this work of the worker or its helpers failed the last time.",
        each(|trouble| f64::from(u8::from(trouble.failing().is_some()))),
    );
    page.counter(
        "worker_errors_total",
        "How often it failed; a lock of another session is one failure once it has lasted for a minute.",
        each(|trouble| trouble.failures() as f64),
    );
}

/// Whether the references of keys resolve, as the doctor's checks `key …` have it.
pub fn keys(page: &mut Page, slot: Option<&Database>) {
    // A key that is not asked for is not looked up any more.
    let is_used = |setting: &str| setting != "greynoise_api_key" || settings::network().greynoise != Switch::off;
    let slot = slot.filter(|slot| slot.living_worker().is_some());
    let keys = slot.into_iter().flat_map(|slot| SETTINGS.into_iter().zip(&slot.checks.keys));
    let sample = |(setting, key): (&str, &Checked)| {
        let unreadable = match key.found.load(Ordering::Relaxed) {
            found::UNKNOWN => None,
            state => truth(matches!(state, found::FAILS | found::MISSING)),
        };
        let name = setting.split('_').next().unwrap_or(setting);
        Sample::labelled(vec![("key", name.to_owned())], unreadable.filter(|_| is_used(setting)))
    };
    page.gauge(
        "key_unreadable",
        "Whether the key could not be read from where its setting says when it was last looked up.",
        keys.filter_map(sample),
    );
}

/// How long the sources take to answer.
pub fn latency(page: &mut Page, slot: Option<&Database>) {
    let all = slot.into_iter().flat_map(|slot| latency::SOURCES.into_iter().zip(&slot.latency));
    page.histogram(
        "source_answer_duration_seconds",
        "How long answers took; of look-ups in MaxMind's files, one in 256 is timed.",
        all.map(|(source, latency)| durations(source, latency)),
    );
}

fn durations(source: &str, latency: &latency::Latency) -> Durations {
    let (counts, sum) = latency.read();
    let mut reached = 0;
    let mut buckets = Vec::new();
    for (bound, count) in BOUNDS.iter().zip(counts) {
        reached += count;
        if STEPS.contains(&leading(*bound)) {
            buckets.push((*bound as f64 / 1e9, reached));
        }
    }
    Durations {
        labels: vec![("source", source.to_owned())],
        buckets,
        count: counts.iter().sum(),
        sum: sum.as_secs_f64(),
    }
}

/// The three leading digits of a bound; all have at least three, and only zeros after them.
const fn leading(mut bound: u64) -> u64 {
    while bound >= 1000 {
        bound /= 10;
    }
    bound
}

/// The installed files.
pub fn files(page: &mut Page) {
    let editions = maxmind::in_use();
    let each = |of: fn(&enrich::maxmind::store::EditionState) -> Option<f64>| -> Vec<Sample> {
        let samples = editions
            .iter()
            .filter_map(|(edition, state)| Sample::labelled(vec![("edition", edition.clone())], of(state)));
        samples.collect()
    };
    page.gauge(
        "mmdb_build_timestamp_seconds",
        "When the installed build was made.",
        each(|state| state.current.as_ref().map(|current| current.build_epoch as f64)),
    );
    page.gauge(
        "mmdb_installed_timestamp_seconds",
        "When it was installed.",
        each(|state| state.current.as_ref().map(|current| current.installed_at as f64 / 1e6)),
    );
    page.gauge(
        "mmdb_size_bytes",
        "Size of the installed file.",
        each(|state| state.current.as_ref().map(|current| current.size as f64)),
    );
    page.gauge(
        "mmdb_refused",
        "Whether the file that was last put there was refused.",
        each(|state| truth(state.refused.is_some())),
    );
    let failing = shared::shared().map(|shared| shared.launcher.import.is_failing());
    page.gauge(
        "mmdb_import_failing",
        "Whether the last import of files failed as a whole: the installed ones stay in use.",
        Sample::of(failing.and_then(truth)),
    );
}

/// The lists of networks.
pub fn lists(page: &mut Page) {
    let known = network_lists::manifest().lists;
    let each = |of: fn(&enrich::lists::manifest::ListState) -> Option<f64>| -> Vec<Sample> {
        let samples =
            known.iter().filter_map(|(list, state)| Sample::labelled(vec![("list", list.clone())], of(state)));
        samples.collect()
    };
    page.gauge(
        "list_entries",
        "Entries of the list of networks that are in use.",
        each(|state| state.current.as_ref().map(|current| (current.entries[0] + current.entries[1]) as f64)),
    );
    page.gauge(
        "list_file_timestamp_seconds",
        "Date of the file that they came from.",
        each(|state| state.current.as_ref().map(|current| current.modified_at as f64 / 1e6)),
    );
    page.gauge(
        "list_refused",
        "Whether the list's file was refused when it was last looked at: entries of before stay in use.",
        each(|state| truth(state.refused.is_some())),
    );
    let failing = shared::shared().map(|shared| shared.launcher.lists.is_failing());
    page.gauge(
        "list_import_failing",
        "Whether the last import of lists of networks failed as a whole: the installed ones stay in use.",
        Sample::of(failing.and_then(truth)),
    );
}

/// Jobs that are under way in this database.
pub fn jobs(page: &mut Page) {
    let Some(shared) = shared::shared() else { return };
    let database = shared::my_database().to_u32();
    let running = |of: u32| {
        let jobs = shared.jobs.iter().filter(|job| {
            matches!(job.state.load(Ordering::Acquire), state::SUBMITTED | state::RUNNING)
                && job.database.load(Ordering::Relaxed) == database
                && job.kind.load(Ordering::Relaxed) == of
        });
        Sample::labelled(vec![("kind", kind::name(of).to_owned())], Some(jobs.count() as f64))
    };
    page.gauge(
        "jobs_running",
        "Jobs that are under way, or wait for the worker.",
        [kind::BACKFILL, kind::REFRESH, kind::UPDATE, kind::WALK].into_iter().filter_map(running),
    );
}
