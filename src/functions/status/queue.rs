//! How many addresses wait in the queue: counted while it is short; where it is long, estimated from some of its blocks,
//! with how far that may be off. It must not take longer the more there is.
//!
//! The last blocks are all read: before VACUUM comes, new rows stand there and nowhere else. Of the others, one block out
//! of each of equally long stretches is read. Which of a stretch, is as good as random and always the same: what loaders
//! write at regular distances is not mistaken for the whole, and two looks at one queue give one number. A queue whose
//! first half was absorbed, or that lies in its file as packed rows here and single ones there, is seen as that.
#![allow(unsafe_code, reason = "reads blocks of the queue below SQL")]

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use crate::ingest::queued::{MAX_COLUMNS, is_queue};
use crate::pg::call::Call;
use crate::pg::catalog::Schema;
use crate::sql_function;

/// Up to so many blocks, 2 MB, all of it is counted.
const COUNTED: u32 = 256;
/// Beyond, so many at its end are read,
const LAST: u32 = 64;
/// and so many of the others.
const SAMPLE: u32 = 128;
/// Addresses of a block, if none was seen that has any: single rows.
const USUAL: f64 = 100.0;

sql_function!(
    /// `_queue_length() → (addresses, off_by)`.
    queue_length,
    pg_finfo_queue_length,
    |call: Call| {
        let length = length(&Schema::of(call));
        let number = |n: Option<u64>| Datum::from(n.unwrap_or(0) as i64);
        let mut values = [number(length.map(|length| length.addresses)), number(length.map(|length| length.off_by))];
        call.row(&mut values, &mut [length.is_none(); 2])
    }
);

/// How many addresses wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    /// So many.
    pub addresses: u64,
    /// Give or take so many, in nineteen cases of twenty; 0: they were counted.
    pub off_by: u64,
}

impl Length {
    /// Whether anything may wait: not, where all was counted and nothing found.
    pub fn may_wait(&self) -> bool {
        self.addresses > 0 || self.off_by > 0
    }
}

/// Of the queue in a schema; `None` where it is not there, or not as the extension made it. Asks for no rights: it tells a
/// number and no address.
pub fn length(schema: &Schema) -> Option<Length> {
    // SAFETY: a heap scan under a registered snapshot, over blocks that are there; a tuple is read before the scan moves
    // on. After an error, the transaction's abort ends the scan.
    unsafe {
        let oid = schema.relation(c"ip_observation");
        if oid == pg_sys::InvalidOid {
            return None;
        }
        let relation = pg_sys::table_open(oid, pg_sys::AccessShareLock as i32);
        if !is_queue(relation) {
            pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
            return None;
        }
        let blocks = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetActiveSnapshot());
        let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;
        let scan = pg_sys::heap_beginscan(relation, snapshot, 0, std::ptr::null_mut(), std::ptr::null_mut(), flags);
        let desc = (*relation).rd_att;
        let found = if blocks <= COUNTED {
            Length { addresses: count(scan, desc), off_by: 0 }
        } else {
            let others = blocks - LAST;
            let mut begun = false;
            let mut of_block = |block: u32| {
                pgrx::check_for_interrupts!();
                if std::mem::replace(&mut begun, true) {
                    pg_sys::heap_rescan(scan, std::ptr::null_mut(), false, false, false, false);
                }
                pg_sys::heap_setscanlimits(scan, block, 1);
                count(scan, desc)
            };
            let sample: Vec<u64> = (0..SAMPLE).map(|stretch| of_block(block_of(stretch, others))).collect();
            let last: Vec<u64> = (others..blocks).map(of_block).collect();
            estimate(&sample, others, &last)
        };
        pg_sys::heap_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        Some(found)
    }
}

/// Adds up the addresses in the rows of a scan.
///
/// # Safety
/// The scan must be one of a table with the queue's columns, which `desc` describes.
unsafe fn count(scan: pg_sys::TableScanDesc, desc: pg_sys::TupleDesc) -> u64 {
    let (mut values, mut nulls) = ([Datum::null(); MAX_COLUMNS], [false; MAX_COLUMNS]);
    let mut addresses = 0;
    // SAFETY: see above; as many values as columns, and the eighth is an integer.
    unsafe {
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                return addresses;
            }
            pg_sys::heap_deform_tuple(tuple, desc, values.as_mut_ptr(), nulls.as_mut_ptr());
            addresses += if nulls[7] { 0 } else { (values[7].value() as i32).max(0) as u64 };
        }
    }
}

/// The block that is read of a stretch.
fn block_of(stretch: u32, blocks: u32) -> u32 {
    let begin = |stretch: u32| (u64::from(stretch) * u64::from(blocks) / u64::from(SAMPLE)) as u32;
    let (from, to) = (begin(stretch), begin(stretch + 1));
    // Of a multiplication, the upper bits are as good as random.
    let dice = (u64::from(stretch) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    from + (dice % u64::from(to - from)) as u32
}

/// The estimate from a sample of the blocks, and those at the end, which were all read. Its margin is two standard errors:
/// the differences between neighbours show how much a block may differ from its stretch, independent of the file as a
/// whole. It is never nothing: where all blocks of a sample are alike, up to three in as many as were read may differ, in
/// nineteen cases of twenty.
fn estimate(sample: &[u64], others: u32, last: &[u64]) -> Length {
    let (read, blocks) = (sample.len() as f64, f64::from(others));
    let sum: f64 = sample.iter().map(|count| *count as f64).sum();
    let squares: f64 = sample.windows(2).map(|pair| (pair[1] as f64 - pair[0] as f64).powi(2)).sum();
    let variance = (1.0 - read / blocks) * squares / (2.0 * (read - 1.0)) / read;
    let filled: Vec<f64> = sample.iter().chain(last).filter(|count| **count > 0).map(|count| *count as f64).collect();
    let of_one = if filled.is_empty() { USUAL } else { filled.iter().sum::<f64>() / filled.len() as f64 };
    let unseen = 3.0 * blocks / read * of_one;
    Length {
        addresses: (sum / read * blocks).round() as u64 + last.iter().sum::<u64>(),
        off_by: (2.0 * blocks * variance.sqrt()).max(unseen).ceil() as u64,
    }
}
