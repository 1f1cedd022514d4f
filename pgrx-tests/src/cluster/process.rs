//! Processes of servers: started as the servers' user, ended by their own id only, and bound to this
//! process's life, so that a killed test run leaves nothing behind.

use super::place::place;
pub use super::running::kill;
use super::running::running;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::wait::wait_within;

/// A program of the installation, to be run as the servers' user, free of the caller's `PG…` variables and of the
/// extension's: a developer's keys and flags must not affect a test.
pub fn server_command(program: &str) -> Command {
    let place = place();
    let mut command = Command::new(place.bin.join(program));
    command.current_dir("/").stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("PG")
            || [
                "ENABLE_ASN_INVENTORY",
                "MAXMIND_LICENSE_KEY",
                "GREYNOISE_API_KEY",
                // Servers in the field have none: errors must read the same here.
                "RUST_BACKTRACE",
            ]
            .contains(&text.as_ref())
        {
            command.env_remove(&name);
        }
    }
    // Setting a user as root drops the caller's supplementary groups too.
    if let Some((uid, gid)) = place.user {
        command.uid(uid).gid(gid);
    }
    command
}

/// Runs `command` to its end.
///
/// # Panics
/// When it fails, with its output.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    assert!(
        output.status.success(),
        "{command:?} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A running `postgres`, our direct child.
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts `postgres` on `data`, with its output appended to `log`. It ends with this process, or,
    /// `detached`, outlives it. `stack`: the most bytes of its stack.
    pub fn start(data: &Path, log: &Path, env: &[(String, String)], detached: bool, stack: Option<u64>) -> Server {
        let open =
            || File::options().create(true).append(true).open(log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        let mut command = server_command("postgres");
        command.arg("-D").arg(data).envs(env.iter().map(|(name, value)| (name, value))).stdout(open()).stderr(open());
        if let Some(bytes) = stack {
            // SAFETY: setrlimit is async-signal-safe and reads a struct of the function's own.
            unsafe { command.pre_exec(move || limit_stack(bytes)) };
        }
        let child = if detached {
            // SAFETY: setsid is async-signal-safe and touches no memory of ours.
            unsafe { command.pre_exec(leave_session) };
            command.spawn()
        } else {
            let parent = std::process::id();
            // SAFETY: prctl, getppid and raise are async-signal-safe and touch no memory of ours.
            unsafe { command.pre_exec(move || end_with(parent)) };
            spawn_from_lasting_thread(command)
        }
        .unwrap_or_else(|e| panic!("postgres does not start: {e}"));
        if !detached {
            running().insert(child.id());
        }
        Server { child }
    }

    /// The postmaster's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal to the postmaster.
    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Sends `signal` and waits for the end; `false` when it did not come in time.
    pub fn end(&mut self, signal: i32, patience: Duration) -> bool {
        if self.ended().is_none() {
            self.signal(signal);
        }
        let ended = wait_within(patience, || self.ended(), Option::is_some).is_ok();
        if ended {
            running().remove(&self.pid());
        }
        ended
    }
}

/// Sets the soft limit of another process, or none where that has ended. The kernel wants the caller to be its user, which
/// root is not: so a process of that user does it on its way to a program that does nothing.
pub fn limit_file_size(pid: u32, bytes: Option<u64>) {
    let mut command = server_command("postgres");
    command.arg("--version");
    let set = move || {
        let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a system call that reads and writes a struct of this frame; async-signal-safe.
        if unsafe { libc::prlimit(pid as libc::pid_t, libc::RLIMIT_FSIZE, std::ptr::null(), &mut limits) } != 0 {
            return unless_ended(io::Error::last_os_error());
        }
        limits.rlim_cur = bytes.unwrap_or(limits.rlim_max);
        // SAFETY: as above.
        match unsafe { libc::prlimit(pid as libc::pid_t, libc::RLIMIT_FSIZE, &limits, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => unless_ended(io::Error::last_os_error()),
        }
    };
    // SAFETY: see `set`; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(set) };
    run(&mut command);
}

/// Nothing where there is no such process.
fn unless_ended(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) }
}

fn limit_stack(bytes: u64) -> io::Result<()> {
    let limits = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: a system call that reads a struct of this frame.
    match unsafe { libc::setrlimit(libc::RLIMIT_STACK, &limits) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn leave_session() -> io::Result<()> {
    // SAFETY: no arguments, no memory.
    unsafe { libc::setsid() };
    Ok(())
}

/// An immediate shutdown when the parent dies, even by SIGKILL.
fn end_with(parent: u32) -> io::Result<()> {
    // SAFETY: integers only. Async-signal-safe, as a child between fork and exec needs.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGQUIT);
        if libc::getppid() as u32 != parent {
            libc::raise(libc::SIGKILL);
        }
    }
    Ok(())
}

/// The death signal comes when the *thread* that forked ends, and a test's thread ends with its test. So
/// servers are started by one thread that lasts as long as the process.
fn spawn_from_lasting_thread(mut command: Command) -> io::Result<Child> {
    type Task = Box<dyn FnOnce() + Send>;
    static SPAWNER: OnceLock<Mutex<Sender<Task>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, tasks) = channel::<Task>();
        std::thread::spawn(move || {
            for task in tasks {
                task();
            }
        });
        Mutex::new(sender)
    });
    let (answer, child) = channel();
    let task = Box::new(move || {
        let _ = answer.send(command.spawn());
    });
    spawner
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send(task)
        .map_err(|_| io::Error::other("the spawning thread is gone"))?;
    child.recv().map_err(|_| io::Error::other("the spawning thread is gone"))?
}
