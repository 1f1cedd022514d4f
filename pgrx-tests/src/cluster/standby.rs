//! Hot standbys: a copy of a running cluster that follows it, and may be promoted.

use super::process::run;
use super::{Cluster, SETTINGS};
use crate::wait::wait_until;
use std::fs;

impl Cluster {
    /// A streaming hot standby of this cluster: a cluster of its own, with the same options.
    ///
    /// # Panics
    /// When the copy cannot be made, or does not start.
    #[must_use]
    pub fn standby(&self) -> Cluster {
        let standby = Cluster::make_dirs(self.options.clone());
        run(self
            .tool("pg_basebackup")
            .args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-D"])
            .arg(standby.data_dir()));
        // The settings name directories of the primary; later settings of the primary stay.
        let copied = standby.data_dir().join(SETTINGS);
        let ours = self.dir.to_string_lossy();
        let text = fs::read_to_string(&copied).unwrap_or_else(|e| panic!("{}: {e}", copied.display()));
        standby.write_settings();
        let mine = fs::read_to_string(&copied).unwrap_or_else(|e| panic!("{}: {e}", copied.display()));
        let later: String = text
            .lines()
            .skip(mine.lines().count())
            .map(|line| line.replace(&*ours, &standby.dir.to_string_lossy()) + "\n")
            .collect();
        super::write_file(&copied, &(mine + &later));
        standby.install_mmdb(&self.maxmind_dir());
        standby.start();
        standby
    }

    /// Waits until this standby has replayed all that `primary` has written so far.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_replay(&self, primary: &Cluster) {
        let written = primary.value("postgres", "SELECT pg_current_wal_lsn()");
        let reached = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        wait_until("the standby to replay what the primary wrote", || self.value("postgres", &reached) == "t");
    }

    /// Makes this standby a primary, and waits until it takes writes.
    ///
    /// # Panics
    /// When it does not.
    pub fn promote(&self) {
        assert_eq!(self.value("postgres", "SELECT pg_promote(true, 60)"), "t", "the standby was not promoted");
        wait_until("the promoted standby to take writes", || {
            self.value("postgres", "SELECT pg_is_in_recovery()") == "f"
        });
    }
}
