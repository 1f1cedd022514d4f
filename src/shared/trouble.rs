//! The failures of a database's processes, in shared memory: kept until the same work succeeds, even if other work
//! succeeds. Changed only by outcomes.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::words::Words;
use crate::pg::time;

/// The kinds of work, each with its own failures: success of one does not clear another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Work {
    /// A round of the queue.
    Absorb,
    /// Single addresses of it that cannot be written, and wait.
    Rows,
    /// The addresses that a session waits for.
    Question,
    /// A backfill or refresh.
    Job,
    /// The row of an ended job.
    Record,
    /// The counts of the inventory.
    Count,
    /// The counts of days and hours.
    Activity,
    /// The walk after a newer build.
    Walk,
    /// The rows due at Team Cymru.
    CymruClaim,
    /// Its answers.
    CymruWrite,
    /// The rows due at GreyNoise.
    GreynoiseClaim,
    /// Its answers.
    GreynoiseWrite,
    /// Its quota.
    Ledger,
    /// Rows that waited for it, once it is opened by hand.
    Reopen,
    /// Rows that a setting kept from being asked about.
    Unskip,
    /// Answers that are in doubt.
    Recheck,
    /// The inventory that a node had for itself.
    Merge,
    /// Merging IPv4-mapped addresses.
    Fold,
    /// Giving mmdb files to other servers.
    Share,
    /// Installing those of another server.
    Receive,
}

/// All of them, in the order of [`Troubles`], with a short name and a description.
pub const WORKS: [(Work, &str, &str); 20] = [
    (Work::Absorb, "absorb", "absorbing observations"),
    (Work::Rows, "rows", "writing single addresses to ip_inventory"),
    (Work::Question, "question", "answering enrich_ip()"),
    (Work::Job, "job", "a backfill or refresh"),
    (Work::Record, "record", "writing down the end of a job"),
    (Work::Count, "count", "counting the inventory"),
    (Work::Activity, "activity", "counting days and hours"),
    (Work::Walk, "walk", "walking the inventory after a newer build"),
    (Work::CymruClaim, "cymru_claim", "reading the addresses due for Team Cymru"),
    (Work::CymruWrite, "cymru_write", "writing answers of Team Cymru"),
    (Work::GreynoiseClaim, "greynoise_claim", "reading the addresses due for GreyNoise"),
    (Work::GreynoiseWrite, "greynoise_write", "writing answers of GreyNoise"),
    (Work::Ledger, "ledger", "keeping the ledger of GreyNoise's quota"),
    (Work::Reopen, "reopen", "making rows due again that waited for GreyNoise's quota"),
    (Work::Unskip, "unskip", "making skipped addresses due again"),
    (Work::Recheck, "recheck", "making answers in doubt due again"),
    (Work::Merge, "merge", "merging this node's own inventory"),
    (Work::Fold, "fold", "merging rows of IPv4-mapped addresses"),
    (Work::Share, "share", "sharing mmdb files with other servers"),
    (Work::Receive, "receive", "installing mmdb files of another server"),
];

/// The failures of one database, by work.
#[repr(C)]
pub struct Troubles([Trouble; WORKS.len()]);

/// How one work fares. All-zero: it never failed.
#[repr(C)]
pub struct Trouble {
    /// A process is writing here. Helpers of a job are several.
    busy: AtomicBool,
    /// SQLSTATE of the last failure, as PostgreSQL packs it.
    code: AtomicI32,
    /// Since when it has failed (timestamptz); 0: it does not.
    since: AtomicI64,
    /// When it last failed.
    at: AtomicI64,
    /// Failures since the server started. A lock that lasts is one, however often it is met.
    failures: AtomicU64,
    /// How many these were when it began to fail by a lock: with another failure since, it is not the lock alone.
    locked_at: AtomicU64,
    /// Since when nothing but locks of others came of it, and when the last one did (timestamptz); 0: something else did.
    kept_since: AtomicI64,
    kept_at: AtomicI64,
    message: Words,
}

/// After so long, another lock has nothing to do with the last one (microseconds).
const FORGOTTEN: i64 = 600_000_000;
/// The same of the counts: those of a large inventory are ten minutes apart, and each may take minutes.
const COUNTS_FORGOTTEN: i64 = 3 * FORGOTTEN;

