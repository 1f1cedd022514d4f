//! Random files of any size with the distribution of real ones: announced blocks cut into networks of very
//! different number and length, some of them empty, over a pool of records that many networks share.
//! Deterministic by seed. The places are random: say "synthetic" beside any figure.

use super::encode::DataSection;
use super::places::{asn_record, city_record};
use super::random::Random;
use super::tree::Tree;
use super::value::Value;
use super::writer::{Header, write_file};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Which file to write, and how large.
#[derive(Clone, Debug)]
pub struct Plan {
    /// City, or ASN.
    pub edition: Edition,
    /// About this many IPv4 networks.
    pub ipv4: u64,
    /// About this many IPv6 networks.
    pub ipv6: u64,
    /// Distinct records.
    pub records: u32,
    /// The same seed, the same file.
    pub seed: u64,
    /// Seconds since 1970.
    pub build_epoch: u64,
}

/// The record's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// `GeoLite2-City`.
    City,
    /// `GeoLite2-ASN`.
    Asn,
}

/// An address with the record that the file has for it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// An address inside the network.
    pub ip: IpAddr,
    /// The network's length, in the address's own family.
    pub prefix: u8,
    /// The record.
    pub record: Value,
}

/// The written data.
#[derive(Clone, Debug)]
pub struct Summary {
    /// IPv4 networks.
    pub ipv4: u64,
    /// IPv6 networks.
    pub ipv6: u64,
    /// Nodes of the tree.
    pub nodes: usize,
    /// A few thousand addresses with their answers.
    pub samples: Vec<Sample>,
}

impl Plan {
    /// As large as MaxMind's: 53 MB.
    #[must_use]
    pub fn full_city(seed: u64, build_epoch: u64) -> Plan {
        Plan { edition: Edition::City, ipv4: 2_400_000, ipv6: 600_000, records: 120_000, seed, build_epoch }
    }

    /// As large as MaxMind's: 8 MB.
    #[must_use]
    pub fn full_asn(seed: u64, build_epoch: u64) -> Plan {
        Plan { edition: Edition::Asn, ipv4: 410_000, ipv6: 100_000, records: 80_000, seed, build_epoch }
    }

    /// The same, `divisor` times smaller.
    #[must_use]
    pub fn smaller(mut self, divisor: u32) -> Plan {
        self.ipv4 /= u64::from(divisor);
        self.ipv6 /= u64::from(divisor);
        self.records = (self.records / divisor).max(10);
        self
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, path: &Path) -> io::Result<Summary> {
        let mut random = Random::new(self.seed);
        let mut data = DataSection::with_pointers();
        // A full pool of records takes half a gigabyte: each is made again where it is needed.
        let offsets: Vec<u32> = (0..self.records).map(|index| data.record(&self.record(index))).collect();

        let mut maker = Maker {
            plan: self,
            tree: Tree::default(),
            offsets: &offsets,
            sample_every: (self.ipv4 + self.ipv6) / 5000 + 1,
            written: 0,
            samples: Vec::new(),
        };
        let longest = if self.edition == Edition::City { 32 } else { 24 };
        maker.ipv4(&mut random, self.ipv4, longest);
        let ipv4 = maker.written;
        maker.ipv6(&mut random, self.ipv6, if longest == 32 { 64 } else { 48 });
        let mut summary = Summary { ipv4, ipv6: maker.written - ipv4, nodes: 0, samples: maker.samples };
        let header = Header {
            edition: match self.edition {
                Edition::City => "GeoLite2-City",
                Edition::Asn => "GeoLite2-ASN",
            },
            description: "synthetic test data, not real locations",
            build_epoch: self.build_epoch,
            record_size: None,
            optional: None,
        };
        summary.nodes = maker.tree.len();
        write_file(path, maker.tree, &data, &header)?;
        Ok(summary)
    }

    /// The record of this number, the same whenever it is asked for.
    fn record(&self, index: u32) -> Value {
        let mut random = Random::new(self.seed ^ u64::from(index) << 32);
        match self.edition {
            Edition::City => city_record(&mut random, index),
            Edition::Asn => asn_record(&mut random, index),
        }
    }
}

/// How blocks are cut.
struct Cut {
    /// No network is longer.
    longest: u32,
    /// A network may fill only a part of its piece, up to so many bits longer: as IPv6 networks do.
    sparse: u64,
}

struct Maker<'a> {
    plan: &'a Plan,
    tree: Tree,
    offsets: &'a [u32],
    sample_every: u64,
    written: u64,
    samples: Vec<Sample>,
}

