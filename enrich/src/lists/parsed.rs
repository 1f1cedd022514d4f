//! What reading one file gives: its entries, and what was wrong with it.

use serde::{Deserialize, Serialize};

use super::span::{Entry, Span};

/// Most entries of all lists together.
pub const MOST_ENTRIES: u64 = 20_000_000;
/// Most entries of IPv6 among them: each needs four times the memory.
pub const MOST_ENTRIES_V6: u64 = 5_000_000;

/// The entries of one file.
#[derive(Debug, Default)]
pub struct Parsed {
    /// First and last address of each IPv4 entry; disjoint and ascending after [`Parsed::finish`].
    pub v4: Vec<(u32, u32)>,
    /// The same of IPv6.
    pub v6: Vec<(u128, u128)>,
    /// How many entries were read, of both families.
    pub entries: [u64; 2],
    /// Lines that are none.
    pub bad: Lines,
    /// Networks with host bits.
    pub host_bits: Lines,
}

/// How many lines there are of a kind, and the number of the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// How many.
    pub count: u64,
    /// The first, counted from 1; 0: there is none.
    pub first: u64,
}

impl Lines {
    /// One more, at that line.
    pub fn note(&mut self, line: u64) {
        self.count += 1;
        if self.first == 0 {
            self.first = line;
        }
    }
}

/// How many entries the other lists leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Of both families.
    pub entries: u64,
    /// Of IPv6.
    pub v6: u64,
}

impl Default for Room {
    fn default() -> Room {
        Room { entries: MOST_ENTRIES, v6: MOST_ENTRIES_V6 }
    }
}

impl Parsed {
    /// Takes an entry from a line.
    ///
    /// # Errors
    /// The reason against the file: there are too many.
    pub fn add(&mut self, entry: Entry, line: u64, room: Room) -> Result<(), String> {
        if entry.has_host_bits {
            self.host_bits.note(line);
        }
        match entry.span {
            Span::V4(first, last) => {
                self.entries[0] += 1;
                self.v4.push((first, last));
            }
            Span::V6(first, last) => {
                self.entries[1] += 1;
                self.v6.push((first, last));
            }
        }
        if self.total() > room.entries {
            return Err(format!(
                "more than {} entries, which is what other lists leave of {MOST_ENTRIES} in all",
                room.entries
            ));
        }
        if self.entries[1] > room.v6 {
            return Err(format!(
                "more than {} IPv6 entries, which is what other lists leave of {MOST_ENTRIES_V6} in all",
                room.v6
            ));
        }
        Ok(())
    }

    /// How many entries were read.
    pub fn total(&self) -> u64 {
        self.entries[0] + self.entries[1]
    }

    /// Sorts the entries and joins those that overlap or touch.
    #[must_use]
    pub fn finish(mut self) -> Parsed {
        join(&mut self.v4, |last| last.checked_add(1));
        join(&mut self.v6, |last| last.checked_add(1));
        self
    }

    /// How many IPv4 addresses the list holds, each counted once.
    pub fn addresses_v4(&self) -> u64 {
        self.v4.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// One line about what was wrong, if anything was.
    pub fn warning(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.bad.count > 0 {
            let Lines { count, first } = self.bad;
            let them = if count == 1 { "line is" } else { "lines are" };
            parts.push(format!("{count} {them} not an address, a network or a range (the first is line {first})"));
        }
        if self.host_bits.count > 0 {
            let Lines { count, first } = self.host_bits;
            let them = if count == 1 { "network has" } else { "networks have" };
            parts.push(format!("{count} {them} host bits, taken as the whole network (the first is in line {first})"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

fn join<T: Ord + Copy>(spans: &mut Vec<(T, T)>, after: impl Fn(T) -> Option<T>) {
    // Most lists come in order.
    if !spans.is_sorted() {
        spans.sort_unstable();
    }
    spans.dedup_by(|next, kept| {
        let touches = after(kept.1).is_none_or(|after| next.0 <= after);
        if touches {
            kept.1 = kept.1.max(next.1);
        }
        touches
    });
    spans.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::super::span::entry;
    use super::*;

    #[test]
    fn entries_that_overlap_or_touch_become_one() {
        let mut parsed = Parsed::default();
        for (line, text) in ["10.0.1.0/24", "10.0.0.0/24", "10.0.0.7", "10.0.3.0/24", "255.255.255.255", "255.0.0.0/8"]
            .into_iter()
            .enumerate()
        {
            parsed.add(entry(text.as_bytes()).unwrap(), line as u64 + 1, Room::default()).unwrap();
        }
        for text in ["::/1", "8000::/1", "::1"] {
            parsed.add(entry(text.as_bytes()).unwrap(), 1, Room::default()).unwrap();
        }
        let parsed = parsed.finish();
        let v4 = [(0x0a00_0000, 0x0a00_01ff), (0x0a00_0300, 0x0a00_03ff), (0xff00_0000, u32::MAX)];
        assert_eq!(parsed.v4, v4);
        assert_eq!(parsed.v6, [(0, u128::MAX)]);
        assert_eq!((parsed.entries, parsed.addresses_v4()), ([6, 3], 512 + 256 + (1 << 24)));
        assert_eq!(parsed.warning(), None);
    }

    #[test]
    fn there_are_not_too_many() {
        let mut parsed = Parsed::default();
        let room = Room { entries: 2, v6: 1 };
        let mut add = |text: &str| parsed.add(entry(text.as_bytes()).unwrap(), 1, room);
        assert_eq!(add("::1"), Ok(()));
        assert!(add("::2").unwrap_err().contains("more than 1 IPv6 entries"));
        assert!(add("1.1.1.1").unwrap_err().contains("more than 2 entries"));
    }
}
