//! Runs a program that prints a secret: by its path, without a shell, within limits.
//!
//! The child is spawned with an empty signal mask. The thread that resolves secrets has every signal blocked, so
//! that PostgreSQL's handlers run on the main thread only, and the standard library's `Command` passes the mask on
//! (since Rust 1.66 it leaves it alone): a program that waits for a signal of its own would wait forever.
//! `posix_spawn` sets the mask in the child alone.
//!
//! The child leads a process group of its own, which is killed at the end in every case: when the program is done,
//! what it left behind has no business here. A process that left the group may live on, but is not waited for.

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
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use zeroize::Zeroizing;

use super::{MAX_SECRET, TIME_LIMIT};

/// How often we look whether the child has ended while its output stays open.
const TICK: Duration = Duration::from_millis(10);

/// No output, and why. Holds nothing that the program printed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// There was no process.
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
            How::TooMuch => f.write_str("printed more than a secret"),
            How::Lost => f.write_str("ended in an unknown way"),
        }
    }
}

/// What the program printed, if it ended with status 0 in time.
pub(super) fn run(
    path: &Path,
    arguments: &[String],
    environment: &[(String, String)],
) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let deadline = Instant::now() + TIME_LIMIT;
    let (pid, output) = spawn(path, arguments, environment).map_err(|e| Trouble::NotRun(e.to_string()))?;
    let mut child = Child { pid, status: None };
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
    let envp: Vec<CString> =
        environment.iter().map(|(n, v)| text(format!("{n}={v}").as_bytes())).collect::<io::Result<_>>()?;

    let (reader, writer) = io::pipe()?;
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    let mut files = PosixSpawnFileActions::init()?;
    files.add_dup2(nowhere.as_raw_fd(), 0)?;
    files.add_dup2(writer.as_raw_fd(), 1)?;
    files.add_dup2(nowhere.as_raw_fd(), 2)?;

    let mut ignored = SigSet::all();
    ignored.remove(Signal::SIGKILL);
    ignored.remove(Signal::SIGSTOP);
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_sigmask(&SigSet::empty())?;
    // PostgreSQL ignores SIGPIPE and others, and what is ignored would stay so.
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

/// A child that is ended and reaped when it goes out of scope.
struct Child {
    pid: Pid,
    status: Option<WaitStatus>,
}

impl Child {
    /// Whether it has ended. Reaps it.
    fn ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => None,
                Ok(status @ (WaitStatus::Exited(..) | WaitStatus::Signaled(..))) => Some(status),
                Ok(_) => None,
                // Somebody else reaped it.
                Err(_) => Some(WaitStatus::StillAlive),
            };
        }
        self.status.is_some()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The group outlives its leader while it has members. Without any this finds nobody, unless the number was
        // given to a new group within the last few milliseconds, which the kernel's counting up does not do.
        let _ = killpg(self.pid, Signal::SIGKILL);
        while self.status.is_none() && !self.ended() {
            let _ = waitpid(self.pid, None).map(|status| self.status = Some(status));
        }
    }
}

/// Reads until the child has ended and its output is empty. A grandchild may hold the output open, so its end alone
/// is not waited for.
fn read(child: &mut Child, mut output: PipeReader, deadline: Instant) -> Result<Zeroizing<Vec<u8>>, Trouble> {
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
        // What an ended child printed is in the pipe already: no need to wait for more.
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
