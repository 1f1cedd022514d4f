//! Unfinished files: private, locked while they are written, removed unless they are published.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufReader, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

use crate::maxmind::edition::Edition;

const PREFIX: &str = ".download-";
const SUFFIX: &str = ".tmp";

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
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{PREFIX}{edition}-{}-{count}{SUFFIX}", process::id()));
            let file = match OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path) {
                Ok(file) => file,
                // Left by a process that had our number.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e),
            };
            // A sweep that came between creating and locking has taken the file for litter.
            if file.try_lock().is_ok() && file.metadata()?.nlink() > 0 {
                return Ok(Draft { path, file, published: false });
            }
            let _ = fs::remove_file(&path);
        }
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

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the drafts in `dir` that are no longer being written, and returns their number: a killed process could not
/// remove them. A directory that does not exist has none.
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
