//! What is packed by gzip: one member, or several behind each other, as `cat a.gz b.gz` makes them.

use std::io::{BufRead, Read};

use flate2::bufread::GzDecoder;

/// The first bytes of a member.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reads all members. What follows the last one and is none is passed over, as gzip itself does: some systems fill up blocks.
pub(super) struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Members<R> {
    /// Of a file that begins with one.
    pub(super) fn new(packed: R) -> Members<R> {
        Members(Some(GzDecoder::new(packed)))
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let Some(member) = &mut self.0 else { return Ok(0) };
            let count = member.read(into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            let Some(mut rest) = self.0.take().map(GzDecoder::into_inner) else { return Ok(0) };
            // Of a magic number that stands across two reads, the first byte must do.
            let start = rest.fill_buf()?;
            if start.is_empty() || !MAGIC.starts_with(&start[..start.len().min(MAGIC.len())]) {
                return Ok(0);
            }
            self.0 = Some(GzDecoder::new(rest));
        }
    }
}