/// A work that fails.
pub struct Failing {
    /// SQLSTATE, as PostgreSQL packs it.
    pub code: i32,
    /// Since when (timestamptz).
    pub since: i64,
    /// When it last did.
    pub at: i64,
    /// PostgreSQL's message.
    pub message: String,
}

impl Failing {
    /// The five characters of its SQLSTATE.
    pub fn sqlstate(&self) -> String {
        (0..5).map(|at| char::from((self.code >> (6 * at) & 0x3F) as u8 + b'0')).collect()
    }
}

impl Work {
    /// After so long, another lock has nothing to do with the last one (microseconds).
    fn forgotten(self) -> i64 {
        if matches!(self, Work::Count | Work::Activity) { COUNTS_FORGOTTEN } else { FORGOTTEN }
    }
}

impl Troubles {
    /// A lock of another session was in the way of a work. For how long nothing else has come of it.
    pub fn kept(&self, work: Work) -> Duration {
        self.of(work).kept_within(work.forgotten())
    }

    /// Of one work.
    pub fn of(&self, work: Work) -> &Trouble {
        &self.0[work as usize]
    }

    /// Forgets everything; for a slot that is given back.
    pub fn clear(&self) {
        for trouble in &self.0 {
            trouble.succeeded();
            trouble.failures.store(0, Ordering::Relaxed);
        }
    }
}

impl Trouble {
    /// It failed.
    pub fn failed(&self, code: i32, message: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.alone(|| self.show(code, message));
    }

    /// A lock of others has been in the way for so long that it is a failure. Behind another one, it is not all that failed.
    pub fn locked(&self, code: i32, message: &str) {
        self.alone(|| {
            if self.since.load(Ordering::Relaxed) == 0 {
                let before = self.failures.fetch_add(1, Ordering::Relaxed);
                self.locked_at.store(before + 1, Ordering::Relaxed);
            }
            self.show(code, message);
        });
    }

    fn show(&self, code: i32, message: &str) {
        let now = time::now();
        self.code.store(code, Ordering::Relaxed);
        self.message.write(message);
        self.at.store(now, Ordering::Relaxed);
        let _ = self.since.compare_exchange(0, now, Ordering::Release, Ordering::Relaxed);
    }

    /// A lock of another session was in the way. For how long nothing else has come of the work.
    pub fn kept(&self) -> Duration {
        self.kept_within(FORGOTTEN)
    }

    fn kept_within(&self, forgotten: i64) -> Duration {
        let now = time::now();
        let last = self.kept_at.swap(now, Ordering::Relaxed);
        if last == 0 || !(0..forgotten).contains(&(now - last)) {
            self.kept_since.store(now, Ordering::Relaxed);
        }
        Duration::from_micros(u64::try_from(now - self.kept_since.load(Ordering::Relaxed)).unwrap_or(0))
    }

    /// Something else came of it than a lock.
    pub fn not_kept(&self) {
        self.kept_at.store(0, Ordering::Relaxed);
    }

    /// The lock that was in the way is over; any other failure is not.
    pub fn lock_is_over(&self) {
        self.not_kept();
        let is_lock = self.locked_at.load(Ordering::Relaxed) == self.failures.load(Ordering::Relaxed);
        if is_lock && self.since.load(Ordering::Relaxed) != 0 {
            self.alone(|| self.since.store(0, Ordering::Release));
        }
    }

    /// It went well.
    pub fn succeeded(&self) {
        self.not_kept();
        if self.since.load(Ordering::Relaxed) != 0 {
            self.alone(|| self.since.store(0, Ordering::Release));
        }
    }

    /// Failures since the server started.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether it fails.
    pub fn is_failing(&self) -> bool {
        self.since.load(Ordering::Acquire) != 0
    }

    /// Its description, if it fails.
    pub fn failing(&self) -> Option<Failing> {
        let since = self.since.load(Ordering::Acquire);
        (since != 0).then(|| Failing {
            code: self.code.load(Ordering::Relaxed),
            since,
            at: self.at.load(Ordering::Relaxed),
            message: self.message.read().unwrap_or_default(),
        })
    }

    /// Of processes that come at the same moment, one says how it went: they say the same.
    fn alone(&self, f: impl FnOnce()) {
        if self.busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            f();
            self.busy.store(false, Ordering::Release);
        }
    }
}
