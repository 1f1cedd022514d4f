//! The worker of one database: a loop of absorbing, answering, jobs, the network, and waiting. It is the only writer of `ip_inventory`, with
//! its helpers.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::download::Download;
use super::fold::Fold;
use super::leftovers::Leftovers;
use super::maintenance::Maintenance;
use super::receive::Receive;
use super::share::Share;
use super::standby;
use super::walk::Walk;
use crate::background_process;
use crate::ingest::absorb;
use crate::ingest::absorb::MAX_ROWS;
use crate::ingest::restore;
use crate::inventory::asker;
use crate::inventory::history;
use crate::jobs::run::Runner;
use crate::network::Network;
use crate::network::ask;
use crate::network::secrets::Secrets;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::process;
use crate::pg::pulse;
use crate::pg::{time, tx};
use crate::settings;
use crate::shared;
use crate::shared::Database;
use crate::shared::trouble::Work;
use crate::shared::watched;

/// How often the queue is checked without a signal: for rows that were put back, and prepared transactions.
const POLL: Duration = Duration::from_secs(5);
/// How often it is looked whether a restore is through.
const RESTORED: Duration = Duration::from_millis(500);
/// How long another session may hold a lock that absorbing needs before the log says so.
const HELD: Duration = Duration::from_secs(10);
/// Queue rows of a round after others that failed.
const LEAST_ROWS: usize = 1000;
/// Longest pause while a job is under way.
const BUSY: Duration = Duration::from_millis(100);
/// Longest pause after rounds that failed.
const MAX_PAUSE: Duration = Duration::from_secs(30);

background_process!(asn_inventory_worker_main, run);

fn run(argument: pg_sys::Datum) {
    process::take_signals();
    let database = pg_sys::Oid::from(argument.value() as u32);
    let Some(slot) = shared::shared().and_then(|shared| shared.database_or_new(database)) else { return };
    process::connect(c"asn_inventory worker", database);
    // Before the look: what is said after it counts.
    slot.wanted.store(false, Ordering::Release);
    slot.pending.store(false, Ordering::Release);
    match tx::run(Schema::find) {
        Ok(Some(_)) => {}
        Ok(None) => {
            slot.looked.store(true, Ordering::Release);
            return;
        }
        Err(_) => {
            slot.wanted.store(true, Ordering::Release);
            return;
        }
    }
    slot.looked.store(true, Ordering::Release);
    slot.wanted.store(true, Ordering::Release);
    if process::in_recovery() {
        return standby::run(slot);
    }
    slot.pending.store(true, Ordering::Release);
    slot.note_waiting();
    // One worker a database, even if launchers end and restart.
    if slot.living_worker().is_some() {
        return;
    }
    slot.held_since.store(0, Ordering::Relaxed);
    slot.answering.write("");
    pulse::show_life_in(&slot.beat_at, &slot.works);
    slot.worker.store(process::my_pid(), Ordering::Release);
    history::see_to_trigger();
    // A DROP DATABASE that began while this process started could not know it; it waits for it to go.
    if slot.is_banned() {
        return;
    }
    Worker {
        slot,
        database,
        began: None,
        pause: Duration::ZERO,
        limit: MAX_ROWS,
        held_since: None,
        held_said: false,
        looked: None,
        runner: Runner::new(database),
        network: begun(database),
        download: Download::new(database),
        leftovers: Leftovers::default(),
        fold: Fold::default(),
        share: Share::new(),
        receive: Receive::default(),
        asks: true,
        asks_until: None,
        walk: Walk::new(database, slot),
        maintenance: Maintenance::new(database, slot),
        secrets: Secrets::new(slot),
    }
    .run();
}

struct Worker {
    slot: &'static Database,
    database: pg_sys::Oid,
    began: Option<Instant>,
    pause: Duration,
    /// Most queue rows of the next round.
    limit: usize,
    /// Since when another session has held a lock that absorbing needs, and whether that was logged.
    held_since: Option<Instant>,
    held_said: bool,
    /// When it was last seen that the extension is there, while nothing is absorbed.
    looked: Option<Instant>,
    runner: Runner,
    network: Network,
    download: Download,
    leftovers: Leftovers,
    fold: Fold,
    share: Share,
    receive: Receive,
    /// Whether this node asks the network sources, and when that is looked at again.
    asks: bool,
    asks_until: Option<Instant>,
    walk: Walk,
    maintenance: Maintenance,
    secrets: Secrets,
}

/// The network side, with the questions that the worker before had taken.
fn begun(database: pg_sys::Oid) -> Network {
    ask::take_over(database);
    Network::new(database)
}

