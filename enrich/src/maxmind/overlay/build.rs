//! Building an overlay: a merge of sorted ranges, a bucket at a time.

use std::collections::HashMap;
use std::io::{self, Write};

use super::{HEADER, MAGIC};
use crate::maxmind::generation::Generation;
use crate::maxmind::index::format::{BUCKETS, push};
use crate::maxmind::index::{IndexError, Position};
use crate::maxmind::merge::Merged;

/// Buckets between two looks at `breathe`.
const BREATH: usize = 256;

/// A bucket's ranges in one index.
type Ranges<'a> = (&'a [[u8; 2]], &'a [[u8; 4]]);

/// Writes the overlay of generations, given in the order of the list. `breathe` is called now and then.
///
/// # Errors
/// [`IndexError`]; nothing of `out` may be used then.
pub(in crate::maxmind) fn build<'a>(
    generations: impl Iterator<Item = &'a Generation>,
    out: &mut impl Write,
    breathe: &dyn Fn(),
) -> Result<(), IndexError> {
    let generations: Vec<&Generation> = generations.filter(|generation| !generation.fields().is_empty()).collect();
    let mut combinations = Combinations { generations: &generations, known: HashMap::new(), blob: Vec::new() };
    let (mut buckets, mut halves): (Vec<u32>, Vec<u16>) = (Vec::with_capacity(BUCKETS + 1), Vec::new());
    let (mut starts, mut words) = (Vec::new(), Vec::new());
    for bucket in 0..BUCKETS {
        if bucket.is_multiple_of(BREATH) {
            breathe();
        }
        buckets.push(u32::try_from(halves.len()).map_err(|_| IndexError::TooLarge)?);
        (starts.clear(), words.clear());
        combinations.cut(bucket, &mut starts, &mut words)?;
        halves.extend(&starts);
        if starts.len() % 2 == 1 {
            halves.push(0);
        }
        halves.extend(words.iter().flat_map(|word| [*word as u16, (*word >> 16) as u16]));
    }
    buckets.push(u32::try_from(halves.len()).map_err(|_| IndexError::TooLarge)?);
    let mut header = [0u8; HEADER];
    for (at, word) in [MAGIC, halves.len() as u64, combinations.blob.len() as u64].into_iter().enumerate() {
        header[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    out.write_all(&header)?;
    write(out, buckets.iter().map(|at| at.to_le_bytes()))?;
    write(out, halves.iter().map(|half| half.to_le_bytes()))?;
    out.write_all(&combinations.blob)?;
    Ok(())
}

fn write<const N: usize>(out: &mut impl Write, elements: impl Iterator<Item = [u8; N]>) -> io::Result<()> {
    let bytes: Vec<u8> = elements.flatten().collect();
    out.write_all(&bytes)
}

/// The combinations of records that occur, each merged once.
struct Combinations<'a> {
    generations: &'a [&'a Generation],
    /// By the records' positions: where the merged one stands, and whose network it has.
    known: HashMap<Box<[u32]>, (Position, usize)>,
    blob: Vec<u8>,
}

impl<'a> Combinations<'a> {
    /// Cuts the ranges of one bucket at each other's borders. Neighbours that say the same are one.
    fn cut(&mut self, bucket: usize, starts: &mut Vec<u16>, words: &mut Vec<u32>) -> Result<(), IndexError> {
        let generations = self.generations;
        let ranges = |generation: &'a Generation| -> Ranges<'a> {
            let found = generation.index().and_then(|(index, bytes)| index.bucket(bytes, bucket));
            found.unwrap_or_default()
        };
        let all: Vec<Ranges<'a>> = generations.iter().copied().map(ranges).collect();
        // Of each index the range that holds the present start.
        let mut at = vec![0usize; all.len()];
        let mut current = vec![0u32; all.len()];
        let mut start = 0u16;
        loop {
            let mut next = None;
            for (((begins, held), at), word) in all.iter().zip(&mut at).zip(&mut current) {
                while begins.get(*at + 1).is_some_and(|begin| u16::from_le_bytes(*begin) <= start) {
                    *at += 1;
                }
                *word = held.get(*at).map_or(0, |word| u32::from_le_bytes(*word));
                let begin = begins.get(*at + 1).map(|begin| u16::from_le_bytes(*begin));
                next = begin.into_iter().chain(next).min();
            }
            let word = self.word(&current)?;
            if words.last() != Some(&word) {
                starts.push(start);
                words.push(word);
            }
            match next {
                Some(next) => start = next,
                None => return Ok(()),
            }
        }
    }

    /// The word of a combination of words.
    fn word(&mut self, words: &[u32]) -> Result<u32, IndexError> {
        if words.iter().all(|word| *word == 0) {
            return Ok(0);
        }
        let positions: Box<[u32]> = words.iter().map(|word| word >> 6).collect();
        let (position, whose) = match self.known.get(&positions) {
            Some(known) => *known,
            None => {
                let merged = self.merge(&positions)?;
                self.known.insert(positions, merged);
                merged
            }
        };
        Ok(if position.0 == 0 { 0 } else { position.0 << 6 | words[whose] & 63 })
    }

    fn merge(&mut self, positions: &[u32]) -> Result<(Position, usize), IndexError> {
        let mut merged = Merged::default();
        for (at, (generation, position)) in self.generations.iter().zip(positions).enumerate() {
            let found = generation.index().and_then(|(index, bytes)| index.record(bytes, Position(*position)));
            if let Some(record) = found {
                // In place of a length the number of the generation: it is the same for all networks of these records.
                merged.add(&record.only(generation.fields()), u8::try_from(at).map_err(|_| IndexError::TooLarge)?);
            }
        }
        let position = push(&mut self.blob, &merged.record()).ok_or(IndexError::TooLarge)?;
        Ok((position, merged.prefix().unwrap_or(0).into()))
    }
}
