//! Shared memory: the counter that says "reopen the files", one slot a served database, one slot a running job.
//!
//! Only there with `shared_preload_libraries`; every accessor is an `Option` and everything works without. Plain
//! atomics: nothing here is held across a call into PostgreSQL, so an error can leave nothing locked. Slots are
//! claimed by compare-and-swap and change owner only by the rules written at each field.

pub mod checks;
pub mod latency;
pub mod question;
pub mod restorers;
pub mod source;
pub mod trouble;
pub mod watched;
pub mod words;

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

/// Databases that can be served at a time.
pub const DATABASES: usize = 64;
/// Jobs that can run at a time, all databases together.
pub const JOBS: usize = 16;

/// How many of `all` slots that all databases share one of them may hold: three quarters, so that nobody who may do much
/// in one database keeps the others from working.
pub const fn share(all: usize) -> usize {
    all / 4 * 3
}

/// Helpers of one job.
pub const HELPERS: usize = 64;

/// How long a worker may take to start.
const STARTING: std::time::Duration = std::time::Duration::from_secs(3);

/// Everything in shared memory. All-zero is a valid, empty state.
#[repr(C)]
pub struct Shared {
    generation: AtomicU64,
    launcher: AtomicI32,
    /// One a database, see [`Database`].
    pub databases: [Database; DATABASES],
    /// One a running job, see [`Job`].
    pub jobs: [Job; JOBS],
    /// One a session that waits for an address.
    pub questions: [question::Question; question::QUESTIONS],
}

/// What the launcher and the backends know of one database. A slot is taken by setting `oid` from 0, and given back
/// by the launcher alone.
#[repr(C)]
pub struct Database {
    /// 0: free.
    pub oid: AtomicU32,
    /// Process id of its worker; 0: none runs. Set by the worker itself, cleared by the launcher.
    pub worker: AtomicI32,
    /// Process id of the one that counts a large inventory; 0: none does. Set and cleared by that process.
    pub counter: AtomicI32,
    /// The last process that counted came to its end.
    pub counted: AtomicBool,
    /// Somebody believes that the extension is there: a worker should go and look.
    pub wanted: AtomicBool,
    /// The database is about to be dropped or renamed: no worker until this time (timestamptz).
    pub banned_until: AtomicI64,
    /// Observations were committed since the worker last began to absorb.
    pub pending: AtomicBool,
    /// Since when observations wait that the worker has not begun to absorb (timestamptz); 0: none do.
    pub waiting_since: AtomicI64,
    /// When the worker last finished absorbing (timestamptz); 0: never.
    pub absorbed_at: AtomicI64,
    /// Since when somebody has held what absorbing needs (timestamptz); 0: nobody does. Written by the worker.
    pub held_since: AtomicI64,
    /// Who restores a dump of the extension's tables: the worker waits for them.
    pub restorers: restorers::Restorers,
    /// Which files the worker answers from: [`enrich::maxmind::Databases::answering`]. Written by the worker.
    pub answering: words::Words,
    /// Queued addresses absorbed since the server started.
    pub absorbed: AtomicU64,
    /// The inventory says what the files say that were installed until then (timestamptz), whatever the times of its
    /// rows: it was walked. Written by the worker.
    pub walked: AtomicI64,
    /// Statements whose rows were not observed since the server started, because the queue could not be had in time.
    pub unobserved: AtomicU64,
    /// The table of the last one.
    pub unobserved_table: AtomicU32,
    /// When that was (timestamptz).
    pub unobserved_at: AtomicI64,
    /// How Team Cymru and GreyNoise stand.
    pub sources: [source::Shown; 2],
    /// How the ways to Team Cymru stand, by their numbers.
    pub ways: [source::Way; 2],
    /// Whether the references of keys resolve.
    pub checks: checks::Checks,
    /// What its processes cannot do.
    pub troubles: trouble::Troubles,
    /// Addresses looked up in MaxMind's files since the server started.
    pub lookups: AtomicU64,
    /// Calls of `enrich_ip` that were answered from the inventory, and those that were not.
    pub cache_hits: AtomicU64,
    /// See above.
    pub cache_misses: AtomicU64,
    /// How long the sources take.
    pub latency: [latency::Latency; latency::SOURCES.len()],
}

/// States of a job's slot.
pub mod state {
    /// Nobody's.
    pub const FREE: u32 = 0;
    /// A caller is filling it in.
    pub const FILLING: u32 = 1;
    /// Waits for the worker of its database.
    pub const SUBMITTED: u32 = 2;
    /// The worker has it.
    pub const RUNNING: u32 = 3;
    /// Over, with a summary; the caller who waits frees it, else the worker.
    pub const ENDED: u32 = 4;
}

