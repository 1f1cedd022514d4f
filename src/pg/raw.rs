//! The few PostgreSQL functions that the ingest loop calls for every row, without pgrx's guard around each.
//!
//! A guard saves the signal context, some 30 ns a call, and a row takes eight calls: together a quarter of the
//! trigger's cost. So the loop runs inside *one* guard, and these are PostgreSQL's functions as they are. An error in
//! one of them jumps straight out to that guard: no caller here may own anything that would have to be dropped. And no
//! panic may leave that guard, so none of pgrx's guarded functions is called inside it: a row that needs one is read
//! outside.

use pgrx::pg_sys::{self, Datum};

/// The beginning of a subscription as its worker knows it, the same in all versions.
#[repr(C)]
pub struct Subscription {
    oid: pg_sys::Oid,
    database: pg_sys::Oid,
    skip: u64,
    pub name: *const std::ffi::c_char,
}

unsafe extern "C-unwind" {
    /// In a process that applies what a subscription brings. pgrx has no binding of it.
    pub static MySubscription: *const Subscription;
    /// Asked for every row: no guard.
    pub fn IsLogicalWorker() -> bool;
    /// Only compared: what stands in the context of errors while a COPY reads its rows.
    pub fn CopyFromErrorCallback(arg: *mut std::ffi::c_void);
    /// The same: what stands there while a statement with parameters runs.
    pub fn ParamsErrorCallback(arg: *mut std::ffi::c_void);
    /// Of a database. pgrx has no binding of it.
    pub fn CountDBSubscriptions(database: pg_sys::Oid) -> std::ffi::c_int;
    pub fn tuplestore_gettupleslot(
        store: *mut pg_sys::Tuplestorestate,
        forward: bool,
        copy: bool,
        slot: *mut pg_sys::TupleTableSlot,
    ) -> bool;
    pub fn slot_getsomeattrs_int(slot: *mut pg_sys::TupleTableSlot, attribute: std::ffi::c_int);
    pub fn pg_detoast_datum_packed(datum: *mut pg_sys::varlena) -> *mut pg_sys::varlena;
    pub fn pg_detoast_datum(datum: *mut pg_sys::varlena) -> *mut pg_sys::varlena;
    pub fn getKeyJsonValueFromContainer(
        container: *mut pg_sys::JsonbContainer,
        key: *const std::ffi::c_char,
        len: std::ffi::c_int,
        result: *mut pg_sys::JsonbValue,
    ) -> *mut pg_sys::JsonbValue;
    pub fn heap_form_tuple(desc: pg_sys::TupleDesc, values: *mut Datum, nulls: *mut bool) -> pg_sys::HeapTuple;
    pub fn ExecStoreHeapTuple(
        tuple: pg_sys::HeapTuple,
        slot: *mut pg_sys::TupleTableSlot,
        free: bool,
    ) -> *mut pg_sys::TupleTableSlot;
    pub fn MemoryContextReset(context: pg_sys::MemoryContext);
    pub fn ReadBuffer(relation: pg_sys::Relation, block: pg_sys::BlockNumber) -> pg_sys::Buffer;
    pub fn LockBuffer(buffer: pg_sys::Buffer, mode: std::ffi::c_int);
    pub fn UnlockReleaseBuffer(buffer: pg_sys::Buffer);
    pub fn TransactionIdIsCurrentTransactionId(id: pg_sys::TransactionId) -> bool;
    pub fn timestamp2tm(
        timestamp: i64,
        zone: *mut std::ffi::c_int,
        parts: *mut pg_sys::pg_tm,
        fraction: *mut pg_sys::fsec_t,
        name: *mut *const std::ffi::c_char,
        attimezone: *mut pg_sys::pg_tz,
    ) -> std::ffi::c_int;
    pub fn DetermineTimeZoneOffset(parts: *mut pg_sys::pg_tm, zone: *mut pg_sys::pg_tz) -> std::ffi::c_int;
    pub fn tm2timestamp(
        parts: *mut pg_sys::pg_tm,
        fraction: pg_sys::fsec_t,
        zone: *mut std::ffi::c_int,
        timestamp: *mut i64,
    ) -> std::ffi::c_int;
}

