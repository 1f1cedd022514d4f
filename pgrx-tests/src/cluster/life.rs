//! Starting, stopping, killing: a cluster's life.

use super::Cluster;
use super::process::{Server, kill, limit_file_size};
use crate::wait::{PATIENCE, wait_until, wait_within};
use std::fs;
use std::process::Command;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

impl Cluster {
    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the stopped server and waits until it takes connections (on a standby: read-only ones).
    ///
    /// # Panics
    /// With the end of the server's log, when it does not come up.
    pub fn start(&self) {
        let options = &self.options;
        let detached = options.kept_in.is_some();
        let started = Server::start(&self.data_dir(), &self.log_path(), &options.env, detached, options.stack);
        *self.server() = Some(started);
        self.wait_ready();
    }

    /// Waits until the server takes connections again, as after a crash of one of its processes.
    ///
    /// # Panics
    /// With the end of the server's log, when it does not, or ended.
    pub fn wait_ready(&self) {
        let up = wait_within(
            PATIENCE,
            || {
                let ended = self.server().as_mut().is_none_or(|s| s.ended().is_some());
                (ended, !ended && self.try_connect("postgres").is_ok())
            },
            |(ended, ready)| *ended || *ready,
        );
        if !matches!(up, Ok((false, true))) {
            let left: String = self.children().into_iter().map(where_it_is).collect();
            panic!("the server is not up; its log ends\n{}\nits processes are\n{left}", self.log_tail());
        }
    }