/// What a job is for.
pub mod kind {
    /// Rows that were never answered.
    pub const BACKFILL: u32 = 0;
    /// Rows whose answer is out of date, or is wanted anew.
    pub const REFRESH: u32 = 1;

    /// Newer MaxMind files.
    pub const UPDATE: u32 = 2;

    /// The walk through the inventory after a newer build; the worker's own, nobody asks for it.
    pub const WALK: u32 = 3;

    /// The word for people.
    pub fn name(kind: u32) -> &'static str {
        match kind {
            REFRESH => "refresh",
            UPDATE => "update",
            WALK => "walk",
            _ => "backfill",
        }
    }
}

/// The sources of a job, as bits.
pub mod sources {
    use enrich::source::Source;

    /// MaxMind's files.
    pub const MAXMIND: u32 = Source::MaxMind.bit();
    /// Team Cymru.
    pub const CYMRU: u32 = Source::Cymru.bit();
    /// GreyNoise.
    pub const GREYNOISE: u32 = Source::GreyNoise.bit();
    /// Fresh answers are asked for anew as well.
    pub const ANEW: u32 = 1 << Source::ALL.len();
}

/// How a job ended.
pub mod outcome {
    /// All of it was looked at.
    pub const DONE: u32 = 0;
    /// Somebody cancelled it.
    pub const CANCELLED: u32 = 1;
    /// It could not go on; the log says why.
    pub const FAILED: u32 = 2;
}

/// One job. Filled by the caller in state `FILLING`, then owned by the worker until `ENDED`.
#[repr(C)]
pub struct Job {
    /// See [`state`].
    pub state: AtomicU32,
    /// Number in `enrichment_run`.
    pub id: AtomicI64,
    /// See [`kind`].
    pub kind: AtomicU32,
    /// Database it works in.
    pub database: AtomicU32,
    /// Role that asked.
    pub role: AtomicU32,
    /// Rows of one write.
    pub batch_size: AtomicU32,
    /// Rows of one transaction.
    pub commit_interval: AtomicU32,
    /// Most addresses; 0: no limit.
    pub max_ips: AtomicU64,
    /// Dynamic workers wanted.
    pub workers: AtomicU32,
    /// The addresses stand in a file named after the job.
    pub listed: AtomicBool,
    /// Which sources are asked: see [`sources`].
    pub sources: AtomicU32,
    /// Answers from before this (timestamptz) are due again; `i64::MIN`: only rows never answered.
    pub stale_before: AtomicI64,
    /// Process that waits for the end; 0: nobody.
    pub waiter: AtomicI32,
    /// Somebody wants it to end.
    pub cancel: AtomicBool,
    /// When it was submitted (timestamptz).
    pub started_at: AtomicI64,
    /// When it ended (timestamptz).
    pub ended_at: AtomicI64,
    /// See [`outcome`].
    pub outcome: AtomicU32,
    /// Addresses to look at; 0 until known.
    pub total: AtomicU64,
    /// Where the next helper goes on: a block, or an index of the list.
    pub cursor: AtomicU64,
    /// Where helpers stop.
    pub end: AtomicU64,
    /// Process ids of the helpers that are at work; 0: free.
    pub helpers: [AtomicI32; HELPERS],
    /// Listed addresses that the inventory does not know are added to it.
    pub adds: AtomicBool,
    /// Rows that this pass could not write because somebody held or moved them.
    pub locked: AtomicU64,
    /// Pieces of this pass that were taken and not done: a helper that was ended leaves its own behind.
    pub open: AtomicU64,
    /// Passes begun.
    pub passes: AtomicU32,
    /// What was done so far.
    pub counts: Counts,
}

impl Job {
    /// Whether network sources are asked, too. Then an address counts once all its sources are through.
    pub fn asks_the_network(&self) -> bool {
        self.sources.load(Ordering::Relaxed) & (sources::CYMRU | sources::GREYNOISE) != 0
    }
}

