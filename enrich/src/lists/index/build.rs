//! Building the index: one sweep over the ranges of all lists at once, a family after the other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, Write};

use super::format::{BUCKETS, MAGIC, SAMPLE};
use crate::lists::ranges::Ranges;

/// Borders between two looks at `breathe`.
const BREATH: u64 = 16_384;
/// Members of all sets together: lists that overlap in ever new ways must not fill the memory.
const MOST_MEMBERS: usize = 32 << 20;

/// Why lists cannot be indexed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// They overlap in too many ways.
    #[error("the lists overlap in more ways than an index holds: put fewer or smaller lists into the directory")]
    TooLarge,
    /// The index could not be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Writes the index of `lists`, which come in ascending order of their names.
///
/// # Errors
/// [`BuildError`]; nothing of `out` may be used then.
pub fn build(lists: &[(&str, Ranges<'_>)], out: &mut impl Write, breathe: &dyn Fn()) -> Result<(), BuildError> {
    let mut sets = Sets::default();
    let mut v4 = V4::default();
    let sources = lists.iter().map(|(_, ranges)| ranges.v4());
    sweep(sources, &mut sets, |last| last.checked_add(1), breathe, |start, set| v4.push(start, set))?;
    v4.finish();
    // The first range starts at the first address: a search need not ask whether there is one below.
    let (mut starts, mut ids) = (vec![0], vec![0]);
    let sources = lists.iter().map(|(_, ranges)| ranges.v6());
    sweep(
        sources,
        &mut sets,
        |last| last.checked_add(1),
        breathe,
        |start, set| {
            if start == 0 {
                ids[0] = set;
            } else {
                starts.push(start);
                ids.push(set);
            }
        },
    )?;
    u32::try_from(v4.starts.len().max(starts.len())).map_err(|_| BuildError::TooLarge)?;

    let members = sets.sets.iter().map(Vec::len).sum::<usize>();
    let names = lists.iter().map(|(name, _)| name.len()).sum::<usize>();
    out.write_all(&MAGIC.to_le_bytes())?;
    for word in [lists.len(), sets.sets.len(), members, v4.starts.len(), starts.len(), names, 0] {
        out.write_all(&(word as u64).to_le_bytes())?;
    }
    words(out, v4.buckets.iter().copied())?;
    for bucket in v4.buckets.windows(2) {
        let ranges = bucket[0] as usize..bucket[1] as usize;
        v4.starts[ranges.clone()].iter().try_for_each(|start| out.write_all(&start.to_le_bytes()))?;
        words(out, v4.sets[ranges].iter().copied())?;
    }
    for start in starts.iter().step_by(SAMPLE).chain(&starts) {
        out.write_all(&start.to_le_bytes())?;
    }
    words(out, ids.into_iter())?;
    words(out, ends(sets.sets.iter().map(Vec::len)))?;
    words(out, sets.sets.iter().flatten().copied())?;
    words(out, ends(lists.iter().map(|(name, _)| name.len())))?;
    for (name, _) in lists {
        out.write_all(name.as_bytes())?;
    }
    Ok(())
}

fn words(out: &mut impl Write, mut words: impl Iterator<Item = u32>) -> io::Result<()> {
    words.try_for_each(|word| out.write_all(&word.to_le_bytes()))
}

/// 0, and the sum of the lengths up to each one.
fn ends(lengths: impl Iterator<Item = usize>) -> impl Iterator<Item = u32> {
    let mut end = 0;
    std::iter::once(0).chain(lengths.map(move |length| {
        end += length as u32;
        end
    }))
}

/// Goes over the borders of all ranges in order, and says where each stretch begins and which set of lists it has.
fn sweep<T: Ord + Copy, R: Iterator<Item = (T, T)>>(
    lists: impl Iterator<Item = R>,
    sets: &mut Sets,
    after: impl Fn(T) -> Option<T>,
    breathe: &dyn Fn(),
    mut stretch: impl FnMut(T, u32),
) -> Result<(), BuildError> {
    let mut sources: Vec<R> = lists.collect();
    // Of each list its next border, and the one after it where that is the end of the range that begins there.
    let mut next: BinaryHeap<Reverse<(T, u32)>> = BinaryHeap::new();
    let mut ends: Vec<Option<T>> = vec![None; sources.len()];
    let begin = |source: &mut R, end: &mut Option<T>| {
        let (first, last) = source.next()?;
        *end = Some(last);
        Some(first)
    };
    for (list, (source, end)) in sources.iter_mut().zip(&mut ends).enumerate() {
        next.extend(begin(source, end).map(|first| Reverse((first, list as u32))));
    }
    let (mut set, mut told, mut borders) = (0, 0, 0u64);
    while let Some(Reverse((at, list))) = next.pop() {
        borders += 1;
        if borders.is_multiple_of(BREATH) {
            breathe();
        }
        set = sets.toggled(set, list)?;
        // A range that begins ends later; the end of the last address is no border.
        let upcoming = match ends[list as usize].take() {
            Some(last) => after(last),
            None => begin(&mut sources[list as usize], &mut ends[list as usize]),
        };
        next.extend(upcoming.map(|at| Reverse((at, list))));
        let is_last_here = next.peek().is_none_or(|Reverse((next, _))| *next != at);
        if is_last_here && set != told {
            stretch(at, set);
            told = set;
        }
    }
    Ok(())
}

/// The distinct sets of lists, each with its members in ascending order.
struct Sets {
    sets: Vec<Vec<u32>>,
    known: HashMap<Vec<u32>, u32>,
    /// From a set to the one with or without a list: most borders repeat one.
    ways: HashMap<(u32, u32), u32>,
    members: usize,
}

impl Default for Sets {
    fn default() -> Sets {
        Sets { sets: vec![Vec::new()], known: HashMap::from([(Vec::new(), 0)]), ways: HashMap::new(), members: 0 }
    }
}

impl Sets {
    fn toggled(&mut self, set: u32, list: u32) -> Result<u32, BuildError> {
        if let Some(way) = self.ways.get(&(set, list)) {
            return Ok(*way);
        }
        let mut members = self.sets[set as usize].clone();
        match members.binary_search(&list) {
            Ok(at) => drop(members.remove(at)),
            Err(at) => members.insert(at, list),
        }
        let number = match self.known.get(&members) {
            Some(number) => *number,
            None => {
                self.members += members.len();
                if self.members > MOST_MEMBERS {
                    return Err(BuildError::TooLarge);
                }
                let number = self.sets.len() as u32;
                self.sets.push(members.clone());
                self.known.insert(members, number);
                number
            }
        };
        self.ways.insert((set, list), number);
        Ok(number)
    }
}

/// IPv4 stretches as buckets of starts.
#[derive(Default)]
struct V4 {
    buckets: Vec<u32>,
    starts: Vec<u16>,
    sets: Vec<u32>,
    /// The set of the last stretch: a bucket begins with it.
    last: u32,
}

impl V4 {
    fn push(&mut self, start: u32, set: u32) {
        let (bucket, low) = ((start >> 16) as usize, (start & 0xffff) as u16);
        self.open_up_to(bucket);
        if low == 0 {
            // The bucket has begun with the stretch before.
            self.sets.pop();
            self.starts.pop();
        }
        self.starts.push(low);
        self.sets.push(set);
        self.last = set;
    }

    fn open_up_to(&mut self, bucket: usize) {
        while self.buckets.len() <= bucket {
            self.buckets.push(self.starts.len() as u32);
            self.starts.push(0);
            self.sets.push(self.last);
        }
    }

    fn finish(&mut self) {
        self.open_up_to(BUCKETS - 1);
        self.buckets.push(self.starts.len() as u32);
    }
}
