//! The header of a row that this transaction has just written, in its page.

use std::mem::offset_of;

use pgrx::pg_sys;

use super::raw;

/// In the place of a row's successor: the row is inserted on trial, by an INSERT with ON CONFLICT. (`SpecTokenOffsetNumber`,
/// which no header of PostgreSQL's exports.)
const ON_TRIAL: u16 = 0xfffe;

/// What a row's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was inserted, and stays unless its transaction is aborted.
    Inserted,
    /// It is the new version of a row that was updated.
    Updated,
    /// It was inserted on trial: a conflict may still take it back. The number is that of the attempt: the same place may be given
    /// to another one.
    OnTrial(u32),
    /// There is no row of this transaction at that place: it was taken back.
    Nothing,
}

/// How the row at `place` of a heap came there. Errors jump out to the nearest guard: see [`raw`].
///
/// # Safety
/// `relation` must be an open and locked table in a heap, and `place` one to which this transaction wrote a row.
pub unsafe fn written(relation: pg_sys::Relation, place: &pg_sys::ItemPointerData) -> Written {
    // SAFETY: the page is pinned and locked while it is read; the line pointer's number is checked against the page.
    unsafe {
        let block = u32::from(place.ip_blkid.bi_hi) << 16 | u32::from(place.ip_blkid.bi_lo);
        let buffer = raw::ReadBuffer(relation, block);
        raw::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
        let page = pg_sys::BufferGetPage(buffer).cast::<u8>();
        let head = &*page.cast::<pg_sys::PageHeaderData>();
        let number = usize::from(place.ip_posid);
        let end = offset_of!(pg_sys::PageHeaderData, pd_linp) + number * size_of::<pg_sys::ItemIdData>();
        let line = &*head.pd_linp.as_ptr().add(number.wrapping_sub(1));
        let is_row = number > 0 && end <= usize::from(head.pd_lower) && line.lp_flags() == pg_sys::LP_NORMAL;
        let written = if is_row {
            let header = &*page.add(line.lp_off() as usize).cast::<pg_sys::HeapTupleHeaderData>();
            if !raw::TransactionIdIsCurrentTransactionId(header.t_choice.t_heap.t_xmin) {
                Written::Nothing
            } else if u32::from(header.t_infomask) & pg_sys::HEAP_UPDATED != 0 {
                Written::Updated
            } else if header.t_ctid.ip_posid == ON_TRIAL {
                // The speculative token stands where the successor's block would.
                let token = header.t_ctid.ip_blkid;
                Written::OnTrial(u32::from(token.bi_hi) << 16 | u32::from(token.bi_lo))
            } else {
                Written::Inserted
            }
        } else {
            Written::Nothing
        };
        raw::UnlockReleaseBuffer(buffer);
        written
    }
}
