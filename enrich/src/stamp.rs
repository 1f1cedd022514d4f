//! Whether a file is still the one that was read: for values built from files that may be replaced at any time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The state of a file. Links are followed, since mounted secrets are links that change their target; an absent or
/// inaccessible file has a stamp too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Option<Seen>);

/// The change time shows a new mode or owner, which may fix the error of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of a file as it is now.
    pub fn of(path: &Path) -> Stamp {
        Stamp(fs::metadata(path).ok().map(|m| Seen {
            device: m.dev(),
            inode: m.ino(),
            size: m.size(),
            modified: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
        }))
    }

    /// Of several files, in their order.
    pub fn of_all(paths: &[PathBuf]) -> Vec<Stamp> {
        paths.iter().map(|path| Stamp::of(path)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::secrets::fake::Directory;

    #[test]
    fn a_file_that_comes_changes_is_replaced_or_goes_has_another_stamp() {
        let directory = Directory::new();
        let path = directory.path().join("key");
        let mut before = Stamp::of(&path);
        assert_eq!(before, Stamp::default());
        let mut changes = |what: &str| {
            let now = Stamp::of(&path);
            assert_ne!(now, before, "{what}");
            assert_eq!(now, Stamp::of(&path), "{what}: read twice");
            before = now;
        };
        fs::write(&path, "one").unwrap();
        changes("it comes");
        fs::write(&path, "three").unwrap();
        changes("it is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        changes("its mode");
        symlink(directory.write("other", "three"), directory.path().join("link")).unwrap();
        fs::rename(directory.path().join("link"), &path).unwrap();
        changes("a link takes its place");
        fs::remove_file(&path).unwrap();
        changes("it goes");
    }
}
