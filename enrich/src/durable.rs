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

/// Does something when it goes out of scope, however that comes about.
pub(crate) struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
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

/// A damaged file, in place of the one before. It stays where it is, too, until the new one takes its place.
fn set_aside(damaged: &Path, broken: &Path) -> io::Result<()> {
    let is_file = fs::symlink_metadata(damaged).is_ok_and(|known| known.is_file());
    if is_file && !broken.is_dir() {
        let _ = fs::remove_file(broken);
        if fs::hard_link(damaged, broken).is_ok() {
            return Ok(());
        }
    }
    fs::rename(damaged, broken)
}

/// Replaces a file that only its owner can read. One writer at a time: the draft beside it has a fixed name. A damaged file
/// is kept under the name `broken`, from the moment on in which there is another one to take its place.
///
/// # Errors
/// Those of the file system; the file is unchanged then, and no draft is left.
pub(crate) fn replace(path: &Path, bytes: &[u8], broken: Option<&Path>) -> io::Result<()> {
    let draft = path.with_extension("tmp");
    let _litter = RemoveOnDrop(&draft);
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    if let Some(broken) = broken {
        set_aside(path, broken)?;
    }
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
