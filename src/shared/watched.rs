//! Transactions of which everybody can see how they fare: `enrichment_status.last_error`, the doctor, the metrics. What
//! fails is shown until the same work is done; a lock that somebody holds is no failure.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::pg::tx;
use crate::pg::tx::Failure;
use crate::shared;
use crate::shared::trouble::{WORKS, Work};

/// How often the log says again what goes on failing.
const AGAIN: Duration = Duration::from_secs(60);

thread_local! {
    /// What the log was told last of each work, and when.
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

/// The same for a part of a work: that it goes well says nothing of the whole.
pub fn part<T>(work: Work, f: impl FnOnce() -> T) -> Result<T, Failure> {
    let result = tx::run(f);
    if let Err(failure) = &result {
        failed(work, failure);
    }
    result
}

/// The work is done, or not to be done any more.
pub fn succeeded(work: Work) {
    if let Some(slot) = slot() {
        slot.troubles.of(work).succeeded();
    }
    SAID.with_borrow_mut(|said| said[work as usize] = None);
}

/// It failed.
pub fn failed(work: Work, failure: &Failure) {
    if let (Some(slot), false) = (slot(), failure.is_lock()) {
        slot.troubles.of(work).failed(failure.code as isize as i32, &failure.message);
    }
}

/// Whether the log has to be told: not of locks, and of what is tried again and again, once a minute.
pub fn is_news(work: Work, failure: &Failure) -> bool {
    !failure.is_lock() && is_new(work, &failure.message)
}

/// The same of a failure that is no lock, in words.
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

/// Why a row cannot be written, and how many more cannot be: a line tells of all of them.
pub fn why(failure: &Failure, more: usize) -> String {
    if more == 0 { failure.message.clone() } else { format!("{}; {more} more cannot be either", failure.message) }
}

fn slot() -> Option<&'static shared::Database> {
    shared::here()
}