/// Whether the extension is gone: then its worker has nothing to do here.
fn gone(slot: &Database) -> bool {
    let is_gone = || matches!(tx::run(Schema::find), Ok(None));
    if !is_gone() {
        return false;
    }
    // Whoever creates it from now on says so; who did before is seen.
    slot.wanted.store(false, Ordering::Release);
    let is_gone = is_gone();
    if !is_gone {
        slot.wanted.store(true, Ordering::Release);
    }
    is_gone
}

impl Worker {
    /// Works until the extension is gone.
    fn run(&mut self) {
        loop {
            process::serve_interrupts();
            if self.stands_aside() {
                continue;
            }
            let interval = settings::snapshot().absorb_interval.max(self.pause);
            let goes_on = match settings::enabled_for_worker() {
                true => !self.due(interval) || self.absorb(),
                false => !self.is_gone(),
            };
            if !goes_on {
                return;
            }
            ask::answer(self.database, &mut self.network);
            self.secrets.turn();
            let merging = settings::enabled_for_worker() && self.leftovers.turn();
            let walking = settings::enabled_for_worker() && self.walk();
            let waits = settings::enabled_for_worker() && self.walk.is_running();
            let working = self.runner.turn(&mut self.network, waits) || walking || merging;
            if settings::enabled_for_worker() {
                if self.asks() {
                    process::busy("asking the network sources");
                    self.network.turn();
                } else {
                    self.network.rest();
                }
                self.download.turn(true);
                if self.network.take_written() || working {
                    self.maintenance.note();
                }
                self.maintenance.turn();
            } else {
                self.network.rest();
                self.download.turn(false);
            }
            // Last: whatever comes between the look for a restore and the counting gives it time to begin.
            let working = settings::enabled_for_worker() && self.fold.turn() || working;
            self.share.turn();
            self.receive.turn();
            process::idle();
            if !working {
                // Not longer than this without a sign of life, whatever is due and when.
                let patience = self.patience(interval).min(POLL);
                process::wait_for(self.network.bell(), patience);
            }
        }
    }

    /// Whether this node asks the network sources, of several that share an inventory.
    fn asks(&mut self) -> bool {
        if self.asks_until.is_none_or(|until| Instant::now() >= until) {
            let look = || Schema::hold().map(|schema| (asker::is_here(&schema), citus::is_here()));
            if let Ok(Some((asks, is_in_cluster))) = tx::run(look) {
                self.asks = asks;
                // An inventory may be distributed at any moment, and from then on its rows are not this node's to decide on.
                self.asks_until = (!is_in_cluster).then(|| Instant::now() + POLL);
            }
            self.network.is_asked_elsewhere(!self.asks);
        }
        self.asks
    }

    fn due(&self, interval: Duration) -> bool {
        let Some(began) = self.began else { return true };
        let elapsed = began.elapsed();
        elapsed >= interval && (self.slot.pending.load(Ordering::Acquire) || elapsed >= POLL.max(interval))
    }

    /// How long nothing needs doing: until the queue may be absorbed again, if it has anything.
    fn patience(&self, interval: Duration) -> Duration {
        if !settings::enabled_for_worker() {
            // The others take no turn.
            let until = POLL
                .min(self.download.patience())
                .min(self.share.patience())
                .min(self.receive.patience())
                .min(self.secrets.patience());
            return if self.runner.is_busy() { until.min(BUSY) } else { until.max(Duration::from_millis(1)) };
        }
        let target = if self.slot.pending.load(Ordering::Acquire) { interval } else { POLL.max(interval) };
        let until = match self.began {
            Some(began) => target.saturating_sub(began.elapsed()),
            // A round left rows, and the next one is due at once.
            None => Duration::ZERO,
        };
        let until = until
            .min(self.network.patience())
            .min(self.download.patience())
            .min(self.walk.patience())
            .min(self.leftovers.patience())
            .min(self.fold.patience())
            .min(self.share.patience())
            .min(self.receive.patience())
            .min(self.maintenance.patience())
            .min(self.secrets.patience())
            .max(Duration::from_millis(1));
        if self.runner.is_busy() { until.min(BUSY) } else { until }
    }

    /// A piece of the walk. Its changes are counted again, and may be new to the network sources.
    fn walk(&mut self) -> bool {
        let more = self.walk.turn();
        if self.walk.take_end() {
            self.maintenance.note();
            self.network.look_now();
        }
        more
    }

