//! A list of addresses that may be longer than memory should hold: a file in which each address takes the same number of
//! bytes, so that each reader reads only its own part; and sorting, a part in memory at a time.
//!
//! ```text
//! entry: 4 or 6 · address (16 bytes, an IPv4 address in the first four)
//! ranked: complement of a number (8 bytes, big-endian) · entry
//! ```
//!
//! Entries sort, byte by byte, as addresses do; ranked ones by their number, the highest first, and then as addresses do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::durable::RemoveOnDrop;

/// Bytes of an entry.
pub const WIDTH: usize = 17;
/// An address as the file has it.
pub type Entry = [u8; WIDTH];

/// Bytes of a ranked entry.
pub const RANKED_WIDTH: usize = 8 + WIDTH;
/// An address with a number to sort it by.
pub type Ranked = [u8; RANKED_WIDTH];

/// Records of a run that are read at a time, when runs are merged.
const READ: u64 = 4096;

/// An address as an entry.
pub fn entry(ip: IpAddr) -> Entry {
    let mut entry = [0; WIDTH];
    match ip {
        IpAddr::V4(v4) => {
            entry[0] = 4;
            entry[1..5].copy_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            entry[0] = 6;
            entry[1..].copy_from_slice(&v6.octets());
        }
    }
    entry
}

/// The address of an entry; `None`: it is not one.
pub fn address(entry: &[u8]) -> Option<IpAddr> {
    let (family, address) = entry.split_first()?;
    let octets = <[u8; 16]>::try_from(address).ok()?;
    match family {
        4 if octets[4..] == [0; 12] => Some(<[u8; 4]>::try_from(&octets[..4]).ok()?.into()),
        6 => Some(octets.into()),
        _ => None,
    }
}

/// An address as an entry that sorts by a number, the highest first.
pub fn ranked(ip: IpAddr, number: u64) -> Ranked {
    let mut ranked = [0; RANKED_WIDTH];
    ranked[..8].copy_from_slice(&(!number).to_be_bytes());
    ranked[8..].copy_from_slice(&entry(ip));
    ranked
}

/// The address of a ranked entry.
///
/// # Errors
/// It is not one.
pub fn unranked(ranked: &Ranked) -> io::Result<IpAddr> {
    address(&ranked[8..]).ok_or_else(|| wrong("a ranked entry is not an address".to_owned()))
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A list that is open.
#[derive(Debug)]
pub struct Roster {
    file: File,
    len: u64,
}

impl Roster {
    /// Opens a list; `total`: how many addresses it has, where that is known. One that is left out in silence would count as
    /// done.
    ///
    /// # Errors
    /// Those of the file system; it has another number of addresses.
    pub fn open(path: &Path, total: Option<u64>) -> io::Result<Roster> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let len = bytes / WIDTH as u64;
        match total {
            Some(total) if total != len => Err(wrong(format!("it has {len} of {total} addresses"))),
            _ if bytes % WIDTH as u64 != 0 => Err(wrong(format!("entry {} is not an address", len + 1))),
            _ => Ok(Roster { file, len }),
        }
    }

    /// How many addresses it has.
    pub fn total(&self) -> u64 {
        self.len
    }

    /// The addresses from the place `from` (from 0) to before `to`, as far as there are so many.
    ///
    /// # Errors
    /// Those of the file system; an entry is not an address.
    pub fn read(&self, from: u64, to: u64) -> io::Result<Vec<IpAddr>> {
        let count = to.min(self.len).saturating_sub(from);
        let mut bytes = vec![0; usize::try_from(count).map_err(io::Error::other)? * WIDTH];
        self.file.read_exact_at(&mut bytes, from * WIDTH as u64)?;
        let at = |(n, bytes)| address(bytes).ok_or_else(|| wrong(format!("entry {} is not an address", from + n + 1)));
        (0..).zip(bytes.chunks_exact(WIDTH)).map(at).collect()
    }
}

/// Writes a list of entries as they come, beside the one that is there: that one stays as it is until the new one is whole,
/// and nothing of one that fails takes room. Returns how many there are.
///
/// # Errors
/// Those of the file system, and of the entries.
pub fn write(path: &Path, entries: impl Iterator<Item = io::Result<Entry>>) -> io::Result<u64> {
    let draft = path.with_extension("tmp");
    let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
    let _removed = RemoveOnDrop(&draft);
    let mut file = BufWriter::new(file);
    let mut len = 0;
    for entry in entries {
        file.write_all(&entry?)?;
        len += 1;
    }
    file.flush()?;
    fs::rename(&draft, path)?;
    Ok(len)
}