/// A few blocks are cut very fine, most hardly at all: parts of the mean, in percent, and their weights.
const FINENESS: &[(u64, u64)] = &[(5, 30), (30, 30), (100, 20), (200, 12), (600, 8)];
/// Of a hundred networks, so many have no record.
const EMPTY: u64 = 7;

impl Maker<'_> {
    /// Cuts every public /16.
    fn ipv4(&mut self, random: &mut Random, networks: u64, longest: u32) {
        let how = Cut { longest: longest + 96, sparse: 0 };
        let public = (0x0100..0xe000).filter(|block| is_public(*block));
        // A small file has fewer blocks, not coarser ones.
        let every = (0xdf00 * 5 / networks.max(1)).max(1) as usize;
        let blocks: Vec<u32> = public.step_by(every).collect();
        let mean = pieces_per_block(networks, blocks.len() as u64);
        for block in blocks {
            let pieces = fineness(random, mean);
            self.cut(random, u128::from(block) << 16, 112, pieces, &how);
        }
    }

    /// Cuts /32s, with gaps between them, from 2003:: on.
    fn ipv6(&mut self, random: &mut Random, networks: u64, longest: u32) {
        let how = Cut { longest, sparse: 8 };
        let blocks = networks / 30 + 1;
        let mean = pieces_per_block(networks, blocks);
        // The first 32 bits of the address; all that global unicast has room for.
        let (mut block, last) = (0x2003_0000_u64, 0x3fff_0000_u64);
        let stride = ((last - block) / blocks).clamp(1, 512);
        for _ in 0..blocks {
            block += 1 + random.below(stride);
            let pieces = fineness(random, mean);
            self.cut(random, u128::from(block) << 96, 32, pieces, &how);
        }
    }

    /// Cuts a network into `pieces`, unevenly, in address order.
    fn cut(&mut self, random: &mut Random, address: u128, length: u32, pieces: u64, how: &Cut) {
        if pieces <= 1 || length == how.longest {
            let more = random.below(how.sparse + 1) as u32;
            let longer = (length + more).min(how.longest);
            let spot = random.below(1 << (longer - length));
            self.put(random, address | u128::from(spot) << (128 - longer), longer);
            return;
        }
        let left = 1 + (random.below(pieces - 1) + random.below(pieces - 1)) / 2;
        let half = 1_u128 << (127 - length);
        self.cut(random, address, length + 1, left, how);
        self.cut(random, address | half, length + 1, pieces - left, how);
    }

    fn put(&mut self, random: &mut Random, address: u128, length: u32) {
        if random.below(100) < EMPTY {
            return;
        }
        let index = random.below(self.offsets.len() as u64) as usize;
        self.tree.insert(address, length, self.offsets[index]);
        if self.written.is_multiple_of(self.sample_every) {
            let inside = address | (u128::from(random.next_u64()) & (u128::MAX >> length));
            let (ip, prefix) = match u32::try_from(inside) {
                Ok(v4) => (IpAddr::V4(Ipv4Addr::from(v4)), length - 96),
                Err(_) => (IpAddr::V6(Ipv6Addr::from(inside)), length),
            };
            self.samples.push(Sample { ip, prefix: prefix as u8, record: self.plan.record(index as u32) });
        }
        self.written += 1;
    }
}

/// So many that, without the empty ones, `networks` remain. In hundredths.
fn pieces_per_block(networks: u64, blocks: u64) -> u64 {
    networks * 100 * 100 / (100 - EMPTY) / blocks
}

/// Whether a /16 (by its first two bytes) is outside of the large special-purpose ranges.
fn is_public(block: u32) -> bool {
    !matches!(
        (block >> 8, block & 0xff),
        (10 | 127, _) | (100, 64..=127) | (169, 254) | (172, 16..=31) | (192, 168) | (198, 18..=19)
    )
}

/// How many pieces a block is cut into, around a mean in hundredths.
fn fineness(random: &mut Random, mean: u64) -> u64 {
    let total = FINENESS.iter().map(|(_, weight)| weight).sum();
    let mut pick = random.below(total);
    let mut percent = 0;
    for (part, weight) in FINENESS {
        percent = *part;
        if pick < *weight {
            break;
        }
        pick -= weight;
    }
    // The weighted mean of FINENESS is 102.5 %; the remainder of a piece comes by chance.
    let hundredths = mean * percent * 1000 / 1025 / 100;
    (hundredths / 100 + u64::from(random.below(100) < hundredths % 100)).max(1)
}
