//! The flat index beside a database: a disk may bring back anything.
#![no_main]

use enrich::maxmind::index::Index;
use libfuzzer_sys::fuzz_target;

const DATABASE: u64 = 1_000;
/// A bucket for each first half of an IPv4 address, and the end of the last.
const BUCKETS: usize = (1 << 16) + 1;

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_first_chunk::<16>() else { return };
    // The kind of record in versions 1 and 2; the fields in version 6.
    let kind = u64::from(head[0] & 1) + 1;
    // A header and buckets made from few bytes, so that what stands behind them is reached.
    let (ranges, records) = (u64::from(head[1]), u64::from(head[2]));
    let (magic, header) = match head[0] & 6 {
        0 => (*b"asn_idx2", 64),
        2 => (*b"asn_idx1", 64),
        _ => (*b"asn_idx6", 128),
    };
    let blob = rest.len() as u64;
    let mut bytes = Vec::with_capacity(header + BUCKETS * 4 + rest.len() + 16 * 256);
    for word in [u64::from_le_bytes(magic), kind, ranges, records, blob, DATABASE, u64::from_le_bytes(*b"en\0\0\0\0\0\0")] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.resize(header, 0);
    // The shared texts of version 6.
    let shared = if header == 128 { rest } else { &[] };
    if header == 128 {
        bytes[96..104].copy_from_slice(&blob.to_le_bytes());
    }
    for bucket in 0..BUCKETS {
        // Wild where the last bytes say so, else all ranges in the one bucket that is asked.
        let at = match (head[3], bucket) {
            (0..128, ..=8) => 0,
            (0..128, _) => u32::from(head[1]),
            _ => u32::from_le_bytes([head[4 + bucket % 4], head[8 + bucket % 4], 0, head[12]]),
        };
        bytes.extend_from_slice(&at.to_le_bytes());
    }
    let tables = records as usize * 8 + ranges as usize * 6;
    bytes.extend(rest.iter().cycle().take(if rest.is_empty() { 0 } else { tables }));
    bytes.extend_from_slice(rest);
    bytes.extend_from_slice(shared);
    if let Some(index) = Index::open(&bytes, DATABASE) {
        for ip in [0, 0x0008_0000, 0x0008_0808, 0xffff_ffff, u32::from_le_bytes([head[12], head[13], 8, 0])] {
            let found = index.find_v4(&bytes, ip).map(|(position, _)| position);
            for position in [found, index.find_offset(&bytes, ip)].into_iter().flatten() {
                index.fetch(&bytes, position);
                let _ = (index.record(&bytes, position), index.asn(&bytes, position), index.country_code(&bytes, position));
            }
        }
    }
});
