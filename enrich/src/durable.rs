//! Small files that outlive a crash: replaced in one step, and on disk before they are used.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A file in the making, which must not outlive its writer, however that ends. One that is done has another name.
pub(crate) struct RemoveOnDrop<'a>(pub &'a Path);

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

/// A directory that must not outlive its writer, however that ends. One that is done has another name.
pub(crate) struct RemoveDirOnDrop<'a>(pub &'a Path);

impl Drop for RemoveDirOnDrop<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0);
    }
}

/// Reads up to `buffer.len()` bytes, fewer only at the end of the file.
///
/// # Errors
/// When it cannot be read.
pub fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A damaged manifest, in place of the one before. A file stays where it is, too, until the new one takes its place.
pub(crate) fn set_aside(damaged: &Path, broken: &Path) -> io::Result<()> {
    let is_file = fs::symlink_metadata(damaged).is_ok_and(|known| known.is_file());
    if is_file && !broken.is_dir() {
        let _ = fs::remove_file(broken);
        if fs::hard_link(damaged, broken).is_ok() {
            return Ok(());
        }
    }
    fs::rename(damaged, broken)
}

/// Replaces a file that only its owner can read. One writer at a time: the draft beside it has a fixed name.
///
/// # Errors
/// Those of the file system; the file is unchanged then, and no draft is left.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("tmp");
    let written =
        OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&draft, path)
        });
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
