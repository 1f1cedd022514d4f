//! Intake: from the operator's file to a private, verified, indexed copy that may become a generation.
//!
//! A user who may write the operator's directory may replace a file at any moment, also by a pipe or a device. So a
//! file is opened without waiting, and the descriptor counts: that it is a regular file, its size, its date. Long work
//! is done in pieces, with a look at `breathe` between them, which may leave by unwinding.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use chrono::DateTime;
use maxminddb::Reader;
use memmap2::Mmap;
use nix::fcntl::OFlag;
use nix::sys::signal::SigSet;
use sha2::{Digest, Sha256};

use super::edition::{Edition, Kind};
use super::generation::{DATABASE, INDEX};
use super::head::{Head, MARKER, MAX_METADATA};
use super::index::{self, IndexError};
use super::language::Language;
use super::manifest::{GenerationInfo, Signature, now_us};
use super::map::map;
use super::role::{Fields, Holds};
use super::tree;
use crate::blocks::Blocks;
use crate::durable::{RemoveOnDrop, fill};

/// No database that anyone publishes comes near; a larger file is a mistake and is not copied.
pub(super) const MAX_DATABASE_BYTES: u64 = 2 << 30;
/// How long work on another thread is waited for between two looks at `breathe`.
const BREATH: Duration = Duration::from_millis(20);

/// The operator's file, open.
pub(super) struct Source {
    file: File,
    /// As it was when it was opened.
    pub signature: Signature,
}

impl Source {
    /// Opens only a regular file. A symbolic link counts as its target: operators link to the newest.
    pub fn open(path: &Path) -> io::Result<Source> {
        // If it is replaced by a pipe between two looks, no process waits at its other end.
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        let signature = Signature::of_open(&file)?;
        Ok(Source { file, signature })
    }

    /// Whether it is unchanged since it was opened.
    pub fn is_unchanged(&self) -> bool {
        Signature::of_open(&self.file).is_ok_and(|now| now == self.signature)
    }

    /// Its metadata. [`Unfit::Io`] is about this file.
    pub fn head(&self) -> Result<Head, Unfit> {
        let from = self.signature.size.saturating_sub(MAX_METADATA as u64);
        let mut tail = vec![0; (self.signature.size - from) as usize];
        self.file.read_exact_at(&mut tail, from)?;
        Ok(Head::read(&tail)?)
    }

    /// Copies and hashes in one pass; never more than its size when it was opened, even if it grows.
    pub fn copy(&self, to: &Path, breathe: &dyn Fn()) -> Result<String, CopyError> {
        let mut source = (&self.file).take(self.signature.size.min(MAX_DATABASE_BYTES));
        let mut target = Blocks::new(private_file(to).map_err(CopyError::Target)?);
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            breathe();
            let n = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(CopyError::Source(e)),
            };
            hash.update(&buffer[..n]);
            target.write_all(&buffer[..n]).map_err(CopyError::Target)?;
        }
        breathe();
        target.finish().and_then(|file| file.sync_all()).map_err(CopyError::Target)?;
        Ok(hexadecimal(&hash.finalize()))
    }
}

/// As a digest is written.
pub(super) fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Which side of a copy failed.
pub(super) enum CopyError {
    Source(io::Error),
    Target(io::Error),
}

/// Why a file does not become a generation. A full disk is no fault of the file: it must not be refused for it.
pub(super) enum Unfit {
    /// The reason against the file.
    File(String),
    /// It could not be read, or its copy could not be written: another time it may be taken.
    Io(io::Error),
}

impl From<String> for Unfit {
    fn from(reason: String) -> Unfit {
        Unfit::File(reason)
    }
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Unfit {
        Unfit::Io(error)
    }
}

impl From<IndexError> for Unfit {
    fn from(error: IndexError) -> Unfit {
        match error {
            IndexError::Io(error) => Unfit::Io(error),
            error => Unfit::File(error.to_string()),
        }
    }
}

