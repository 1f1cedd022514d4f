//! Addresses that a job is given: one a line, in a private file named after the job. A slot in shared memory has no
//! room for a million of them, and a table would not show them to the worker before the caller commits.

use std::fs;
use std::io::{self, BufRead, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::inventory::fold;
use crate::settings::place;
use crate::shared;

fn directory() -> PathBuf {
    place::directory().join("jobs")
}

fn path(job: i64) -> PathBuf {
    directory().join(format!("{}-{job}.txt", shared::my_database().to_u32()))
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

/// Reads the list of a job.
pub fn read(job: i64) -> io::Result<Vec<IpAddr>> {
    let text = fs::read_to_string(path(job))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// The list of a job, read as it is needed: it may have a million addresses.
pub fn stream(job: i64) -> io::Result<impl Iterator<Item = IpAddr> + use<>> {
    let file = io::BufReader::new(fs::File::open(path(job))?);
    Ok(file.lines().map_while(Result::ok).filter_map(|line| line.parse().ok()))
}

/// Removes the list of a job, if it has one.
pub fn remove(job: i64) {
    let _ = fs::remove_file(path(job));
}

/// Removes lists that a crash left behind in this database: no job survives a crash.
pub fn sweep() {
    let prefix = format!("{}-", shared::my_database().to_u32());
    for entry in fs::read_dir(directory()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes the list of a running job.
///
/// # Errors
/// Raised: what keeps a job from its list ends the job.
pub(super) fn write_list(id: i64, ips: &[IpAddr]) {
    if let Err(error) = write(id, ips.to_vec()) {
        crate::pg::errors::raise(
            pgrx::PgSqlErrorCode::ERRCODE_IO_ERROR,
            format!("could not write the job's list: {error}"),
            "",
            "",
        );
    }
}
