//! Addresses that a job is given: one a line, in a private file named after the job. A slot in shared memory has no
//! room for a million of them, and a table would not show them to the worker before the caller commits.

use std::fs;
use std::io::{self, BufRead, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use pgrx::PgSqlErrorCode;

use crate::inventory::fold;
use crate::pg::errors::raise;
use crate::settings::place;
use crate::shared;
use crate::shared::{Job, state};

fn directory() -> PathBuf {
    place::directory().join("jobs")
}

fn path(job: i64) -> PathBuf {
    path_in(shared::my_database().to_u32(), job)
}

fn path_in(database: u32, job: i64) -> PathBuf {
    directory().join(format!("{database}-{job}.txt"))
}

/// Writes the list of a job, ascending and without repetitions; returns how many there are.
pub fn write(job: i64, mut ips: Vec<IpAddr>) -> io::Result<usize> {
    ips.iter_mut().for_each(|ip| *ip = fold::kept(*ip));
    ips.sort_unstable();
    ips.dedup();
    write_in_order(job, ips.iter())?;
    Ok(ips.len())
}

/// Writes the list of a job as it comes, beside the one that it has: on a full disk that one stays as it is, and nothing of
/// the new one takes room.
pub fn write_in_order<'a>(job: i64, ips: impl Iterator<Item = &'a IpAddr>) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory())?;
    let draft = path(job).with_extension("tmp");
    let written = write_whole(&draft, ips).and_then(|()| fs::rename(&draft, path(job)));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

fn write_whole<'a>(path: &Path, ips: impl Iterator<Item = &'a IpAddr>) -> io::Result<()> {
    let file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    let mut file = io::BufWriter::new(file);
    for ip in ips {
        writeln!(file, "{ip}")?;
    }
    file.flush()
}

/// Reads the list of a job; `total`: how many addresses it has, where that is known.
///
/// # Errors
/// It cannot be read, or is not as it was written.
pub fn read(job: i64, total: Option<u64>) -> io::Result<Vec<IpAddr>> {
    stream(job, total)?.collect()
}

/// The list of a job, read as it is needed: it may have a million addresses. `total` and errors as with [`read`]; the
/// first error is the last item.
pub fn stream(job: i64, total: Option<u64>) -> io::Result<Stream> {
    let file = io::BufReader::new(fs::File::open(path(job))?);
    Ok(Stream { lines: file.lines(), read: 0, total, failed: false })
}

/// A list that is being read. An address that is left out in silence would count as done.
pub struct Stream {
    lines: io::Lines<io::BufReader<fs::File>>,
    read: u64,
    total: Option<u64>,
    failed: bool,
}

impl Stream {
    fn read(&mut self) -> io::Result<Option<IpAddr>> {
        let of = |wrong: String| io::Error::new(io::ErrorKind::InvalidData, wrong);
        let Some(line) = self.lines.next().transpose()? else {
            return match self.total {
                Some(total) if total != self.read => Err(of(format!("it has {} of {total} addresses", self.read))),
                _ => Ok(None),
            };
        };
        self.read += 1;
        line.parse::<IpAddr>().map(Some).map_err(|_| of(format!("line {} is not an address", self.read)))
    }
}

impl Iterator for Stream {
    type Item = io::Result<IpAddr>;

    fn next(&mut self) -> Option<io::Result<IpAddr>> {
        if self.failed {
            return None;
        }
        let item = self.read().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

/// Why the list of a job could not be read, in words.
pub fn unreadable(job: i64, error: &io::Error) -> String {
    format!("could not read the list of job {job}: {error}")
}

/// Removes the list of a job, if it has one.
pub fn remove(job: i64) {
    let _ = fs::remove_file(path(job));
}

/// The same of a job of another database, which was dropped.
pub fn remove_in(database: u32, job: i64) {
    let _ = fs::remove_file(path_in(database, job));
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
    let written = write(id, ips.to_vec()).unwrap_or_else(|error| {
        raise(PgSqlErrorCode::ERRCODE_IO_ERROR, format!("could not write the job's list: {error}"), "", "")
    });
    written as u64
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
