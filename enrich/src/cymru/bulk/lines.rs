//! Bytes as they come, cut into lines, in bounded memory.

use crate::cymru::grammar::ROW_BARS;

/// How much of a line is kept. Rows take about 120 bytes.
const MAX_LINE: usize = 4096;

/// The line that is not at its end yet.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    cut: bool,
}

impl Lines {
    /// Takes received bytes, and gives every complete line to `each`, without its end.
    ///
    /// Of a line that is too long the rest is dropped; it counts only if the cut is in its last field. A line without
    /// an end does not count: it may be half of an address.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            self.keep(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let bars = || self.line.iter().filter(|&&b| b == b'|').count();
            if !self.cut || bars() >= ROW_BARS {
                each(&self.line);
            }
            self.line.clear();
            self.cut = false;
        }
        self.keep(bytes);
    }

    /// Whether the last line that came was complete.
    pub fn is_between(&self) -> bool {
        self.line.is_empty()
    }

    /// What came of the line that is not at its end yet.
    pub fn rest(&self) -> &[u8] {
        &self.line
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.line.len();
        self.cut |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut lines = Lines::default();
        for piece in pieces {
            lines.feed(piece, |line| all.push(line.to_vec()));
            assert!(lines.line.len() <= MAX_LINE);
        }
        all
    }

    #[test]
    fn a_line_comes_whole_however_it_was_cut() {
        assert_eq!(lines(&[b"on", b"e\ntw", b"o", b"\n\nthr"]), [&b"one"[..], b"two", b""]);
    }

    #[test]
    fn a_long_line_counts_only_if_its_last_field_is_cut() {
        let noise = [b'x'; 3 * MAX_LINE];
        assert_eq!(lines(&[b"1|2", &noise, b"|3|4|5|6|7\nshort\n"]), [b"short"]);
        let cut = lines(&[b"1|2|3|4|5|6|", &noise, &noise, b"\n"]);
        assert_eq!(cut.len(), 1);
        assert_eq!(cut[0].len(), MAX_LINE);
    }
}
