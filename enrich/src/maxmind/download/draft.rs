//! Unfinished files: private, locked while they are written, removed unless they are published.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, BufReader, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::libc::{ENOLCK, ENOSYS, EOPNOTSUPP, O_NOFOLLOW, O_NONBLOCK};

use crate::maxmind::edition::Edition;

const PREFIX: &str = ".download-";
const SUFFIX: &str = ".tmp";
/// Most names that are tried for one file.
const MOST_NAMES: u32 = 10_000;

/// A file that is removed when it is dropped. Its lock ends with the process, so that [`sweep`] can distinguish a
/// killed process's file from one that is being written.
pub(super) struct Draft {
    path: PathBuf,
    file: File,
    published: bool,
}

impl Draft {
    /// A new empty file in `dir`, readable only for its owner.
    pub(super) fn create(dir: &Path, edition: &Edition) -> io::Result<Draft> {
        Draft::locked_by(dir, edition, File::try_lock)
    }

    fn locked_by(dir: &Path, edition: &Edition, lock: impl Fn(&File) -> Result<(), TryLockError>) -> io::Result<Draft> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..MOST_NAMES {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{PREFIX}{edition}-{}-{count}{SUFFIX}", process::id()));
            let file = match OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path) {
                Ok(file) => file,
                // Left by a process that had our number.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e),
            };
            let draft = Draft { path, file, published: false };
            match lock(&draft.file) {
                // A sweep that came between creating and locking has taken the file for litter.
                Ok(()) if draft.file.metadata()?.nlink() > 0 => return Ok(draft),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                // A mount without locks: no sweep can take the file for litter there either.
                Err(TryLockError::Error(error)) if is_unknown_there(&error) => return Ok(draft),
                // It would be the same with every other name.
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// As [`Draft::create`], with an error that names the directory: the operator has to correct it.
    pub(super) fn create_in(dir: &Path, edition: &Edition) -> io::Result<Draft> {
        Draft::create(dir, edition).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", dir.display())))
    }

    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// From its beginning.
    pub(super) fn reread(&mut self) -> io::Result<BufReader<&mut File>> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(BufReader::with_capacity(1 << 16, &mut self.file))
    }

    /// Puts the file in its place, once all of it is on disk. It takes over the mode, and if allowed the group, of the
    /// file that it replaces: its readers can still read it. A new one is as readable as the server's other files.
    pub(super) fn publish(mut self, to: &Path) -> io::Result<PathBuf> {
        let mode = match check(to)? {
            Some(old) => {
                let _ = fchown(&self.file, None, Some(old.gid()));
                old.mode() & 0o777
            }
            None => 0o644 & !umask(),
        };
        self.file.set_permissions(fs::Permissions::from_mode(mode))?;
        self.file.sync_all()?;
        fs::rename(&self.path, to)?;
        self.published = true;
        if let Some(dir) = to.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(to.to_owned())
    }
}

/// Whether a file may be put there, and the present file. A link is not followed: a user who may write the directory
/// could lead us to any file of the server. It is not replaced either, since its target is in use.
///
/// # Errors
/// If the path is not a regular file.
pub fn check(place: &Path) -> io::Result<Option<Metadata>> {
    let refused = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {what}", place.display())));
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_file() => Ok(Some(found)),
        Ok(found) if found.is_symlink() => {
            refused("is a symbolic link, which is not replaced: remove it, or name the directory that it leads to")
        }
        Ok(_) => refused("is not a regular file, and is not replaced"),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The umask of this process. It cannot be read without being set, which would affect other threads; Linux shows it. On
/// other systems only the owner may read.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o077)
}

/// Whether it says that the file system has no such locks: an NFS mount without a lock service, some of FUSE.
fn is_unknown_there(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOLCK | ENOSYS | EOPNOTSUPP))
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the drafts in `dir` that are no longer being written, and returns their number: a killed process could not
/// remove them. A directory that does not exist has none, and on a file system without locks they stay.
///
/// # Errors
/// When the directory cannot be read. Drafts that cannot be removed stay, for the next time.
pub fn sweep(dir: &Path) -> io::Result<usize> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if ours && let Some(_lock) = abandoned(&entry.path()) {
            removed += usize::from(fs::remove_file(entry.path()).is_ok());
        }
    }
    Ok(removed)
}

/// The file, locked, if it is a regular file and not locked by another process.
fn abandoned(path: &Path) -> Option<File> {
    let file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path).ok()?;
    (file.metadata().ok()?.is_file() && file.try_lock().is_ok()).then_some(file)
}

#[cfg(test)]
mod tests {
    use nix::libc::EIO;

    use super::*;
    use crate::secrets::fake::Directory;

    #[test]
    fn a_mount_without_locks_and_one_that_fails_end_the_attempt() {
        let directory = Directory::new();
        let edition = Edition::new("GeoLite2-ASN").unwrap();
        let with = |error: fn() -> TryLockError| Draft::locked_by(directory.path(), &edition, |_| Err(error()));
        let without: [fn() -> TryLockError; 3] = [
            || TryLockError::Error(io::Error::from_raw_os_error(ENOLCK)),
            || TryLockError::Error(io::Error::from_raw_os_error(ENOSYS)),
            || TryLockError::Error(io::Error::from_raw_os_error(EOPNOTSUPP)),
        ];
        for error in without {
            let place = directory.path().join("GeoLite2-ASN.mmdb");
            with(error).unwrap().publish(&place).unwrap();
            assert_eq!(directory.names(), ["GeoLite2-ASN.mmdb"]);
        }
        let broken = with(|| TryLockError::Error(io::Error::from_raw_os_error(EIO))).err().unwrap();
        assert_eq!(broken.raw_os_error(), Some(EIO));
        let lost = with(|| TryLockError::WouldBlock).err().unwrap();
        assert_eq!(lost.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(directory.names(), ["GeoLite2-ASN.mmdb"], "nothing else is left");
    }
}