/// Sorts records of `N` bytes, and leaves out repetitions. What memory should not hold goes to a file, a sorted run at a time.
#[derive(Debug)]
pub struct Sorter<const N: usize> {
    path: PathBuf,
    /// Records that are held at most.
    most: usize,
    held: Vec<[u8; N]>,
    /// Runs one after the other. It has no name any more: it goes with the process, however that ends.
    file: Option<File>,
    /// Where each run ends, in records.
    ends: Vec<u64>,
}

impl<const N: usize> Sorter<N> {
    /// Of none yet. `path`: where a file may be made; `most`: how many records memory may hold.
    pub fn new(path: PathBuf, most: usize) -> Sorter<N> {
        Sorter { path, most: most.max(1), held: Vec::new(), file: None, ends: Vec::new() }
    }

    /// One more record.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn push(&mut self, record: [u8; N]) -> io::Result<()> {
        if self.held.len() >= self.most {
            self.spill()?;
        }
        self.held.push(record);
        Ok(())
    }

    fn sort(&mut self) {
        self.held.sort_unstable();
        self.held.dedup();
    }

    fn spill(&mut self) -> io::Result<()> {
        self.sort();
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut options = OpenOptions::new();
                options.create(true).read(true).write(true).truncate(true).mode(0o600);
                let file = options.open(&self.path)?;
                fs::remove_file(&self.path)?;
                none.insert(file)
            }
        };
        let mut file = BufWriter::with_capacity(1 << 18, file);
        self.held.iter().try_for_each(|record| file.write_all(record))?;
        file.flush()?;
        drop(file);
        self.ends.push(self.ends.last().unwrap_or(&0) + self.held.len() as u64);
        self.held.clear();
        Ok(())
    }

    /// All of them in order.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish(mut self) -> io::Result<Sorted<N>> {
        self.sort();
        let mut runs = Vec::with_capacity(self.ends.len() + 1);
        let mut at = 0;
        for end in self.ends {
            runs.push(Run { read: Vec::new().into_iter(), at, end });
            at = end;
        }
        runs.push(Run { read: self.held.into_iter(), at, end: at });
        let mut sorted = Sorted { file: self.file, runs, first: BinaryHeap::new(), last: None };
        (0..sorted.runs.len()).try_for_each(|run| sorted.advance(run))?;
        Ok(sorted)
    }
}

/// A run that is being read.
#[derive(Debug)]
struct Run<const N: usize> {
    read: std::vec::IntoIter<[u8; N]>,
    at: u64,
    end: u64,
}

/// Records in order, read as they are needed. The first error is the last item.
#[derive(Debug)]
pub struct Sorted<const N: usize> {
    file: Option<File>,
    runs: Vec<Run<N>>,
    /// The first record of each run, with the number of the run.
    first: BinaryHeap<Reverse<([u8; N], usize)>>,
    last: Option<[u8; N]>,
}

impl<const N: usize> Sorted<N> {
    fn advance(&mut self, number: usize) -> io::Result<()> {
        let run = &mut self.runs[number];
        if run.read.len() == 0
            && run.at < run.end
            && let Some(file) = &self.file
        {
            let count = (run.end - run.at).min(READ);
            let mut bytes = vec![0; count as usize * N];
            file.read_exact_at(&mut bytes, run.at * N as u64)?;
            let records: Vec<[u8; N]> = bytes.chunks_exact(N).filter_map(|record| record.try_into().ok()).collect();
            run.read = records.into_iter();
            run.at += count;
        }
        if let Some(record) = run.read.next() {
            self.first.push(Reverse((record, number)));
        }
        Ok(())
    }

    fn pop(&mut self) -> io::Result<Option<[u8; N]>> {
        while let Some(Reverse((record, run))) = self.first.pop() {
            self.advance(run)?;
            if self.last.replace(record) != Some(record) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

impl<const N: usize> Iterator for Sorted<N> {
    type Item = io::Result<[u8; N]>;

    fn next(&mut self) -> Option<io::Result<[u8; N]>> {
        let item = self.pop();
        if item.is_err() {
            self.first.clear();
        }
        item.transpose()
    }
}

#[cfg(test)]
mod tests;