/// Counters of a job, in the order of `enrichment_summary`.
#[repr(C)]
#[derive(Default)]
pub struct Counts {
    /// Looked at.
    pub processed: AtomicU64,
    /// Written with an answer.
    pub enriched: AtomicU64,
    /// Already fresh.
    pub cache_hits: AtomicU64,
    /// Of the enriched, with an ASN from MaxMind.
    pub maxmind_asn: AtomicU64,
    /// With an ASN from Team Cymru.
    pub cymru_asn: AtomicU64,
    /// Scanners, says GreyNoise.
    pub greynoise_scanners: AtomicU64,
    /// No source knew it.
    pub not_found: AtomicU64,
    /// Special-purpose.
    pub skipped: AtomicU64,
    /// Could not be written.
    pub errors: AtomicU64,
}

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());
static mut NEXT_STARTUP: pg_sys::shmem_startup_hook_type = None;
#[cfg(not(feature = "pg14"))]
static mut NEXT_REQUEST: pg_sys::shmem_request_hook_type = None;

/// Shared memory, with `shared_preload_libraries`.
#[inline]
pub fn shared() -> Option<&'static Shared> {
    // SAFETY: set once at server start to a zeroed block of this size that lives as long as the server.
    unsafe { SHARED.load(Ordering::Relaxed).as_ref() }
}

/// Asks for the memory. Only while `shared_preload_libraries` is being processed.
pub fn request() {
    // SAFETY: hooks are chained as every extension does, before the server takes connections.
    unsafe {
        #[cfg(feature = "pg14")]
        pg_sys::RequestAddinShmemSpace(size_of::<Shared>());
        #[cfg(not(feature = "pg14"))]
        {
            NEXT_REQUEST = pg_sys::shmem_request_hook;
            pg_sys::shmem_request_hook = Some(on_request);
        }
        NEXT_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(on_startup);
    }
}

