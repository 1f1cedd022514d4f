//! Common code of our background processes: signals, settings of the session, waiting, and registration.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use pgrx::pg_sys;

use super::pulse;

unsafe extern "C-unwind" {
    // PostgreSQL's own handlers, unwrapped: pgrx's versions are Rust functions, which a signal cannot call.
    fn die(signal: c_int);
    fn SignalHandlerForConfigReload(signal: c_int);
    // These have no bindings: the last of them takes any number of arguments.
    fn set_errcontext_domain(domain: *const c_char) -> c_int;
    fn errcontext_msg(format: *const c_char, ...) -> c_int;
}

/// Signals as PostgreSQL's own processes take them: SIGTERM ends at the next safe point, also inside a long
/// statement; SIGHUP is noted.
pub fn take_signals() {
    // SAFETY: installs PostgreSQL's own handlers, then lets signals in.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        use pg_sys::pqsignal;
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        use pg_sys::pqsignal_be as pqsignal;
        pqsignal(pg_sys::SIGHUP as c_int, Some(SignalHandlerForConfigReload));
        pqsignal(pg_sys::SIGTERM as c_int, Some(die));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// The name of this process; null: none yet.
static NAME: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());

/// Adds who this process is to everything that it logs, be it ours or PostgreSQL's: `%d` and `%u` of `log_line_prefix`
/// are those of a client, and a background process has none.
fn introduce(kind: &CStr, database: &[u8]) {
    let text = [kind.to_bytes(), b" of database ", database].concat();
    // Both last as long as the process: an error may come at any time.
    let text = CString::new(text).unwrap_or_default().into_raw();
    if !NAME.swap(text, Ordering::AcqRel).is_null() {
        return;
    }
    // SAFETY: the first entry of the stack, below everything that is pushed and popped later.
    unsafe {
        let entry = pg_sys::ErrorContextCallback {
            previous: pg_sys::error_context_stack,
            callback: Some(say_who),
            arg: std::ptr::null_mut(),
        };
        pg_sys::error_context_stack = Box::leak(Box::new(entry));
    }
}

/// Runs while an error or a log line is being made: raises nothing.
unsafe extern "C-unwind" fn say_who(_arg: *mut c_void) {
    // SAFETY: two texts with an end; the default domain.
    unsafe {
        set_errcontext_domain(std::ptr::null());
        errcontext_msg(c"%s".as_ptr(), NAME.load(Ordering::Acquire));
    }
}

/// The name of this process's database, quoted, as the catalog has it.
fn database_name() -> Option<Vec<u8>> {
    super::catalog::database_name().map(|name| [b"\"", name.to_bytes(), b"\""].concat())
}

/// Connects to the server alone: only the shared catalogs can be read.
pub fn connect_to_server() {
    // SAFETY: once, at the start of a background worker.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) };
}

/// Connects to a database as the superuser, with settings that a database or a role cannot spoil. Tables are written as
/// their owner ([`crate::pg::sql::Sql::on`]).
pub fn connect(kind: &CStr, database: pg_sys::Oid) {
    introduce(kind, database.to_u32().to_string().as_bytes());
    // SAFETY: once, at the start of a background worker.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::InvalidOid, 0) };
    super::pinned::pin();
    super::tx::at_blocks(super::citus::bound_own_waits);
    if let Ok(Some(name)) = crate::pg::tx::run(database_name) {
        introduce(kind, &name);
    }
}

/// Waits for this session's latch, or a time-out; ends with the postmaster. The caller checks interrupts next.
pub fn pause(timeout: Duration) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: this process's own latch.
    unsafe {
        let (latch, reason) = (pg_sys::MyLatch, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::WaitLatch(latch, events as c_int, timeout.as_millis() as i64, reason);
        pg_sys::ResetLatch(latch);
    }
    pulse::beat();
}

