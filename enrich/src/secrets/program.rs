//! Runs a program that prints a secret: by its path, without a shell, within limits.
//!
//! The child is spawned with an empty signal mask. The thread that resolves secrets has every signal blocked, so
//! that PostgreSQL's handlers run on the main thread only, and the standard library's `Command` passes the mask on
//! (since Rust 1.66 it leaves it alone): a program that waits for a signal of its own would wait forever.
//! `posix_spawn` sets the mask in the child alone.
//!
//! The child leads a process group of its own, which is killed at the end in every case: when the program is done, its
//! remaining children are ended. A process that left the group may continue, but is not waited for. A caller that ends
//! before the program calls [`Running::end`]: no other code knows the group. A killed caller cannot; [`end_orphans`]
//! finds its programs.
//!
//! It inherits input, output and errors, and no other file that is open here: among those are the server's sockets.

use parking_lot::{Mutex, MutexGuard};
use std::ffi::{CString, NulError};
use std::fmt;
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use zeroize::Zeroizing;

use super::{MAX_SECRET, TIME_LIMIT};

/// Numbers above the highest open file that are closed as well: another thread may open one meanwhile, and gets the
/// lowest number that is free.
const MARGIN: i32 = 64;

/// The variable that tells a program, and its children, for which process they run.
const MARK: &str = "ASN_INVENTORY_WORKER";

/// Ends programs that ran for a process which is gone: one that was killed could not end them itself. They are
/// recognized by their own environment, so that a reused process id is not taken for theirs.
pub(super) fn end_orphans() {
    let numbers = |entries: std::fs::ReadDir| {
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).collect::<Vec<_>>()
    };
    for pid in std::fs::read_dir("/proc").map(numbers).unwrap_or_default() {
        // Of others' processes this cannot be read.
        let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
        let worker = environment.split(|byte| *byte == 0).find_map(|variable| {
            std::str::from_utf8(variable).ok()?.strip_prefix(MARK)?.strip_prefix('=')?.parse::<u32>().ok()
        });
        if worker.is_some_and(|worker| !Path::new(&format!("/proc/{worker}")).exists()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// How long the end of this process waits for a program that is just being started.
const PATIENCE: Duration = Duration::from_millis(300);

/// The groups of programs that run.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<Groups>);

#[derive(Debug, Default)]
struct Groups {
    leaders: Vec<Pid>,
    /// No further one may begin.
    over: bool,
}

impl Running {
    pub(super) const fn new() -> Running {
        Running(Mutex::new(Groups { leaders: Vec::new(), over: false }))
    }

    /// Ends all of them at once, and lets no more begin. Waits only a moment.
    pub(super) fn end(&self) {
        if let Some(groups) = self.0.try_lock_for(PATIENCE) {
            end_all(groups);
        }
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.0.lock()
    }
}

fn end_all(mut groups: MutexGuard<'_, Groups>) {
    groups.over = true;
    for leader in groups.leaders.drain(..) {
        let _ = killpg(leader, Signal::SIGKILL);
    }
}

/// How often we look whether the child has ended while its output stays open.
const TICK: Duration = Duration::from_millis(10);

/// No output, and why. Holds nothing that the program printed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The process could not start.
    NotRun(String),
    /// It ended otherwise than it should.
    Ended(How),
}

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum How {
    Status(i32),
    Signal(Signal),
    TooSlow,
    TooMuch,
    Lost,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Status(status) => write!(f, "ended with exit status {status}"),
            How::Signal(signal) => write!(f, "was ended by {signal}"),
            How::TooSlow => write!(f, "did not end within {} s", TIME_LIMIT.as_secs()),
            How::TooMuch => f.write_str("printed too much for a secret"),
            How::Lost => f.write_str("ended in an unknown way"),
        }
    }
}

/// The program's output, if it ended with status 0 in time.
pub(super) fn run(
    running: &Running,
    path: &Path,
    arguments: &[String],
    environment: &[(String, String)],
) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let deadline = Instant::now() + TIME_LIMIT;
    let (mut child, output) = {
        // Held until the group is listed: what ends us must not come in between.
        let mut groups = running.groups();
        if groups.over {
            return Err(Trouble::NotRun("the worker is ending".to_owned()));
        }
        let (pid, output) = spawn(path, arguments, environment).map_err(|e| Trouble::NotRun(e.to_string()))?;
        groups.leaders.push(pid);
        (Child { running, pid, status: None }, output)
    };
    let printed = read(&mut child, output, deadline)?;
    match child.status {
        Some(WaitStatus::Exited(_, 0)) => Ok(printed),
        Some(WaitStatus::Exited(_, status)) => Err(Trouble::Ended(How::Status(status))),
        Some(WaitStatus::Signaled(_, signal, _)) => Err(Trouble::Ended(How::Signal(signal))),
        _ => Err(Trouble::Ended(How::Lost)),
    }
}

