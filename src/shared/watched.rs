//! Transactions with a visible outcome: in `enrichment_status.last_error`, the doctor, the metrics. A failure is shown
//! until the same work succeeds; a lock of another session is not a failure.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::pg::tx;
use crate::pg::tx::Failure;
use crate::shared;
use crate::shared::trouble::{WORKS, Work};

/// For how long a lock of another session is none of our failures.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the log says again what goes on failing.
const AGAIN: Duration = Duration::from_secs(60);

thread_local! {
    /// The last log message of each work, and its time.
    static SAID: RefCell<[Option<(String, Instant)>; WORKS.len()]> = const { RefCell::new([const { None }; WORKS.len()]) };
}

/// [`tx::run`], and shows how it went.
pub fn run<T>(work: Work, f: impl FnOnce() -> T) -> Result<T, Failure> {
    let result = tx::run(f);
    match &result {
        Ok(_) => succeeded(work),
        Err(failure) => failed(work, failure),
    }
    result
}

/// A lock of another session is in the way of a work: a failure only if nothing else comes of it for a while.
pub fn kept(work: Work, failure: &Failure) {
    if slot().is_some_and(|slot| slot.troubles.kept(work) > PATIENCE) {
        kept_for_long(work, failure);
    }
}

/// The same, where the caller knows that it has been in the way for a while.
pub fn kept_for_long(work: Work, failure: &Failure) {
    if is_kept_from(work, failure) {
        pgrx::log!("asn_inventory: a lock keeps the worker from {}: {}", WORKS[work as usize].2, failure.message);
    }
}

/// The same for a part of a work: that it goes well says nothing of the whole.
pub fn part<T>(work: Work, f: impl FnOnce() -> T) -> Result<T, Failure> {
    let result = tx::run(f);
    if let Err(failure) = &result {
        failed(work, failure);
    }
    result
}

/// The same for what reads and writes no table: see [`tx::run_without_snapshot`].
pub fn part_without_snapshot<T>(work: Work, f: impl FnOnce() -> T) -> Result<T, Failure> {
    let result = tx::run_without_snapshot(f);
    if let Err(failure) = &result {
        failed(work, failure);
    }
    result
}

/// The work succeeded, or is no longer needed.
pub fn succeeded(work: Work) {
    if let Some(slot) = slot() {
        slot.troubles.of(work).succeeded();
    }
    SAID.with_borrow_mut(|said| said[work as usize] = None);
}

/// A part of the work went well that a lock may have kept from it: the lock is over, and the next one is another. That a lock
/// was in the way is no failure any more; what else failed is.
pub fn unlocked(work: Work) {
    if let Some(slot) = slot() {
        slot.troubles.of(work).lock_is_over();
    }
}

/// It failed; or was [`kept`] by a lock.
pub fn failed(work: Work, failure: &Failure) {
    if failure.is_lock() {
        kept(work, failure);
    } else if let Some(slot) = slot() {
        slot.troubles.of(work).not_kept();
        slot.troubles.of(work).failed(failure.code as isize as i32, &failure.message);
    }
}

/// What others keep it from doing again and again is a failure, though each time was only a lock, and one, however often it
/// was tried. True: it is news.
pub fn is_kept_from(work: Work, failure: &Failure) -> bool {
    if let Some(slot) = slot() {
        slot.troubles.of(work).locked(failure.code as isize as i32, &failure.message);
    }
    is_new(work, &failure.message)
}

/// Whether to log it: locks are not logged, and repeated failures only once a minute.
pub fn is_news(work: Work, failure: &Failure) -> bool {
    !failure.is_lock() && is_new(work, &failure.message)
}

/// The same for a failure that is not a lock, in words.
pub fn is_new(work: Work, reason: &str) -> bool {
    SAID.with_borrow_mut(|said| {
        let said = &mut said[work as usize];
        let known = said.as_ref().is_some_and(|(text, at)| text == reason && at.elapsed() < AGAIN);
        if !known {
            *said = Some((reason.to_owned(), Instant::now()));
        }
        !known
    })
}

/// Why a row cannot be written, and the number of further ones: one line reports all of them.
pub fn why(failure: &Failure, more: usize) -> String {
    if more == 0 { failure.message.clone() } else { format!("{}; {more} more cannot be either", failure.message) }
}

fn slot() -> Option<&'static shared::Database> {
    shared::here()
}