/// Runs `f` when this process ends in any way, except by a kill. Once a process and function.
pub fn at_exit(f: fn()) {
    // SAFETY: the callback gets the function back.
    unsafe { pg_sys::before_shmem_exit(Some(run_at_exit), pg_sys::Datum::from(f as usize)) };
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn run_at_exit(_code: c_int, function: pg_sys::Datum) {
    // SAFETY: what `at_exit` was given.
    let f = unsafe { std::mem::transmute::<usize, fn()>(function.value()) };
    f();
}

/// Declares the main function of a background process: exports `$name`, which gets the argument of its registration.
#[macro_export]
macro_rules! background_process {
    ($(#[$doc:meta])* $name:ident, $body:expr) => {
        $(#[$doc])*
        #[doc(hidden)]
        #[allow(unsafe_code, reason = "PostgreSQL looks it up by its name")]
        #[::pgrx::pg_guard]
        #[unsafe(no_mangle)]
        pub extern "C-unwind" fn $name(argument: ::pgrx::pg_sys::Datum) {
            $body(argument)
        }
    };
}

/// Waits for the latch, a time-out or the postmaster's death, then serves interrupts and a reload of settings.
pub fn wait(timeout: Duration) {
    wait_for(None, timeout);
}

/// The same, and for a descriptor to become readable.
pub fn wait_for(descriptor: Option<c_int>, timeout: Duration) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    let timeout = timeout.as_millis() as i64;
    // SAFETY: this process's own latch, and a descriptor that its owner keeps open.
    pulse::resting(|| unsafe {
        match descriptor {
            Some(descriptor) => {
                let events = (events | pg_sys::WL_SOCKET_READABLE) as c_int;
                let reason = pg_sys::PG_WAIT_EXTENSION;
                pg_sys::WaitLatchOrSocket(pg_sys::MyLatch, events, descriptor, timeout, reason);
            }
            None => {
                pg_sys::WaitLatch(pg_sys::MyLatch, events as c_int, timeout, pg_sys::PG_WAIT_EXTENSION);
            }
        }
        pg_sys::ResetLatch(pg_sys::MyLatch);
    });
    serve_interrupts();
}

/// Runs `f` with every signal blocked. Threads that it starts inherit that: a signal that PostgreSQL sends must not
/// run its handler on any of them.
pub fn with_signals_blocked<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: sets this thread's mask, and restores the old one.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let result = f();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        result
    }
}

static RELOADS: AtomicU64 = AtomicU64::new(0);

/// How often this process has reloaded its settings.
pub fn reloads() -> u64 {
    RELOADS.load(Ordering::Relaxed)
}

