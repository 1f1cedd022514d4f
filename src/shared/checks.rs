//! Whether the references of keys resolve: `enrichment_doctor` asks, the worker looks them up.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use super::words::Words;

/// The result of a reference.
pub mod found {
    /// It was not looked up yet.
    pub const UNKNOWN: u32 = 0;
    /// No reference is set.
    pub const NONE: u32 = 1;
    /// It resolves.
    pub const RESOLVES: u32 = 2;
    /// Its place does not exist, and it is the default: it was not set.
    pub const UNSET: u32 = 3;
    /// It cannot be resolved.
    pub const FAILS: u32 = 4;
    /// Its place does not exist, although it was set.
    pub const MISSING: u32 = 5;
    /// The worker was asked, and owes the answer. Only told, and never stored.
    pub const LATE: u32 = 6;

    /// The word for people.
    pub fn name(found: u32) -> &'static str {
        match found {
            NONE => "none",
            RESOLVES => "resolves",
            UNSET => "unset",
            FAILS => "fails",
            MISSING => "missing",
            LATE => "late",
            _ => "unknown",
        }
    }

    /// The text for roles that may not read the setting.
    pub fn last_time(found: u32) -> &'static str {
        match found {
            NONE | UNSET => "there was no key when it was last looked up",
            MISSING => "named a place where nothing was when it was last looked up",
            RESOLVES => "resolved when it was last looked up",
            FAILS => "did not resolve when it was last looked up; members of pg_read_all_settings are told why",
            _ => "is looked up when a member of pg_read_all_settings asks",
        }
    }
}

/// Settings whose references are looked up, in the order of [`Checks::keys`].
pub const SETTINGS: [&str; 2] = ["maxmind_license_key", "greynoise_api_key"];

/// The references of one database's worker.
#[repr(C)]
pub struct Checks {
    /// Counts who asked.
    pub wanted: AtomicU32,
    /// Since when somebody waits for an answer (timestamptz); says nothing where all have one.
    pub asked_at: AtomicI64,
    /// Up to whom the worker has answered.
    pub done: AtomicU32,
    /// Its result.
    pub keys: [Checked; SETTINGS.len()],
}

/// One reference. Written by the worker alone.
#[repr(C)]
pub struct Checked {
    /// See [`found`].
    pub found: AtomicU32,
    /// The reference, and why it does not resolve. Never the value.
    pub detail: Words,
}

impl Checks {
    /// Forgets everything; for a slot that is given back.
    pub fn clear(&self) {
        self.done.store(self.wanted.load(Ordering::Relaxed), Ordering::Relaxed);
        for key in &self.keys {
            key.found.store(found::UNKNOWN, Ordering::Relaxed);
            key.detail.write("");
        }
    }

    /// Asks the worker; returns the number of the question.
    pub fn ask(&self, now: i64) -> u32 {
        if self.answered(self.wanted.load(Ordering::Acquire)) {
            self.asked_at.store(now, Ordering::Relaxed);
        }
        self.wanted.fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }

    /// The worker answers all up to this question.
    pub fn answer(&self, number: u32, now: i64) {
        // Those who asked meanwhile wait for the next look, which begins now.
        self.asked_at.store(now, Ordering::Relaxed);
        self.done.store(number, Ordering::Release);
    }

    /// Whether the question of this number was answered.
    pub fn answered(&self, number: u32) -> bool {
        self.done.load(Ordering::Acquire).wrapping_sub(number) <= u32::MAX / 2
    }
}
