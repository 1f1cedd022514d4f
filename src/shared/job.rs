//! One running job in shared memory: its request, its processes, its counts.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};

/// Jobs that can run at a time, all databases together.
pub const JOBS: usize = 16;

/// Helpers of one job.
pub const HELPERS: usize = 64;

/// States of a job's slot.
pub mod state {
    /// Free.
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

/// The kind of a job.
pub mod kind {
    /// Rows that were never answered.
    pub const BACKFILL: u32 = 0;
    /// Rows whose answer is out of date, or is requested again.
    pub const REFRESH: u32 = 1;

    /// Newer MaxMind files.
    pub const UPDATE: u32 = 2;

    /// The walk through the inventory after a newer build; the worker's own, without a request.
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
    /// Fresh answers are requested again as well.
    pub const ANEW: u32 = 1 << Source::ALL.len();
    /// Of an update: only sources with schedules of their own are asked.
    pub const OWN: u32 = ANEW << 1;
}

/// How a job ended.
pub mod outcome {
    /// All of it was looked at.
    pub const DONE: u32 = 0;
    /// It was cancelled.
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
    /// Process that waits for the end; 0: none.
    pub waiter: AtomicI32,
    /// It should end.
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
    /// Rows that this pass could not write because another session held or moved them.
    pub locked: AtomicU64,
    /// Pieces of this pass that were taken and not done: a helper that was ended leaves its own behind.
    pub open: AtomicU64,
    /// Passes begun.
    pub passes: AtomicU32,
    /// The counts so far.
    pub counts: Counts,
}

impl Job {
    /// Whether network sources are asked, too. Then an address counts once all its sources are through.
    pub fn asks_the_network(&self) -> bool {
        self.sources.load(Ordering::Relaxed) & (sources::CYMRU | sources::GREYNOISE) != 0
    }
}

/// The result of a job: plain numbers, in the order of `enrichment_summary`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Looked at.
    pub processed: u64,
    /// Written with an answer.
    pub enriched: u64,
    /// Already fresh.
    pub cache_hits: u64,
    /// Of the enriched, with an ASN from MaxMind.
    pub maxmind_asn: u64,
    /// With an ASN from Team Cymru.
    pub cymru_asn: u64,
    /// Scanners, says GreyNoise.
    pub greynoise_scanners: u64,
    /// No source knew it.
    pub not_found: u64,
    /// Special-purpose.
    pub skipped: u64,
    /// Could not be written.
    pub errors: u64,
}

impl Done {
    /// The numbers in their order.
    pub fn in_order(&self) -> [u64; 9] {
        let Done { processed, enriched, cache_hits, maxmind_asn, cymru_asn, greynoise_scanners, .. } = *self;
        let Done { not_found, skipped, errors, .. } = *self;
        [processed, enriched, cache_hits, maxmind_asn, cymru_asn, greynoise_scanners, not_found, skipped, errors]
    }
}

/// The counts of a job so far. Several processes count at a time, each number independently.
#[repr(C)]
#[derive(Default)]
pub struct Counts([AtomicU64; 9]);

impl Counts {
    const PROCESSED: usize = 0;
    const MAXMIND_ASN: usize = 3;
    const ERRORS: usize = 8;

    /// All of it is 0.
    pub fn reset(&self) {
        self.0.iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
    }

    /// The same, without MaxMind's results: a job that is taken over asks MaxMind only about the remaining rows.
    pub fn reset_but_maxmind(&self) {
        let others = self.0.iter().enumerate().filter(|(at, _)| *at != Counts::MAXMIND_ASN);
        others.for_each(|(_, counter)| counter.store(0, Ordering::Relaxed));
    }

    /// Counts more.
    pub fn add(&self, done: &Done) {
        for (counter, more) in self.0.iter().zip(done.in_order()) {
            if more > 0 {
                counter.fetch_add(more, Ordering::Relaxed);
            }
        }
    }

    /// Rows that could not be written are tried again: they are not counted until then.
    pub fn forget_errors(&self) {
        let errors = self.0[Counts::ERRORS].swap(0, Ordering::Relaxed);
        self.0[Counts::PROCESSED].fetch_sub(errors, Ordering::Relaxed);
    }

    /// How they stand.
    pub fn read(&self) -> Done {
        let [processed, enriched, cache_hits, maxmind_asn, cymru_asn, greynoise_scanners, not_found, skipped, errors] =
            std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed));
        Done { processed, enriched, cache_hits, maxmind_asn, cymru_asn, greynoise_scanners, not_found, skipped, errors }
    }
}
