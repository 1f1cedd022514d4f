//! Asking the worker about one address and waiting for it: `enrich_ip` with `wait`.
//!
//! Rows that a session queues are invisible to the worker until the session commits, so a question with a waiting
//! session goes through a slot in shared memory instead. The worker writes the row as for any address asked about (seen
//! 0 times).

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use enrich::campaign::ticket::Ticket;
use pgrx::pg_sys;

use super::side::Network;
use crate::files::maxmind;
use crate::inventory::seen::Seen;
use crate::inventory::store::Writer;
use crate::pg::catalog::Schema;
use crate::pg::process;
use crate::pg::time;
use crate::shared;
use crate::shared::question::{QUESTIONS, Question};
use crate::shared::shared;
use crate::shared::trouble::Work;
use crate::shared::watched;

/// Gives the slot back, however the wait ends.
struct Held {
    question: &'static Question,
    number: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.question.slot.free(self.number);
    }
}

/// Asks this database's worker about `ip` and waits, at most `wait`, interruptibly. False: no answer in time.
pub fn ask(ip: IpAddr, wait: Duration) -> bool {
    let worker = shared::require_worker();
    let started = Instant::now();
    let Some(held) = claim() else { return false };
    let question = held.question;
    question.put(ip);
    question.waiter.store(process::my_pid(), Ordering::Relaxed);
    question.slot.ask(held.number);
    shared::wake(worker);
    while !question.slot.is_answered(held.number) {
        let left = wait.saturating_sub(started.elapsed());
        if left.is_zero() {
            return false;
        }
        process::pause(left.clamp(Duration::from_millis(1), Duration::from_millis(100)));
        pgrx::check_for_interrupts!();
    }
    true
}

/// A free slot, if the sessions of this database do not hold their share of them. As with jobs, counted again once the
/// slot is taken.
fn claim() -> Option<Held> {
    let database = shared::my_database().to_u32();
    let questions = &shared()?.questions;
    // Slots of dead sessions are free: the next session takes them over.
    let is_held =
        |q: &&Question| q.database.load(Ordering::Acquire) == database && q.slot.is_held(|| q.waiter_is_gone());
    let held = || questions.iter().filter(is_held).count();
    let share = shared::share(QUESTIONS);
    if held() >= share {
        return None;
    }
    let free = |question: &'static Question| Some((question, question.slot.claim(|| question.waiter_is_gone())?));
    let (question, number) = questions.iter().find_map(free)?;
    let mine = Held { question, number };
    question.database.store(database, Ordering::Release);
    (held() <= share).then_some(mine)
}

/// The worker's side: takes the questions of its database. MaxMind's answer is written at once; the network is asked
/// for the rest, and the session is told when that is written too.
pub fn answer(database: pg_sys::Oid, network: &mut Network) {
    let Some(shared) = shared() else { return };
    let taken = |(slot, question): (usize, &Question)| {
        let asked = question.slot.asked()?;
        if question.database.load(Ordering::Relaxed) != database.to_u32() {
            return None;
        }
        // The values belong to the ticket that is taken; otherwise none is taken.
        let ip = question.ip();
        Some((ip, Ticket { slot, number: question.slot.take(asked)? }))
    };
    let asked: Vec<(IpAddr, Ticket)> = shared.questions.iter().enumerate().filter_map(taken).collect();
    if asked.is_empty() {
        return;
    }
    let mut ips: Vec<IpAddr> = asked.iter().map(|(ip, _)| *ip).collect();
    ips.sort_unstable();
    ips.dedup();
    let result = watched::run(Work::Question, || {
        let Some(schema) = Schema::hold() else { return };
        write(&schema, &ips);
    });
    if let Err(failure) = result
        && watched::is_news(Work::Question, &failure)
    {
        pgrx::log!("asn_inventory: addresses that sessions wait for could not be written: {}", failure.message);
    }
    if network.elsewhere() {
        asked.into_iter().for_each(|(_, ticket)| done(ticket));
    } else {
        network.questions(asked);
    }
}

/// Tells the session of a question that everything is written. A session that has gone is ignored, also if another one
/// has its slot now.
pub fn done(ticket: Ticket) {
    let Some(question) = shared().and_then(|shared| shared.questions.get(ticket.slot)) else { return };
    if question.slot.answer(ticket.number) {
        shared::wake(question.waiter.load(Ordering::Relaxed));
    }
}

/// A new worker takes over the questions of the previous one.
pub fn take_over(database: pg_sys::Oid) {
    for question in shared().iter().flat_map(|shared| &shared.questions) {
        if question.database.load(Ordering::Relaxed) == database.to_u32() {
            question.slot.take_back();
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