#[cfg(not(feature = "pg14"))]
#[pg_guard]
unsafe extern "C-unwind" fn on_request() {
    // SAFETY: the hook before ours, and the one call this hook is for.
    unsafe {
        if let Some(next) = NEXT_REQUEST {
            next();
        }
        pg_sys::RequestAddinShmemSpace(size_of::<Shared>());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_startup() {
    // SAFETY: the block is requested above; after a crash the postmaster makes it anew, and it is zeroed again.
    unsafe {
        if let Some(next) = NEXT_STARTUP {
            next();
        }
        let mut found = false;
        let block =
            pg_sys::ShmemInitStruct(c"asn_inventory".as_ptr(), size_of::<Shared>(), &mut found).cast::<Shared>();
        if !found {
            block.write_bytes(0, 1);
        }
        SHARED.store(block, Ordering::Relaxed);
    }
}

/// The counter of generations; `None` without preload.
pub fn generation() -> Option<u64> {
    shared().map(|shared| shared.generation.load(Ordering::Acquire))
}

/// Tells every backend that the manifest changed.
pub fn bump_generation() {
    if let Some(shared) = shared() {
        shared.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// Whether a launcher is there to import files.
pub fn launcher_runs() -> bool {
    shared().is_some_and(|shared| shared.launcher.load(Ordering::Relaxed) != 0)
}

/// The launcher says who it is; 0 when it goes.
pub fn set_launcher(pid: c_int) {
    if let Some(shared) = shared() {
        shared.launcher.store(pid, Ordering::Relaxed);
    }
}

/// Wakes the launcher.
pub fn wake_launcher() {
    if let Some(shared) = shared() {
        wake(shared.launcher.load(Ordering::Relaxed));
    }
}

/// The process id that stands in a place of shared memory, if that process runs.
fn living(place: &AtomicI32) -> Option<c_int> {
    let pid = place.load(Ordering::Acquire);
    // SAFETY: only asks the process array whether the process is still there.
    (pid != 0 && unsafe { !pg_sys::BackendPidGetProc(pid).is_null() }).then_some(pid)
}

/// Sets the latch of a server process. A process id that is no longer one of ours is ignored.
pub fn wake(pid: c_int) {
    if pid == 0 {
        return;
    }
    // SAFETY: looks the process up in the process array; its latch lives in shared memory.
    unsafe {
        let process = pg_sys::BackendPidGetProc(pid);
        if !process.is_null() {
            pg_sys::SetLatch(&raw mut (*process).procLatch);
        }
    }
}

/// The OID of this session's database.
pub fn my_database() -> pg_sys::Oid {
    // SAFETY: set once when the session starts.
    unsafe { pg_sys::MyDatabaseId }
}

impl Shared {
    /// The slot of a database, if it has one.
    #[inline]
    pub fn database(&self, oid: pg_sys::Oid) -> Option<&Database> {
        self.databases.iter().find(|slot| slot.oid.load(Ordering::Acquire) == oid.to_u32())
    }

    /// The slot of a database; takes a free one if it has none. `None` when all are taken.
    pub fn database_or_new(&self, oid: pg_sys::Oid) -> Option<&Database> {
        self.database(oid).or_else(|| {
            self.databases
                .iter()
                .find(|slot| slot.oid.compare_exchange(0, oid.to_u32(), Ordering::AcqRel, Ordering::Relaxed).is_ok())
        })
    }
}

/// The process id of this database's worker; `None` when there is none.
pub fn my_worker() -> Option<c_int> {
    shared()?.database(my_database())?.living_worker()
}

/// The worker, for a function that can do nothing without it; raises the error that says so. One that is just being
/// started, after `CREATE EXTENSION` or a start of the server, is waited for a moment.
pub fn require_worker() -> c_int {
    let started = std::time::Instant::now();
    while launcher_runs() && my_worker().is_none() && started.elapsed() < STARTING {
        pgrx::check_for_interrupts!();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    my_worker().unwrap_or_else(|| {
        if shared().is_none() {
            crate::pg::errors::not_ready(
                "the asn_inventory worker is not running",
                "asn_inventory is not in shared_preload_libraries.",
                "Set shared_preload_libraries = 'asn_inventory' in postgresql.conf, beside what is there already, and restart the server.",
            );
        }
        // SAFETY: reads a variable of the server.
        if unsafe { pg_sys::RecoveryInProgress() } {
            crate::pg::errors::raise(
                PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
                "the asn_inventory worker does not run during recovery",
                "This server is a standby.",
                "Run this on the primary.",
            );
        }
        crate::pg::errors::not_ready(
            "the asn_inventory worker is not running",
            "No worker serves this database.",
            "Look at asn_inventory.databases, at max_worker_processes (one for the launcher, one a database, and asn_inventory.workers), and at the server's log.",
        )
    })
}

/// Two slots of one database cannot be: see [`Shared::database_or_new`]. If two processes race for the first slot of
/// one database, the later one is given back here.
pub fn drop_duplicate_databases() {
    let Some(shared) = shared() else { return };
    for (i, slot) in shared.databases.iter().enumerate() {
        let oid = slot.oid.load(Ordering::Acquire);
        if oid != 0 && shared.databases[..i].iter().any(|before| before.oid.load(Ordering::Acquire) == oid) {
            slot.release();
        }
    }
}

impl Database {
    /// The process id of its worker, if that runs.
    pub fn living_worker(&self) -> Option<c_int> {
        living(&self.worker)
    }

    /// The process id of its counter, if that runs.
    pub fn living_counter(&self) -> Option<c_int> {
        living(&self.counter)
    }

    /// Whether a worker must keep out of it now.
    pub fn is_banned(&self) -> bool {
        self.banned_until.load(Ordering::Acquire) > crate::pg::time::now()
    }

    /// Observations wait from now on, unless some do already.
    pub fn note_waiting(&self) {
        if self.waiting_since.load(Ordering::Relaxed) == 0 {
            let now = crate::pg::time::now();
            let _ = self.waiting_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// What waited since then waits on.
    pub fn still_waiting(&self, since: i64) {
        if since != 0 {
            let earlier = |at: i64| (at == 0 || at > since).then_some(since);
            let _ = self.waiting_since.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
        }
    }

    /// Gives the slot back. Only the launcher does.
    pub fn release(&self) {
        self.worker.store(0, Ordering::Relaxed);
        self.counter.store(0, Ordering::Relaxed);
        self.wanted.store(false, Ordering::Relaxed);
        self.pending.store(false, Ordering::Relaxed);
        self.banned_until.store(0, Ordering::Relaxed);
        self.absorbed_at.store(0, Ordering::Relaxed);
        self.walked.store(0, Ordering::Relaxed);
        self.held_since.store(0, Ordering::Relaxed);
        self.restorers.clear();
        self.answering.write("");
        self.absorbed.store(0, Ordering::Relaxed);
        self.unobserved.store(0, Ordering::Relaxed);
        self.unobserved_table.store(0, Ordering::Relaxed);
        self.unobserved_at.store(0, Ordering::Relaxed);
        self.sources.iter().for_each(|shown| shown.clear());
        self.ways.iter().for_each(|way| way.clear());
        self.checks.clear();
        self.troubles.clear();
        self.waiting_since.store(0, Ordering::Relaxed);
        for counter in [&self.lookups, &self.cache_hits, &self.cache_misses] {
            counter.store(0, Ordering::Relaxed);
        }
        self.latency.iter().for_each(|latency| latency.clear());
        self.oid.store(0, Ordering::Release);
    }
}