/// The reasons against a file, from its metadata.
pub(super) fn judge(
    head: &Head,
    edition: &Edition,
    current: Option<&GenerationInfo>,
    force: bool,
) -> Result<(), String> {
    if edition.is_anothers(&head.database_type) {
        return Err(wrong_edition(head));
    }
    if head.node_count == 0 {
        return Err("the database is empty".to_owned());
    }
    let Some(current) = current.filter(|_| !force) else { return Ok(()) };
    if head.node_count < current.node_count / 2 {
        return Err(format!(
            "the node count fell from {} to {}: not imported unless forced",
            current.node_count, head.node_count,
        ));
    }
    // The same second is allowed: users may change their own files. A file with a build time in the future would keep
    // every honest one out.
    if current.is_honest() && head.build_epoch < current.build_epoch {
        return Err(format!(
            "built {}, before the installed database ({}): not imported unless forced",
            built(head.build_epoch),
            built(current.build_epoch),
        ));
    }
    Ok(())
}

/// The reason against a file, from what its records hold.
fn judge_records(head: &Head, edition: &Edition, holds: &Holds) -> Result<(), String> {
    let wanted = edition.wants(&head.database_type);
    if wanted.is_empty() || wanted.meets(holds.fields) {
        return Ok(());
    }
    let of_name = Kind::of(edition.name());
    if edition.role().is_none() && edition.is_maxminds() && Kind::of(&head.database_type) != of_name {
        return Err(wrong_edition(head));
    }
    Err(match wanted {
        Fields::ORIGIN => "no record has an ASN or an organization in the expected fields",
        Fields::PLACE => "no record has a country, a region, a city, coordinates or a time zone in the expected fields",
        Fields::TRAITS => "no record has a flag or a connection type in the expected fields",
        _ => "no record has a place, an ASN or a flag in the expected fields; for whole records only, list it as <name>=other",
    }
    .to_owned())
}

fn wrong_edition(head: &Head) -> String {
    format!("wrong edition: the file holds \"{}\"", head.database_type())
}

/// Everything that must be true of a copied database before it may answer; builds its index on the way. [`Unfit::Io`] is
/// about the copy.
pub(super) fn check(
    dir: &Path,
    (edition, language): (&Edition, &Language),
    current: Option<&GenerationInfo>,
    mut sha256: String,
    force: bool,
    breathe: &dyn Fn(),
) -> Result<GenerationInfo, Unfit> {
    let path = dir.join(DATABASE);
    let mut database = map(&path)?;
    let head = Head::read(&database[database.len().saturating_sub(MAX_METADATA)..])?;
    judge(&head, edition, current, force)?;
    if !head.is_complete() {
        drop(database);
        complete(&path, &head)?;
        database = map(&path)?;
        // Named by what is kept: another server that gets it from this one keeps the same.
        sha256 = hexadecimal(&Sha256::digest(&database[..]));
    }
    let size = database.len() as u64;
    // Before the verification, which would walk for ever where it is no tree, on a thread that nobody can stop.
    tree::check(&database, breathe).map_err(|e| e.to_string())?;
    let reader = Arc::new(Reader::from_source(database).map_err(|e| e.to_string())?);
    verify(&reader, breathe)?;
    let holds = write_index(&dir.join(INDEX), &reader, language, size, breathe)?;
    judge_records(&head, edition, &holds)?;
    Ok(GenerationInfo {
        directory: format!("{}-{}", edition.name(), &sha256[..16]),
        database_type: head.database_type(),
        build_epoch: head.build_epoch,
        node_count: head.node_count,
        size,
        sha256,
        installed_at: now_us(),
        holds: Some(holds),
        mends: 0,
    })
}

