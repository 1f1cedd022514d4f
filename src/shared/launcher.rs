//! The launcher in shared memory: its process, its last turn, and the failures of the last imports of mmdb files and of
//! lists. One for the server.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

use enrich::heartbeat::{Heartbeat, Standing};

use super::trouble::Trouble;
use crate::pg::{process, time};

/// All-zero: it never ran.
#[repr(C)]
pub struct Launcher {
    /// Its process id; 0: it never ran.
    pub(super) pid: AtomicI32,
    /// It imports files: a turn may take long.
    pub importing: AtomicBool,
    /// When it last showed that it works (timestamptz): in each turn, and between pieces of an import; 0: never.
    pub beat_at: AtomicI64,
    /// The import of mmdb files, whichever process does it.
    pub import: Trouble,
    /// The import of lists of networks; the same.
    pub lists: Trouble,
}

impl Launcher {
    /// Another launcher begins.
    pub(super) fn begin(&self, pid: i32) {
        self.importing.store(false, Ordering::Relaxed);
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Its process id, if that process runs.
    pub fn running(&self) -> Option<i32> {
        process::running(&self.pid)
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let shown = self.beat_at.load(Ordering::Relaxed).max(process::server_started_at());
        let silent = Duration::from_micros(u64::try_from(time::now() - shown).unwrap_or(0));
        let imports = self.importing.load(Ordering::Relaxed);
        Heartbeat { runs: self.running().is_some(), imports, silent }.standing()
    }

    /// Notes that it works, if this process is the launcher.
    pub fn beat(&self) {
        if self.pid.load(Ordering::Relaxed) == process::my_pid() {
            self.beat_at.store(time::now(), Ordering::Relaxed);
        }
    }
}
