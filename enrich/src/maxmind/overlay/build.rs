//! Building an overlay: a merge of sorted ranges, a bucket at a time.

use std::io::{self, Write};

use super::{HEADER, MAGIC, MAX_EDITIONS};
use crate::maxmind::generation::Generation;
use crate::maxmind::index::format::BUCKETS;
use crate::maxmind::index::{IndexError, Ranges};

/// Buckets between two looks at `breathe`.
const BREATH: usize = 256;

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
    if generations.len() > MAX_EDITIONS {
        return Err(IndexError::TooLarge);
    }
    let (mut buckets, mut halves): (Vec<u32>, Vec<u16>) = (Vec::with_capacity(BUCKETS + 1), Vec::new());
    let (mut starts, mut words) = (Vec::new(), Vec::new());
    for bucket in 0..BUCKETS {
        if bucket.is_multiple_of(BREATH) {
            breathe();
        }
        buckets.push(u32::try_from(halves.len()).map_err(|_| IndexError::TooLarge)?);
        starts.clear();
        words.clear();
        cut(&generations, bucket, &mut starts, &mut words);
        halves.extend(&starts);
        if starts.len() % 2 == 1 {
            halves.push(0);
        }
        halves.extend(words.iter().flat_map(|word| [*word as u16, (*word >> 16) as u16]));
    }
    buckets.push(u32::try_from(halves.len()).map_err(|_| IndexError::TooLarge)?);
    let mut header = [0u8; HEADER];
    for (at, word) in [MAGIC, generations.len() as u64, halves.len() as u64].into_iter().enumerate() {
        header[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    out.write_all(&header)?;
    write(out, buckets.iter().map(|at| at.to_le_bytes()))?;
    write(out, halves.iter().map(|half| half.to_le_bytes()))?;
    Ok(())
}

fn write<const N: usize>(out: &mut impl Write, elements: impl Iterator<Item = [u8; N]>) -> io::Result<()> {
    let bytes: Vec<u8> = elements.flatten().collect();
    out.write_all(&bytes)
}

/// Cuts the ranges of one bucket at each other's borders. Neighbours that hold the same are one.
fn cut(generations: &[&Generation], bucket: usize, starts: &mut Vec<u16>, words: &mut Vec<u32>) {
    let mut all: Vec<Ranges<'_>> = Vec::with_capacity(generations.len());
    for generation in generations {
        let found = generation.index().and_then(|(index, bytes)| index.bucket(bytes, bucket));
        all.push(found.unwrap_or_default());
    }
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
        if starts.is_empty() || !words.ends_with(&current) {
            starts.push(start);
            words.extend(&current);
        }
        match next {
            Some(next) => start = next,
            None => return,
        }
    }
}