    /// The postmaster's process id.
    ///
    /// # Panics
    /// When the server is stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let server = self.server();
        server.as_ref().expect("the server is stopped").pid()
    }

    /// A fast shutdown (SIGINT): sessions are cut, everything is checkpointed.
    pub fn stop_fast(&self) {
        self.stop(libc::SIGINT);
    }

    /// An immediate shutdown (SIGQUIT): as a crash, with recovery at the next start.
    pub fn stop_immediate(&self) {
        self.stop(libc::SIGQUIT);
    }

    fn stop(&self, signal: i32) {
        if let Some(mut server) = self.server().take()
            && !server.end(signal, PATIENCE)
        {
            let left: String = children_of(server.pid()).into_iter().map(where_it_is).collect();
            server.end(libc::SIGKILL, PATIENCE);
            panic!("the server did not stop; its log ends\n{}\nits processes are\n{left}", self.log_tail());
        }
    }

    /// A fast shutdown and a start.
    pub fn restart(&self) {
        self.stop_fast();
        self.start();
    }

    /// Has the settings read again and waits until new sessions have them.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn reload(&self) {
        let loaded = "SELECT pg_catalog.pg_conf_load_time()";
        let before = self.value("postgres", loaded);
        kill(self.pid(), libc::SIGHUP);
        wait_until("a reload of the settings", || self.value("postgres", loaded) != before);
    }

    /// Sets `name` in the cluster's configuration file and reloads.
    pub fn set(&self, name: &str, value: &str) {
        self.append_setting(name, value);
        self.reload();
    }

    /// SIGKILL to one of this cluster's processes. The postmaster then restarts all of them; see
    /// [`Self::wait_ready`].
    ///
    /// # Panics
    /// When `pid` is not a process of this cluster.
    pub fn kill9(&self, pid: u32) {
        assert_eq!(parent_of(pid), Some(self.pid()), "process {pid} is none of this cluster's");
        kill(pid, libc::SIGKILL);
    }

    /// Whether the postmaster lives, also while it has no other process, as between a crash and the recovery.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.server().as_mut().is_some_and(|server| server.ended().is_none())
    }

    /// The processes of this server besides the postmaster; none while it is stopped.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        let pid = self.server().as_ref().map(|server| server.pid());
        pid.map(children_of).unwrap_or_default()
    }

    /// A signal to one of this cluster's processes; false: it has ended.
    pub fn signal(&self, pid: u32, signal: i32) -> bool {
        let is_ours = self.children().contains(&pid);
        if is_ours {
            kill(pid, signal);
        }
        is_ours
    }

    /// How large the files may be that one of this cluster's processes writes from now on; `None`: as large as they
    /// like. PostgreSQL ignores the signal that comes with it, so writes fail as on a disk that is full.
    ///
    /// # Panics
    /// When `pid` is not a process of this cluster.
    pub fn limit_file_size(&self, pid: u32, bytes: Option<u64>) {
        // One that has ended meanwhile needs no limit.
        let Some(parent) = parent_of(pid) else { return };
        assert_eq!(parent, self.pid(), "process {pid} is none of this cluster's");
        limit_file_size(pid, bytes);
    }

    /// SIGKILL to the postmaster, as when the memory runs out; returns when all that it started has ended, too. To be
    /// followed by [`Self::start`].
    ///
    /// # Panics
    /// When the server is stopped, or its processes stay.
    pub fn kill9_postmaster(&self) {
        let children = children_of(self.pid());
        self.end_killed(&children);
    }

    /// SIGKILL to the postmaster and all that it started, as when the machine stops: no process finishes its work. To
    /// be followed by [`Self::start`].
    ///
    /// # Panics
    /// When the server is stopped, or its processes stay.
    pub fn kill9_all(&self) {
        // Standing still, it starts nothing new, and nothing that it started gets another parent and number.
        kill(self.pid(), libc::SIGSTOP);
        let children = children_of(self.pid());
        children.iter().for_each(|pid| kill(*pid, libc::SIGKILL));
        self.end_killed(&children);
    }

    fn end_killed(&self, children: &[u32]) {
        if let Some(mut server) = self.server().take() {
            server.end(libc::SIGKILL, PATIENCE);
        }
        let alive = |pid: &u32| fs::exists(format!("/proc/{pid}")).unwrap_or(false);
        wait_until("the end of a killed server's processes", || !children.iter().any(alive));
    }

    /// The process that shows as `backend_type` in `pg_stat_activity`, of any database.
    #[must_use]
    pub fn pid_of(&self, backend_type: &str) -> Option<u32> {
        self.pids_of(backend_type).first().copied()
    }

    /// All processes that show as `backend_type`; none while the server does not answer, as after a crash.
    #[must_use]
    pub fn pids_of(&self, backend_type: &str) -> Vec<u32> {
        let sql =
            format!("SELECT pid FROM pg_stat_activity WHERE backend_type = '{backend_type}' ORDER BY backend_start");
        let rows = self.try_sql("postgres", &sql).unwrap_or_default();
        rows.into_iter().flatten().filter_map(|pid| pid?.parse().ok()).collect()
    }

    /// Waits until the log has `text`.
    ///
    /// # Panics
    /// When it never does.
    pub fn wait_log(&self, text: &str) {
        wait_until(&format!("{text:?} in the server's log"), || self.log().contains(text));
    }

    /// The last lines of the server's log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.options.kept_in.is_some() && !std::thread::panicking() {
            return;
        }
        if std::thread::panicking() {
            eprintln!("--- the server's log ends\n{}\n---", self.log_tail());
        }
        if let Some(mut server) = self.server().take()
            && !server.end(libc::SIGQUIT, Duration::from_secs(10))
        {
            server.end(libc::SIGKILL, Duration::from_secs(10));
        }
        let _ = fs::remove_dir_all(&self.dir);
        if self.socket_dir != self.dir {
            let _ = fs::remove_dir_all(&self.socket_dir);
        }
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    processes().filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// What a process is and does, for people: with its stack, where there is a debugger.
fn where_it_is(pid: u32) -> String {
    let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default().replace('\0', " ");
    let state = of("status").lines().find(|line| line.starts_with("State:")).unwrap_or_default().to_owned();
    let stack =
        Command::new("gdb").args(["-batch", "-nx", "-ex", "thread apply all bt", "-p"]).arg(pid.to_string()).output();
    let stack = stack.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    format!("{pid} {}, {state}, {}\n{stack}\n", of("cmdline").trim_end(), of("wchan"))
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; state and parent follow it.
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(1)?.parse().ok()
}
