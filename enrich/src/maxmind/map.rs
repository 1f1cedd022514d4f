//! The one place that maps a file: only immutable files of our own, of generations and of lists.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// Maps a generation's file read-only, so that all processes of the server share its pages.
///
/// Callers pass only files that a store wrote under a temporary name, synced and renamed: they are never
/// written or truncated afterwards, so the mapping cannot end in SIGBUS the way an operator's own file could.
#[allow(unsafe_code)]
pub(crate) fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: the file is private to the server's user and immutable once it has this name (see above).
    let mapped = unsafe { Mmap::map(&file) }?;
    // What comes from the disk comes in large pages then, where there are any; see [`Blocks`](crate::blocks::Blocks).
    #[cfg(target_os = "linux")]
    let _ = mapped.advise(memmap2::Advice::HugePage);
    Ok(mapped)
}