fn spawn(path: &Path, arguments: &[String], environment: &[(String, String)]) -> io::Result<(Pid, PipeReader)> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_: NulError| io::Error::from(Errno::EINVAL));
    let program = text(path.as_os_str().as_bytes())?;
    let mut argv = vec![program.clone()];
    for argument in arguments {
        argv.push(text(argument.as_bytes())?);
    }
    let mark = (MARK.to_owned(), std::process::id().to_string());
    let envp: Vec<CString> = environment
        .iter()
        .chain([&mark])
        .map(|(n, v)| text(format!("{n}={v}").as_bytes()))
        .collect::<io::Result<_>>()?;

    let (reader, writer) = io::pipe()?;
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    let mut files = PosixSpawnFileActions::init()?;
    files.add_dup2(nowhere.as_raw_fd(), 0)?;
    files.add_dup2(writer.as_raw_fd(), 1)?;
    files.add_dup2(nowhere.as_raw_fd(), 2)?;
    // Numbers beyond the system's limit are refused; no file has one.
    let _ = (3..=highest_file() + MARGIN).try_for_each(|file| files.add_close(file));

    let mut ignored = SigSet::all();
    ignored.remove(Signal::SIGKILL);
    ignored.remove(Signal::SIGSTOP);
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_sigmask(&SigSet::empty())?;
    // PostgreSQL ignores SIGPIPE and others, and a child would inherit that.
    attributes.set_sigdefault(&ignored)?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
            | PosixSpawnFlags::POSIX_SPAWN_SETPGROUP,
    )?;
    let pid = posix_spawn(program.as_c_str(), &files, &attributes, &argv, &envp)?;
    Ok((pid, reader))
}

/// The highest number of an open file.
fn highest_file() -> i32 {
    let open = std::fs::read_dir("/proc/self/fd").ok();
    let numbers = open.map(|entries| entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()));
    // Without /proc, as many as a process has by default.
    numbers.and_then(Iterator::max).unwrap_or(1024)
}

/// A child that is ended and reaped when it goes out of scope.
struct Child<'a> {
    running: &'a Running,
    pid: Pid,
    status: Option<WaitStatus>,
}

impl Child<'_> {
    /// Whether it has ended. Reaps it.
    fn ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => None,
                Ok(status @ (WaitStatus::Exited(..) | WaitStatus::Signaled(..))) => Some(status),
                Ok(_) => None,
                // Another part of the process reaped it.
                Err(_) => Some(WaitStatus::StillAlive),
            };
        }
        self.status.is_some()
    }
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        // The group outlives its leader while it has members. Without any this finds none, unless the number was given
        // to a new group within the last few milliseconds, which the kernel's counting up does not do.
        let _ = killpg(self.pid, Signal::SIGKILL);
        // Before its number is reused.
        self.running.groups().leaders.retain(|leader| *leader != self.pid);
        while self.status.is_none() && !self.ended() {
            let _ = waitpid(self.pid, None).map(|status| self.status = Some(status));
        }
    }
}

/// Reads until the child has ended and its output is empty. A grandchild may hold the output open, so its end alone
/// is not waited for.
fn read(child: &mut Child<'_>, mut output: PipeReader, deadline: Instant) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    // Room for everything at once: a buffer that grows leaves pieces of the secret behind.
    let mut printed = Zeroizing::new(vec![0; MAX_SECRET + 1]);
    let mut length = 0;
    let mut open = true;
    loop {
        let ended = child.ended();
        if ended && !open {
            break;
        }
        if Instant::now() >= deadline {
            return Err(Trouble::Ended(How::TooSlow));
        }
        if !open {
            std::thread::sleep(TICK);
            continue;
        }
        // The output of an ended child is in the pipe already: no need to wait for more.
        if !readable(&output, if ended { Duration::ZERO } else { TICK }) {
            if ended {
                break;
            }
            continue;
        }
        match output.read(&mut printed[length..]) {
            Ok(0) => open = false,
            Ok(n) => length += n,
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(_) => open = false,
        }
        if length > MAX_SECRET {
            return Err(Trouble::Ended(How::TooMuch));
        }
    }
    printed.truncate(length);
    Ok(printed)
}

fn readable(output: &PipeReader, wait: Duration) -> bool {
    let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
    let mut fds = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, timeout).is_ok_and(|n| n > 0)
}
