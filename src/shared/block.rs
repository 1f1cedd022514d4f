//! The block of shared memory: its request and its contents.
#![allow(unsafe_code, reason = "asks for shared memory, and says what stands in it")]

use std::ffi::c_int;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::database::{DATABASES, Database};
use super::job::{JOBS, Job};
use super::launcher::Launcher;
use super::question;
use crate::pg::process::{my_database, wake};

/// How many of `all` slots that all databases share one of them may hold: three quarters, so that one busy database
/// cannot block the others.
pub const fn share(all: usize) -> usize {
    all / 4 * 3
}
/// Everything in shared memory. All-zero is a valid, empty state.
#[repr(C)]
pub struct Shared {
    generation: AtomicU64,
    /// The same of the lists of networks.
    lists: AtomicU64,
    /// See [`Launcher`].
    pub launcher: Launcher,
    /// One a database, see [`Database`].
    pub databases: [Database; DATABASES],
    /// One a running job, see [`Job`].
    pub jobs: [Job; JOBS],
    /// One a session that waits for an address.
    pub questions: [question::Question; question::QUESTIONS],
}
static SHARED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());
static mut NEXT_STARTUP: pg_sys::shmem_startup_hook_type = None;
static mut NEXT_REQUEST: pg_sys::shmem_request_hook_type = None;

/// Shared memory, with `shared_preload_libraries`.
#[inline]
pub fn shared() -> Option<&'static Shared> {
    // SAFETY: set once at server start to a zeroed block of this size that lives as long as the server.
    unsafe { SHARED.load(Ordering::Relaxed).as_ref() }
}

/// The slot of this session's database, if it has one.
pub fn here() -> Option<&'static Database> {
    shared()?.database(my_database())
}

/// Asks for the memory. Only while `shared_preload_libraries` is being processed.
pub fn request() {
    // SAFETY: hooks are chained as every extension does, before the server takes connections.
    unsafe {
        NEXT_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(on_request);
        NEXT_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(on_startup);
    }
}

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
    // SAFETY: the block is requested above; after a crash the postmaster creates it again, zeroed.
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

/// The counter of generations of lists; `None` without preload.
#[inline]
pub fn lists() -> Option<u64> {
    shared().map(|shared| shared.lists.load(Ordering::Acquire))
}

/// Tells every backend that the lists changed.
pub fn bump_lists() {
    if let Some(shared) = shared() {
        shared.lists.fetch_add(1, Ordering::AcqRel);
    }
}

/// Whether a launcher is there to import files.
pub fn launcher_runs() -> bool {
    shared().is_some_and(|shared| shared.launcher.pid.load(Ordering::Relaxed) != 0)
}

/// Notes the process of a launcher that begins.
pub fn set_launcher(pid: c_int) {
    if let Some(shared) = shared() {
        shared.launcher.begin(pid);
    }
}

/// Wakes the launcher.
pub fn wake_launcher() {
    if let Some(shared) = shared() {
        wake(shared.launcher.pid.load(Ordering::Relaxed));
    }
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
/// Two slots of one database cannot be: see [`Shared::database_or_new`]. If two processes race for the first slot of
/// one database, the later one is given back here.
pub fn drop_duplicate_databases() {
    let Some(shared) = shared() else { return };
    for (i, slot) in shared.databases.iter().enumerate() {
        let oid = slot.oid.load(Ordering::Acquire);
        let first = shared.databases[..i].iter().find(|before| before.oid.load(Ordering::Acquire) == oid);
        if let Some(first) = first.filter(|_| oid != 0)
            && slot.release()
        {
            first.wanted.store(true, Ordering::Release);
        }
    }
}