/// Whether a generation is byte for byte what was made of the same file just now. One that can be opened may be damaged
/// still, and answer wrongly.
pub(super) fn is_same(kept: &Path, made: &Path, breathe: &dyn Fn()) -> io::Result<bool> {
    for name in [DATABASE, INDEX] {
        if !is_same_file(&kept.join(name), &made.join(name), breathe)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The same for one file.
pub(super) fn is_same_file(kept: &Path, made: &Path, breathe: &dyn Fn()) -> io::Result<bool> {
    let (mut ours, mut theirs) = (vec![0; 256 << 10], vec![0; 256 << 10]);
    let mut made = File::open(made)?;
    // What cannot be read is damaged as well.
    let Ok(mut kept) = File::open(kept) else { return Ok(false) };
    loop {
        breathe();
        let read = fill(&mut made, &mut ours)?;
        let is_as_long = fill(&mut kept, &mut theirs).is_ok_and(|length| length == read);
        if !is_as_long || ours[..read] != theirs[..read] {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

/// Gives a generation whose index is lost, of an earlier version or in another language, a new one, from the database
/// that it keeps.
pub(super) fn reindex(dir: &Path, language: &Language, breathe: &dyn Fn()) -> Result<Holds, IndexError> {
    let database = map(&dir.join(DATABASE))?;
    let size = database.len() as u64;
    tree::check(&database, breathe)?;
    let reader = Reader::from_source(database)?;
    let draft = dir.join(format!("{INDEX}.tmp"));
    let _ = std::fs::remove_file(&draft);
    // It must not keep the last of a full disk, nor outlive a process that is told to stop.
    let _litter = RemoveOnDrop(&draft);
    let holds = write_index(&draft, &reader, language, size, breathe)?;
    std::fs::rename(&draft, dir.join(INDEX))?;
    Ok(holds)
}

fn write_index(
    path: &Path,
    reader: &Reader<Mmap>,
    language: &Language,
    size: u64,
    breathe: &dyn Fn(),
) -> Result<Holds, IndexError> {
    let mut out = Blocks::new(private_file(path)?);
    let holds = index::build(reader, language, size, &mut out, breathe)?;
    let file = out.finish()?;
    file.sync_all()?;
    Ok(holds)
}

/// `Reader::verify` reads all of a file in one go. It does so on a thread of its own, which is left running if
/// `breathe` unwinds: it only reads, and keeps the file mapped.
fn verify(reader: &Arc<Reader<Mmap>>, breathe: &dyn Fn()) -> Result<(), String> {
    let (sender, receiver) = channel();
    let shared = Arc::clone(reader);
    let work = move || drop(sender.send(shared.verify().map_err(|error| error.to_string())));
    // A signal that is meant for the process must not be taken by that thread.
    let before = SigSet::thread_get_mask().and_then(|before| SigSet::all().thread_block().map(|()| before));
    let thread = std::thread::Builder::new().name("asn verify".to_owned()).spawn(work);
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    if thread.is_err() {
        return reader.verify().map_err(|error| error.to_string());
    }
    loop {
        match receiver.recv_timeout(BREATH) {
            Ok(told) => return told,
            Err(RecvTimeoutError::Timeout) => breathe(),
            Err(RecvTimeoutError::Disconnected) => {
                return Err("the check failed with an internal error (a panic)".to_owned());
            }
        }
    }
}

/// Replaces the metadata of a copy by metadata with the optional fields.
fn complete(path: &Path, head: &Head) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let size = file.metadata()?.len();
    let from = size.saturating_sub(MAX_METADATA as u64);
    let mut tail = vec![0; (size - from) as usize];
    file.read_exact_at(&mut tail, from)?;
    let at = tail.windows(MARKER.len()).rposition(|bytes| bytes == MARKER).unwrap_or(0);
    let end = from + (at + MARKER.len()) as u64;
    file.set_len(end)?;
    file.write_all_at(&head.encode(), end)?;
    file.sync_all()
}

/// For people: UTC, to the second. A file may claim any number.
fn built(epoch: u64) -> String {
    let at = i64::try_from(epoch).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    at.map_or_else(|| epoch.to_string(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string())
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)
}
