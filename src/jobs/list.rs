//! Addresses that a job is given, in a private file named after the job. A slot in shared memory has no room for a million of
//! them, and a table would not show them to the worker before the caller commits. There may be as many as the inventory
//! has: nobody holds all of them.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use enrich::roster;
use enrich::roster::{Roster, Sorter, WIDTH};
use pgrx::PgSqlErrorCode;

use crate::inventory::fold;
use crate::pg::errors::raise;
use crate::settings::place;
use crate::shared;
use crate::shared::{Job, state};

/// Bytes of records that are sorted at a time.
const SORTED: usize = 16 << 20;
/// Addresses that are written between two looks whether the session is cancelled.
const WRITTEN: usize = 1 << 16;

fn directory() -> PathBuf {
    place::directory().join("jobs")
}

fn path(job: i64) -> PathBuf {
    path_in(shared::my_database().to_u32(), job)
}

fn path_in(database: u32, job: i64) -> PathBuf {
    directory().join(format!("{database}-{job}.ips"))
}

/// The list of a job in the making: ascending and without repetitions, in whatever order its addresses come.
pub struct Draft {
    job: i64,
    sorter: Sorter<WIDTH>,
}

impl Draft {
    /// Of none yet.
    pub fn new(job: i64) -> io::Result<Draft> {
        Ok(Draft { job, sorter: sorter(job)? })
    }

    /// One more.
    pub fn add(&mut self, ip: IpAddr) -> io::Result<()> {
        self.sorter.push(roster::entry(fold::kept(ip)))
    }

    /// Writes it; returns how many there are. On a full disk nothing of it takes room. Interruptible.
    pub fn finish(self) -> io::Result<u64> {
        let entries = self.sorter.finish()?.enumerate().map(|(n, entry)| {
            if n.is_multiple_of(WRITTEN) {
                pgrx::check_for_interrupts!();
            }
            entry
        });
        roster::write(&path(self.job), entries)
    }
}

/// Sorts records about the addresses of a job, with the rest of them on the disk.
pub fn sorter<const N: usize>(job: i64) -> io::Result<Sorter<N>> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory())?;
    Ok(Sorter::new(path(job).with_extension("runs"), SORTED / N))
}

/// Writes the list of a job, ascending and without repetitions; returns how many there are.
pub fn write(job: i64, ips: &[IpAddr]) -> io::Result<u64> {
    let mut draft = Draft::new(job)?;
    ips.iter().try_for_each(|ip| draft.add(*ip))?;
    draft.finish()
}

/// Opens the list of a job; `total`: how many addresses it has, where that is known.
///
/// # Errors
/// It cannot be read, or is not as long as it was written.
pub fn open(job: i64, total: Option<u64>) -> io::Result<Roster> {
    Roster::open(&path(job), total)
}

/// Reads all of the list of a job, for those that a caller has named.
///
/// # Errors
/// As [`open`], and where it has something else than addresses.
pub fn read(job: i64, total: Option<u64>) -> io::Result<Vec<IpAddr>> {
    let list = open(job, total)?;
    list.read(0, list.total())
}

/// How many addresses the list of a job has.
///
/// # Errors
/// As [`open`].
pub fn total(job: i64, total: Option<u64>) -> io::Result<u64> {
    open(job, total).map(|list| list.total())
}

/// Why the list of a job could not be read, in words.
pub fn unreadable(job: i64, error: &io::Error) -> String {
    format!("could not read the list of job {job}: {error}")
}

/// Removes the list of a job, if it has one, and what was to be one.
pub fn remove(job: i64) {
    remove_in(shared::my_database().to_u32(), job);
}

/// The same of a job of another database, which was dropped.
pub fn remove_in(database: u32, job: i64) {
    let list = path_in(database, job);
    let _ = fs::remove_file(list.with_extension("tmp"));
    let _ = fs::remove_file(list);
}

/// Removes lists of this database that no job has: a crash left them behind.
pub fn sweep() {
    let database = shared::my_database().to_u32();
    for entry in fs::read_dir(directory()).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let of = name.split_once('-').filter(|(of, _)| *of == database.to_string());
        // A session fills in its slot before it writes a list.
        if of.is_some_and(|(_, id)| !id.parse().is_ok_and(|id| has_job(database, id))) {
            let _ = fs::remove_file(path);
        }
    }
}

fn has_job(database: u32, id: i64) -> bool {
    let is_it = |job: &Job| {
        job.database.load(Ordering::Acquire) == database
            && job.id.load(Ordering::Relaxed) == id
            && job.state.load(Ordering::Acquire) != state::FREE
    };
    shared::shared().is_some_and(|shared| shared.jobs.iter().any(is_it))
}

/// Writes the list of a running job; returns how many there are.
///
/// # Errors
/// Raised: what keeps a job from its list ends the job.
pub(super) fn write_list(id: i64, ips: &[IpAddr]) -> u64 {
    write(id, ips).unwrap_or_else(|error| {
        raise(PgSqlErrorCode::ERRCODE_IO_ERROR, format!("could not write the job's list: {error}"), "", "")
    })
}

/// The list of a job that is about to start, read by `f`; its length is known where its caller wrote it.
///
/// # Errors
/// Raised, as above: a list that cannot be read is not one without addresses.
pub(super) fn of_start<T>(job: &Job, f: impl FnOnce(i64, Option<u64>) -> io::Result<T>) -> T {
    let id = job.id.load(Ordering::Relaxed);
    let total = Some(job.total.load(Ordering::Relaxed)).filter(|total| *total > 0);
    f(id, total).unwrap_or_else(|error| raise(PgSqlErrorCode::ERRCODE_IO_ERROR, unreadable(id, &error), "", ""))
}