unsafe extern "C-unwind" {
    /// For hooks on utility statements. pgrx's version catches every error and raises it again, and the new error has lost
    /// its context (the line of a COPY), its constraint's name and its position, and shows a backtrace to the user.
    pub fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        query: *const std::ffi::c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        destination: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

/// The value of a column, from 1; `None` when null.
///
/// # Safety
/// `slot` must hold a row that has this column, and the caller be inside a guard.
#[inline]
pub unsafe fn attribute(slot: *mut pg_sys::TupleTableSlot, number: i16) -> Option<Datum> {
    // SAFETY: as PostgreSQL's inline `slot_getattr`.
    unsafe {
        if number > (*slot).tts_nvalid {
            slot_getsomeattrs_int(slot, number.into());
        }
        let at = number as usize - 1;
        (!*(*slot).tts_isnull.add(at)).then(|| *(*slot).tts_values.add(at))
    }
}

/// Whether [`bytes`] calls nothing.
///
/// # Safety
/// `datum` must be a varlena.
#[inline]
pub unsafe fn is_plain(datum: Datum) -> bool {
    let varlena = datum.cast_mut_ptr::<pg_sys::varlena>();
    // SAFETY: see above.
    unsafe { !pgrx::varlena::varatt_is_1b_e(varlena) && !pgrx::varlena::varatt_is_4b_c(varlena) }
}

/// Whether [`jsonb_at`] calls nothing that could raise an error: following keys of what lies there uncompressed does not.
///
/// # Safety
/// `datum` must be a varlena.
#[inline]
pub unsafe fn is_flat(datum: Datum) -> bool {
    let varlena = datum.cast_mut_ptr::<pg_sys::varlena>();
    // SAFETY: see above.
    unsafe { !pgrx::varlena::varatt_is_1b(varlena) && pgrx::varlena::varatt_is_4b_u(varlena) }
}

/// The bytes of a text-like datum, detoasted where that is needed.
///
/// # Safety
/// `datum` must be a varlena, and the caller be inside a guard; the bytes live as long as it, or as the current context.
#[inline]
pub unsafe fn bytes<'a>(datum: Datum) -> &'a [u8] {
    // SAFETY: see above.
    unsafe {
        let mut varlena = datum.cast_mut_ptr::<pg_sys::varlena>();
        if !is_plain(datum) {
            varlena = pg_detoast_datum_packed(varlena);
        }
        pgrx::varlena::varlena_to_byte_slice(varlena)
    }
}

/// The value at a path of a jsonb.
pub enum Found<'a> {
    /// Nothing, or a null.
    Nothing,
    /// A string's content.
    Text(&'a [u8]),
    /// Anything else: PostgreSQL's own function turns it into text, outside of the guard.
    Other,
}

/// Walks a path of keys, in the server's encoding, through nested objects, and copies nothing.
///
/// # Safety
/// `datum` must be a jsonb, and the caller be inside a guard; the result lives as long as the datum, or as the
/// current context.
pub unsafe fn jsonb_at<'a>(datum: Datum, path: &[Vec<u8>]) -> Found<'a> {
    // SAFETY: a jsonb that is not toasted is a container behind a 4-byte header, aligned to four; values found in it
    // point into it.
    unsafe {
        let mut varlena = datum.cast_mut_ptr::<pg_sys::varlena>();
        if !is_flat(datum) {
            varlena = pg_detoast_datum(varlena);
        }
        let mut container = &raw mut (*varlena.cast::<pg_sys::Jsonb>()).root;
        let mut value = std::mem::MaybeUninit::<pg_sys::JsonbValue>::uninit();
        for (at, key) in path.iter().enumerate() {
            if (*container).header & pg_sys::JB_FOBJECT == 0 {
                return Found::Other;
            }
            let found = getKeyJsonValueFromContainer(
                container,
                key.as_ptr().cast(),
                key.len() as std::ffi::c_int,
                value.as_mut_ptr(),
            );
            if found.is_null() {
                return Found::Nothing;
            }
            let found = &*found;
            match found.type_ {
                pg_sys::jbvType::jbvNull => return Found::Nothing,
                pg_sys::jbvType::jbvString if at + 1 == path.len() => {
                    let string = found.val.string;
                    return Found::Text(std::slice::from_raw_parts(string.val.cast(), string.len as usize));
                }
                pg_sys::jbvType::jbvBinary if at + 1 < path.len() => container = found.val.binary.data,
                _ => return Found::Other,
            }
        }
        Found::Other
    }
}