/// Ends after a request to end, and reloads the settings after a request to reload.
pub fn serve_interrupts() {
    pgrx::check_for_interrupts!();
    // SAFETY: a flag that PostgreSQL's own handler sets.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
            RELOADS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Says in `pg_stat_activity` what this process does now.
pub fn busy(what: &str) {
    report(pg_sys::BackendState::STATE_RUNNING, what);
}

/// Reports that it waits, and reports its statistics, so that autovacuum sees our writes.
pub fn idle() {
    report(pg_sys::BackendState::STATE_IDLE, "");
    hand_in();
}

/// Reports the statistics of this process's writes. Outside any transaction.
pub fn hand_in() {
    // SAFETY: by the caller's word.
    unsafe { pg_sys::pgstat_report_stat(true) };
}

fn report(state: pg_sys::BackendState::Type, what: &str) {
    pulse::beat();
    let what = crate::pg::catalog::c_string(what);
    // SAFETY: the text is copied.
    unsafe { pg_sys::pgstat_report_activity(state, what.as_ptr()) };
}

/// The process id that stands in a place of shared memory, if that process runs.
pub fn running(place: &AtomicI32) -> Option<c_int> {
    let pid = place.load(Ordering::Acquire);
    // SAFETY: only asks the process array whether the process is still there.
    (pid != 0 && unsafe { !pg_sys::BackendPidGetProc(pid).is_null() }).then_some(pid)
}

/// Sets the latch of a server process. A process id that is no longer ours is ignored.
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

/// Asks a process of ours to end.
pub fn ask_to_end(pid: c_int) {
    // SAFETY: a signal, which its handler takes at the next safe point.
    unsafe { libc::kill(pid, libc::SIGTERM) };
}

/// The number and the name of the user that the server runs as.
pub fn os_user() -> (u32, String) {
    // SAFETY: asks who this process is; the buffer outlives what points into it, and the name is copied.
    unsafe {
        let user = libc::geteuid();
        let mut buffer = vec![0; 16 << 10];
        let mut entry: libc::passwd = std::mem::zeroed();
        let mut found = std::ptr::null_mut();
        libc::getpwuid_r(user, &mut entry, buffer.as_mut_ptr(), buffer.len(), &mut found);
        let name = match found.is_null() {
            true => user.to_string(),
            false => std::ffi::CStr::from_ptr((*found).pw_name).to_string_lossy().into_owned(),
        };
        (user, name)
    }
}

/// Whether the postmaster is loading `shared_preload_libraries`.
pub fn is_preloading() -> bool {
    // SAFETY: reads a variable of the server.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// The OID of this session's database.
pub fn my_database() -> pg_sys::Oid {
    // SAFETY: set once when the session starts.
    unsafe { pg_sys::MyDatabaseId }
}

/// Whether this server replays another's changes: a standby, or one that starts.
pub fn in_recovery() -> bool {
    // SAFETY: reads a variable of the server.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// When the server started (timestamptz).
pub fn server_started_at() -> i64 {
    // SAFETY: reads a variable of the server.
    unsafe { pg_sys::PgStartTime }
}

/// `max_worker_processes`.
pub fn max_workers() -> c_int {
    // SAFETY: reads a variable of the server.
    unsafe { pg_sys::max_worker_processes }
}

/// Whether this process may read and write a file, or a directory's entries.
pub fn may_write(path: &Path) -> bool {
    let Ok(name) = CString::new(path.as_os_str().as_bytes()) else { return false };
    let wanted = libc::R_OK | libc::W_OK | if path.is_dir() { libc::X_OK } else { 0 };
    // SAFETY: a NUL-terminated name, which is only read.
    unsafe { libc::access(name.as_ptr(), wanted) == 0 }
}

/// This process's id.
pub fn my_pid() -> c_int {
    // SAFETY: set at the process's start.
    unsafe { pg_sys::MyProcPid }
}

/// Takes this process's id out of a place in shared memory when it ends in any way (`kill -9` makes the server reset
/// all of that memory): the id may soon belong to another process, and the process there is told to end.
pub fn vacate_at_exit(place: &'static AtomicI32) {
    // SAFETY: the place is in shared memory, which is still there when the callback runs.
    unsafe { pg_sys::before_shmem_exit(Some(vacate), pg_sys::Datum::from(std::ptr::from_ref(place))) };
}

unsafe extern "C-unwind" fn vacate(_code: c_int, place: pg_sys::Datum) {
    // SAFETY: what `vacate_at_exit` was given.
    let place = unsafe { &*place.cast_mut_ptr::<AtomicI32>() };
    let _ = place.compare_exchange(my_pid(), 0, Ordering::AcqRel, Ordering::Relaxed);
}

/// The data of a background process for `pg_stat_activity` and the registry.
pub struct Registration<'a> {
    /// `backend_type`.
    pub kind: &'a CStr,
    /// The exported function it runs.
    pub function: &'a CStr,
    /// Its argument.
    pub argument: pg_sys::Datum,
    /// Whether it runs during recovery too, once sessions may connect: on a hot standby.
    pub in_recovery: bool,
    /// Seconds until the postmaster starts it again after an end other than exit 0; `None`: never.
    pub restart: Option<i32>,
    /// Process that is told of start and end; 0: none.
    pub notify: c_int,
}

impl Registration<'_> {
    fn build(&self) -> pg_sys::BackgroundWorker {
        let mut worker = pg_sys::BackgroundWorker {
            bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as c_int,
            bgw_start_time: match self.in_recovery {
                true => pg_sys::BgWorkerStartTime::BgWorkerStart_ConsistentState,
                false => pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
            },
            bgw_restart_time: self.restart.unwrap_or(pg_sys::BGW_NEVER_RESTART),
            bgw_main_arg: self.argument,
            bgw_notify_pid: self.notify,
            ..Default::default()
        };
        fill(&mut worker.bgw_name, self.kind);
        fill(&mut worker.bgw_type, self.kind);
        fill(&mut worker.bgw_library_name, c"asn_inventory");
        fill(&mut worker.bgw_function_name, self.function);
        worker
    }

    /// Registers it with the postmaster, while libraries are being preloaded.
    pub fn register(&self) {
        // SAFETY: copied by PostgreSQL.
        unsafe { pg_sys::RegisterBackgroundWorker(&mut self.build()) };
    }

    /// Starts it now. `None`: `max_worker_processes` are all in use.
    pub fn start(&self) -> Option<Handle> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the handle is allocated where it outlives transactions, and freed with its owner.
        let started = unsafe {
            let old = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            let started = pg_sys::RegisterDynamicBackgroundWorker(&mut self.build(), &mut handle);
            pg_sys::MemoryContextSwitchTo(old);
            started
        };
        // Lazily: a dropped Handle frees its memory, and there is none if no process was started.
        (started && !handle.is_null()).then(|| Handle(handle))
    }
}

fn fill<const N: usize>(field: &mut [std::ffi::c_char; N], text: &CStr) {
    for (to, from) in field.iter_mut().zip(text.to_bytes().iter().take(N - 1)) {
        *to = *from as std::ffi::c_char;
    }
}

/// A background process that we started.
pub struct Handle(*mut pg_sys::BackgroundWorkerHandle);

impl Handle {
    /// Whether it has ended.
    pub fn stopped(&self) -> bool {
        let mut pid = 0;
        // SAFETY: a handle from the registration.
        let status = unsafe { pg_sys::GetBackgroundWorkerPid(self.0, &mut pid) };
        status == pg_sys::BgwHandleStatus::BGWH_STOPPED
    }

    /// Tells it to end.
    pub fn terminate(&self) {
        // SAFETY: a handle from the registration.
        unsafe { pg_sys::TerminateBackgroundWorker(self.0) };
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: allocated by the registration, in this process.
        unsafe { pg_sys::pfree(self.0.cast()) };
    }
}
