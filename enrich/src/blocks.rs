//! Writing files that are mapped and read at random.

use std::io::{self, Write};

/// Bytes of a large page.
const BLOCK: usize = 2 << 20;

/// Hands a file's bytes over in whole large pages, each at its place. Linux (6.x: XFS, ext4) keeps what one such call wrote
/// in one page of its cache, whose mapping needs one entry of the processor's where small pages need 512; a look-up at
/// random waits for few things but those. [`Write::flush`] writes the rest: once, at the end.
pub(crate) struct Blocks<W> {
    inner: W,
    held: Vec<u8>,
}

impl<W: Write> Blocks<W> {
    /// `inner` is empty.
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, held: Vec::with_capacity(BLOCK) }
    }

    /// What is behind it, with all of the bytes.
    ///
    /// # Errors
    /// Of writing the last of them.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Blocks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.held.len() == BLOCK {
            self.inner.write_all(&self.held)?;
            self.held.clear();
        }
        let taken = bytes.len().min(BLOCK - self.held.len());
        self.held.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.write_all(&self.held)?;
        self.held.clear();
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Blocks};
    use std::io::{self, Write};

    /// The lengths of what comes, and all of it.
    #[derive(Default)]
    struct Calls(Vec<usize>, Vec<u8>);

    impl Write for Calls {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_call_but_the_last_is_a_whole_block() {
        let all: Vec<u8> = (0..3 * BLOCK + 12_345).map(|n| (n % 251) as u8).collect();
        let mut blocks = Blocks::new(Calls::default());
        let (mut rest, mut piece) = (&all[..], 1);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            blocks.write_all(now).unwrap();
            (rest, piece) = (later, (piece * 3) % (BLOCK + BLOCK / 2) + 1);
        }
        let Calls(lengths, written) = blocks.finish().unwrap();
        assert_eq!(lengths, [BLOCK, BLOCK, BLOCK, 12_345]);
        assert!(written == all);
    }

    #[test]
    fn nothing_becomes_an_empty_file() {
        assert_eq!(Blocks::new(Calls::default()).finish().unwrap().1, b"");
    }

    /// Gives back an error of the disk, and keeps no byte of a block that was written.
    #[test]
    fn a_full_disk_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut blocks = Blocks::new(Full);
        let told = blocks.write_all(&vec![0; BLOCK + 1]).unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::StorageFull);
    }
}