    /// Whether the extension was dropped while nothing is absorbed: looked at now and then.
    fn is_gone(&mut self) -> bool {
        if self.looked.is_some_and(|at| at.elapsed() < POLL) {
            return false;
        }
        self.looked = Some(Instant::now());
        gone(self.slot)
    }

    /// Waits while a dump is being restored into the extension's tables: see [`restore`]. Sessions are answered all the same.
    fn stands_aside(&mut self) -> bool {
        if self.slot.restorers.take_news() && !self.walk.begin_anew() {
            self.slot.restorers.are_news();
        }
        let restored = |slot| tx::run(|| restore::is_under_way(slot)).unwrap_or(false);
        if self.slot.restorers.all().is_empty() || !restored(self.slot) {
            return false;
        }
        process::busy("waiting for a restore");
        ask::answer(self.database, &mut self.network);
        self.secrets.turn();
        // A user started a job by hand, and may cancel it.
        let working = self.runner.turn(&mut self.network, false);
        self.network.rest();
        self.download.turn(false);
        if !working {
            process::wait(RESTORED.min(self.download.patience()).min(self.secrets.patience()));
        }
        true
    }

    /// One round. False: the extension is gone.
    fn absorb(&mut self) -> bool {
        self.began = Some(Instant::now());
        // Not forgotten before it is done: who looks meanwhile sees how long they have waited.
        let since = self.slot.waiting_since.load(Ordering::Relaxed);
        if self.slot.pending.swap(false, Ordering::AcqRel) {
            self.network.look_now();
        }
        process::busy("absorbing observations");
        let limit = self.limit;
        let result = tx::run(|| {
            let schema = Schema::hold()?;
            // A session absorbs by hand: the rest is for the next round.
            let absorbed = absorb::lock(false).then(|| absorb::absorb(&schema, limit));
            restore::give_way();
            Some(absorbed)
        });
        match result {
            Ok(None) => return !gone(self.slot),
            Ok(Some(None)) => self.stand_by(since),
            Ok(Some(Some(done))) => {
                watched::succeeded(Work::Absorb);
                match (&done.refused, &done.held) {
                    (Some(failure), _) => watched::failed(Work::Rows, failure),
                    (None, Some(lock)) => watched::kept_for_long(Work::Rows, lock),
                    // Rows that were put back earlier are not done while they wait.
                    (None, None) if !done.some_wait => watched::succeeded(Work::Rows),
                    (None, None) => {}
                }
                self.limit = self.limit.saturating_mul(2).min(MAX_ROWS);
                self.pause = Duration::ZERO;
                self.held_since = None;
                self.held_said = false;
                self.slot.held_since.store(0, Ordering::Relaxed);
                // What was put back waits for its own time, not for the worker: it shows as work that fails.
                if !done.more {
                    self.slot.waiting_since.store(0, Ordering::Relaxed);
                }
                if done.more || self.slot.pending.load(Ordering::Acquire) {
                    self.slot.note_waiting();
                }
                self.slot.absorbed.fetch_add(done.addresses, Ordering::Relaxed);
                if done.rows > 0 {
                    self.maintenance.note();
                    self.network.asked_about(&done.asked);
                }
                self.slot.absorbed_at.store(time::now(), Ordering::Relaxed);
                if done.more {
                    self.slot.still_waiting(since);
                    self.slot.pending.store(true, Ordering::Release);
                    self.began = None;
                }
            }
            Err(failure) if failure.is_lock() => self.stand_by(since),
            Err(failure) => {
                self.slot.still_waiting(since);
                self.slot.pending.store(true, Ordering::Release);
                self.pause = (self.pause * 2).clamp(Duration::from_secs(1), MAX_PAUSE);
                // There may be room for less.
                self.limit = (self.limit / 2).max(LEAST_ROWS);
                watched::failed(Work::Absorb, &failure);
                pgrx::log!("asn_inventory: observations could not be absorbed, trying again: {}", failure.message);
            }
        }
        true
    }
    /// Another session holds a lock that absorbing needs. This does not count as absorbing: the rows still wait,
    /// visibly.
    fn stand_by(&mut self, since: i64) {
        self.slot.note_waiting();
        self.slot.still_waiting(since);
        self.slot.pending.store(true, Ordering::Release);
        self.pause = Duration::from_secs(1);
        let held_since = *self.held_since.get_or_insert_with(|| {
            self.slot.held_since.store(time::now(), Ordering::Relaxed);
            Instant::now()
        });
        if !self.held_said && held_since.elapsed() > HELD {
            self.held_said = true;
            pgrx::log!(
                "asn_inventory: observations are not absorbed: another transaction holds a lock that this needs; enrichment_doctor() names it"
            );
        }
    }
}
