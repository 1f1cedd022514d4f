//! The numbers of the format.

pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"asn_lst1");
/// Bytes of an IPv4 range.
pub(super) const RANGE: usize = 6;
pub(super) const HEADER: usize = 64;
pub(super) const BUCKETS: usize = 1 << 16;
/// IPv6 ranges from one sample to the next.
pub(super) const SAMPLE: usize = 256;
