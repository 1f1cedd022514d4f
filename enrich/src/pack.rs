//! Many observed addresses in few bytes: how one row of the queue holds the addresses of a statement. An IPv4 address
//! that was seen once, at the time of the statement, takes five bytes.
//!
//! ```text
//! version (1 byte) · base (8 bytes, big endian) · entries
//! entry: flags · address (4 or 16 bytes) · [count] · [first − base] · [last − first]
//! ```
//!
//! Numbers are LEB128, differences zigzag; values that the flags declare to be 1 or 0 are omitted. Times are in
//! microseconds, from any epoch.

use std::net::IpAddr;

/// The layout described above.
const VERSION: u8 = 1;
/// Bytes before the entries.
const HEADER: usize = 9;
/// Longest entry: flags, an IPv6 address, three numbers of ten bytes.
const LONGEST: usize = 1 + 16 + 3 * 10;

const IPV6: u8 = 1;
const COUNTED: u8 = 2;
const FIRST: u8 = 4;
const LAST: u8 = 8;

/// One address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub ip: IpAddr,
    /// How often it was seen.
    pub count: i64,
    /// First time.
    pub first: i64,
    /// Last time.
    pub last: i64,
}

/// Bytes under construction.
#[derive(Debug)]
pub struct Packer {
    base: i64,
    bytes: Vec<u8>,
    entries: u32,
}

impl Packer {
    /// Times are written as differences from `base`: close to most of them.
    pub fn new(base: i64, capacity: usize) -> Packer {
        let mut packer = Packer { base, bytes: Vec::with_capacity(capacity), entries: 0 };
        packer.clear();
        packer
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.push(VERSION);
        self.bytes.extend_from_slice(&self.base.to_be_bytes());
        self.entries = 0;
    }

    /// Whether any entry fits, with `limit` bytes in all.
    pub fn has_room(&self, limit: usize) -> bool {
        self.bytes.len() + LONGEST <= limit
    }

    /// Adds an address.
    pub fn push(&mut self, entry: &Entry) {
        let (first, last) = (entry.first.wrapping_sub(self.base), entry.last.wrapping_sub(entry.first));
        let flag = |bit, set: bool| if set { bit } else { 0 };
        let flags = flag(IPV6, entry.ip.is_ipv6())
            | flag(COUNTED, entry.count != 1)
            | flag(FIRST, first != 0)
            | flag(LAST, last != 0);
        self.bytes.push(flags);
        match entry.ip {
            IpAddr::V4(v4) => self.bytes.extend_from_slice(&v4.octets()),
            IpAddr::V6(v6) => self.bytes.extend_from_slice(&v6.octets()),
        }
        for (bit, number) in [(COUNTED, entry.count as u64), (FIRST, zigzag(first)), (LAST, zigzag(last))] {
            if flags & bit != 0 {
                leb128(&mut self.bytes, number);
            }
        }
        self.entries += 1;
    }

    /// How many there are.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The entries that bytes hold; ends where they cannot be read. [`Unpacker::is_broken`] tells that from their end.
pub fn unpack(bytes: &[u8]) -> Unpacker<'_> {
    match bytes.split_first_chunk::<HEADER>() {
        Some(([VERSION, base @ ..], rest)) => Unpacker { base: i64::from_be_bytes(*base), rest, broken: false },
        _ => Unpacker { base: 0, rest: &[], broken: true },
    }
}

/// See [`unpack`].
#[derive(Debug)]
pub struct Unpacker<'a> {
    base: i64,
    rest: &'a [u8],
    broken: bool,
}

impl Unpacker<'_> {
    /// Whether something was there that cannot be read.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn read(&mut self) -> Option<Entry> {
        let flags = self.take::<1>()?[0];
        let ip = if flags & IPV6 == 0 { IpAddr::from(self.take::<4>()?) } else { IpAddr::from(self.take::<16>()?) };
        let count = if flags & COUNTED == 0 { 1 } else { self.number()? as i64 };
        let first = if flags & FIRST == 0 { 0 } else { unzigzag(self.number()?) };
        let last = if flags & LAST == 0 { 0 } else { unzigzag(self.number()?) };
        let first = self.base.wrapping_add(first);
        (flags & !(IPV6 | COUNTED | FIRST | LAST) == 0 && count >= 0).then_some(Entry {
            ip,
            count,
            first,
            last: first.wrapping_add(last),
        })
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take::<1>()?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

impl Iterator for Unpacker<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.read();
        if entry.is_none() {
            (self.broken, self.rest) = (true, &[]);
        }
        entry
    }
}

fn leb128(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

const fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let time = prop_oneof![any::<i64>(), 820_000_000_000_000..820_000_100_000_000i64];
        (any::<IpAddr>(), prop_oneof![Just(1), 0..=i64::MAX], time.clone(), time)
            .prop_map(|(ip, count, first, last)| Entry { ip, count, first, last })
    }

    #[test]
    fn an_address_seen_once_at_the_time_of_the_statement_takes_five_bytes() {
        let mut packer = Packer::new(7, 64);
        packer.push(&Entry { ip: "8.8.8.8".parse().unwrap(), count: 1, first: 7, last: 7 });
        assert_eq!(packer.bytes().len() - HEADER, 5);
        packer.push(&Entry { ip: "2001:db8::1".parse().unwrap(), count: 1, first: 7, last: 7 });
        assert_eq!((packer.bytes().len() - HEADER, packer.entries()), (22, 2));
    }

    #[test]
    fn what_is_cut_or_of_another_version_is_broken() {
        let mut packer = Packer::new(0, 64);
        packer.push(&Entry { ip: "8.8.8.8".parse().unwrap(), count: 300, first: 1, last: 2 });
        for len in (1..HEADER).chain(HEADER + 1..packer.bytes().len()) {
            let mut found = unpack(&packer.bytes()[..len]);
            assert_eq!((found.next(), found.is_broken()), (None, true), "{len} bytes");
        }
        let mut other = packer.bytes().to_vec();
        other[0] = 2;
        assert!(unpack(&other).is_broken());
        assert!(unpack(&[]).is_broken());
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(entries in prop::collection::vec(entry(), 0..50), base: i64) {
            let mut packer = Packer::new(base, 64);
            for entry in &entries {
                let before = packer.bytes().len();
                packer.push(entry);
                prop_assert!(packer.bytes().len() - before <= LONGEST);
            }
            let mut found = unpack(packer.bytes());
            prop_assert_eq!(found.by_ref().collect::<Vec<_>>(), entries);
            prop_assert!(!found.is_broken());
        }

        #[test]
        fn no_bytes_panic_or_never_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let with_header = [&[VERSION; 1][..], &[0; 8], &bytes].concat();
            for bytes in [&bytes, &with_header] {
                prop_assert!(unpack(bytes).count() <= bytes.len());
            }
        }
    }
}
