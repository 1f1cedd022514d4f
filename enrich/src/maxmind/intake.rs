//! Intake: from the operator's file to a private, verified, indexed copy that may become a generation.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use chrono::DateTime;
use maxminddb::Reader;
use sha2::{Digest, Sha256};

use super::edition::{Edition, Kind};
use super::generation::{DATABASE, INDEX};
use super::index;
use super::manifest::{GenerationInfo, now_us};
use super::map::map;

/// No database that anyone publishes comes near; a larger file is a mistake and is not copied.
pub(super) const MAX_DATABASE_BYTES: u64 = 2 << 30;

/// Everything that must be true of a database before it may answer; builds its index on the way.
pub(super) fn check(
    dir: &Path,
    edition: &Edition,
    current: Option<&GenerationInfo>,
    sha256: String,
    force: bool,
) -> Result<GenerationInfo, String> {
    let database = map(&dir.join(DATABASE)).map_err(|e| e.to_string())?;
    let size = database.len() as u64;
    let reader = Reader::from_source(&database[..]).map_err(|e| e.to_string())?;
    let metadata = reader.metadata();
    let kind = Kind::of(&metadata.database_type);
    let wanted = Kind::of(edition.name());
    if wanted != Kind::Other && kind != wanted {
        return Err(format!("wrong edition: the file holds \"{}\"", metadata.database_type));
    }
    if metadata.node_count == 0 {
        return Err("the database is empty".to_owned());
    }
    if let Some(current) = current.filter(|c| !force && metadata.node_count < c.node_count / 2) {
        return Err(format!(
            "the node count collapsed from {} to {}: not taken unless forced",
            current.node_count, metadata.node_count,
        ));
    }
    // Of the same second is allowed: whoever makes files of their own changes them as they like. One that claims to
    // come from the future would keep every honest one out.
    let future = now_us() / 1_000_000 + 86_400;
    let honest = |c: &&GenerationInfo| i64::try_from(c.build_epoch).is_ok_and(|built| built <= future);
    if let Some(current) = current.filter(|c| !force && metadata.build_epoch < c.build_epoch).filter(honest) {
        return Err(format!(
            "built {}, before the one that answers ({}): not taken unless forced",
            built(metadata.build_epoch),
            built(current.build_epoch),
        ));
    }
    reader.verify().map_err(|e| e.to_string())?;
    if kind != Kind::Other {
        let path = dir.join(INDEX);
        let mut out = BufWriter::with_capacity(1 << 20, private_file(&path).map_err(|e| e.to_string())?);
        index::build(&reader, kind, size, &mut out).map_err(|e| e.to_string())?;
        let file = out.into_inner().map_err(|e| e.to_string())?;
        file.sync_all().map_err(|e| e.to_string())?;
    }
    Ok(GenerationInfo {
        directory: format!("{}-{}", edition.name(), &sha256[..16]),
        database_type: metadata.database_type.clone(),
        build_epoch: metadata.build_epoch,
        node_count: metadata.node_count,
        size,
        sha256,
        installed_at: now_us(),
    })
}

/// For people: UTC, to the second. A file may claim any number.
fn built(epoch: u64) -> String {
    let at = i64::try_from(epoch).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    at.map_or_else(|| epoch.to_string(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string())
}

/// Which side of a copy failed.
pub(super) enum CopyError {
    Source(io::Error),
    Target(io::Error),
}

/// Copies and hashes in one pass; never more than the cap, whatever the file grows to meanwhile.
pub(super) fn copy(from: &Path, to: &Path) -> Result<String, CopyError> {
    let source = File::open(from).map_err(CopyError::Source)?;
    let mut source = source.take(MAX_DATABASE_BYTES);
    let mut target = private_file(to).map_err(CopyError::Target)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(CopyError::Source(e)),
        };
        hash.update(&buffer[..n]);
        target.write_all(&buffer[..n]).map_err(CopyError::Target)?;
    }
    target.sync_all().map_err(CopyError::Target)?;
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)
}
