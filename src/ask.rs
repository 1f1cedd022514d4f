//! Asking the worker about one address and waiting for it: `enrich_ip` with `wait`.
//!
//! What a session queues is invisible to the worker until the session commits, so a question that is waited for goes
//! through a slot in shared memory instead. The worker writes the row as for any address asked about (seen 0 times).

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use crate::catalog::Schema;
use crate::observe::tally::Seen;
use crate::shared::{self, shared};
use crate::store::Writer;
use crate::worker::network::Network;
use crate::{maxmind, time, tx};

/// Questions that can wait at a time.
pub const QUESTIONS: usize = 128;

const FREE: u32 = 0;
const FILLING: u32 = 1;
const ASKED: u32 = 2;
const TAKEN: u32 = 3;
const ANSWERED: u32 = 4;

/// One question. Owned by the asking session except in the states `ASKED` and `TAKEN`, when the worker may answer.
#[repr(C)]
pub struct Question {
    state: AtomicU32,
    database: AtomicU32,
    waiter: AtomicI32,
    ipv4: AtomicU32,
    high: AtomicU64,
    low: AtomicU64,
}

impl Question {
    fn put(&self, ip: IpAddr) {
        let bits = match ip {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => v6.into(),
        };
        self.ipv4.store(ip.is_ipv4().into(), Ordering::Relaxed);
        self.high.store((bits >> 64) as u64, Ordering::Relaxed);
        self.low.store(bits as u64, Ordering::Relaxed);
    }

    fn ip(&self) -> IpAddr {
        let (high, low) = (self.high.load(Ordering::Relaxed), self.low.load(Ordering::Relaxed));
        if self.ipv4.load(Ordering::Relaxed) != 0 {
            IpAddr::V4((low as u32).into())
        } else {
            IpAddr::V6(Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)))
        }
    }
}

/// Gives the slot back, however the wait ends.
struct Held(&'static Question);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state.store(FREE, Ordering::Release);
    }
}

/// Asks this database's worker about `ip` and waits, at most `wait`, interruptibly. False: no answer in time.
pub fn ask(ip: IpAddr, wait: Duration) -> bool {
    let worker = shared::require_worker();
    let started = Instant::now();
    let Some(question) = claim() else { return false };
    let held = Held(question);
    question.put(ip);
    // SAFETY: this process's id, set at its start.
    question.waiter.store(unsafe { pg_sys::MyProcPid }, Ordering::Relaxed);
    question.state.store(ASKED, Ordering::Release);
    shared::wake(worker);
    while held.0.state.load(Ordering::Acquire) != ANSWERED {
        let left = wait.saturating_sub(started.elapsed());
        if left.is_zero() {
            return false;
        }
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        let pause = left.min(Duration::from_millis(100)).as_millis().max(1) as i64;
        // SAFETY: this session's own latch.
        unsafe {
            pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, pause, pg_sys::PG_WAIT_EXTENSION);
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
        pgrx::check_for_interrupts!();
    }
    true
}

/// A free slot, if the sessions of this database do not hold their share of them. As with jobs, counted again once the
/// slot is taken.
fn claim() -> Option<&'static Question> {
    let database = shared::my_database().to_u32();
    let questions = &shared()?.questions;
    let held = || {
        let mine = |q: &&Question| q.database.load(Ordering::Acquire) == database;
        questions.iter().filter(mine).filter(|q| q.state.load(Ordering::Acquire) != FREE).count()
    };
    let share = shared::share(QUESTIONS);
    // Slots of sessions that died count as well, until somebody takes them over: that somebody must get that far.
    let free = |question: &&Question| {
        question.state.compare_exchange(FREE, FILLING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    let question = if held() < share { questions.iter().find(free) } else { None };
    let question = question.or_else(|| questions.iter().find(|question| adopt(question)))?;
    question.database.store(database, Ordering::Release);
    if held() > share {
        question.state.store(FREE, Ordering::Release);
        return None;
    }
    Some(question)
}

/// Takes over the slot of a session that died while it waited.
fn adopt(question: &Question) -> bool {
    let state = question.state.load(Ordering::Acquire);
    let pid = question.waiter.load(Ordering::Relaxed);
    // SAFETY: asks the process array.
    let orphan = state >= ASKED && unsafe { pg_sys::BackendPidGetProc(pid).is_null() };
    orphan && question.state.compare_exchange(state, FILLING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// The worker's side: takes what is asked in its database. MaxMind's answer is written at once; what only the network
/// knows is asked for, and the session is told when that is written too.
pub fn answer(database: pg_sys::Oid, network: &mut Network) {
    let Some(shared) = shared() else { return };
    let asked: Vec<(usize, &Question)> = shared
        .questions
        .iter()
        .enumerate()
        .filter(|(_, q)| q.database.load(Ordering::Relaxed) == database.to_u32())
        .filter(|(_, q)| q.state.compare_exchange(ASKED, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok())
        .collect();
    if asked.is_empty() {
        return;
    }
    let mut ips: Vec<IpAddr> = asked.iter().map(|(_, question)| question.ip()).collect();
    ips.sort_unstable();
    ips.dedup();
    let result = tx::run(|| {
        let Some(schema) = Schema::hold() else { return };
        write(&schema, &ips);
    });
    if let Err(failure) = result {
        pgrx::log!("asn_inventory: addresses that sessions wait for could not be written: {}", failure.message);
    }
    let questions: Vec<(IpAddr, usize)> = asked.iter().map(|(slot, question)| (question.ip(), *slot)).collect();
    network.questions(&questions);
    network.tell();
}

/// Tells the session of a question that everything is written. One that has gone is forgotten.
pub fn done(slot: usize) {
    let Some(question) = shared().and_then(|shared| shared.questions.get(slot)) else { return };
    if question.state.compare_exchange(TAKEN, ANSWERED, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        shared::wake(question.waiter.load(Ordering::Relaxed));
    }
}

/// A worker that begins takes over what the one before had taken.
pub fn take_over(database: pg_sys::Oid) {
    for question in shared().iter().flat_map(|shared| &shared.questions) {
        if question.database.load(Ordering::Relaxed) == database.to_u32() {
            let _ = question.state.compare_exchange(TAKEN, ASKED, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

fn write(schema: &Schema, ips: &[IpAddr]) {
    let now = time::now();
    let rows: Vec<(IpAddr, Seen)> = ips.iter().map(|ip| (*ip, Seen { count: 0, first: now, last: now })).collect();
    maxmind::with(|databases| {
        let stale_before = maxmind::stale_before(databases);
        let mut writer = Writer::new(schema);
        writer.absorb(databases, &rows, now);
        writer.update(databases, ips, stale_before, now);
    });
}
