//! The calling convention of SQL functions: arguments as datums, null kept apart, sets as tuplestores or row by row.
//!
//! All SQL-visible functions are declared by hand in `sql/` and come in here, the hot ones and the cold ones alike:
//! one convention, and no conversions that a look-up of 0.1 µs would have to pay for.

use pgrx::IntoDatum;
use pgrx::datum::FromDatum;
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::inet::Inet;

/// One call of a SQL function.
#[derive(Clone, Copy)]
pub struct Call(pg_sys::FunctionCallInfo);

impl Call {
    /// A call that PostgreSQL has made.
    ///
    /// # Safety
    /// `info` must be that of a call that is running for as long as this is used, of a function that is declared as the code
    /// behind it reads its arguments: the methods that read one trust the declaration.
    pub unsafe fn new(info: pg_sys::FunctionCallInfo) -> Call {
        Call(info)
    }

    /// As PostgreSQL made it.
    pub fn info(self) -> pg_sys::FunctionCallInfo {
        self.0
    }

    /// The arguments of a trigger's call; `None` if this is not a trigger's call.
    pub fn trigger(&self) -> Option<&pg_sys::TriggerData> {
        // SAFETY: the context of a running call, read as the type of its tag.
        unsafe {
            let data = (*self.0).context.cast::<pg_sys::TriggerData>();
            (!data.is_null() && (*data).type_ == pg_sys::NodeTag::T_TriggerData).then(|| &*data)
        }
    }

    /// The arguments of an event trigger's call; `None` if this is not an event trigger's call.
    pub fn event_trigger(&self) -> Option<&pg_sys::EventTriggerData> {
        // SAFETY: as above.
        unsafe {
            let data = (*self.0).context.cast::<pg_sys::EventTriggerData>();
            (!data.is_null() && (*data).type_ == pg_sys::NodeTag::T_EventTriggerData).then(|| &*data)
        }
    }

    /// Whether this is the call of a procedure that may end its transaction.
    pub fn may_commit(self) -> bool {
        // SAFETY: the context of a running call, read as the type of its tag.
        unsafe {
            let context = (*self.0).context;
            !context.is_null()
                && (*context).type_ == pg_sys::NodeTag::T_CallContext
                && !(*context.cast::<pg_sys::CallContext>()).atomic
        }
    }

    /// The argument at `index` (from 0); `None` when null.
    #[inline]
    pub fn arg(self, index: usize) -> Option<Datum> {
        // SAFETY: the fcinfo of a running call; the SQL declaration fixes how many arguments there are.
        unsafe {
            debug_assert!(index < (*self.0).nargs as usize);
            let arg = (*self.0).args.as_slice((*self.0).nargs as usize)[index];
            (!arg.isnull).then_some(arg.value)
        }
    }

    /// How many arguments the function is declared with: an older script may know fewer.
    pub fn nargs(self) -> usize {
        // SAFETY: the fcinfo of a running call.
        unsafe { (*self.0).nargs as usize }
    }

    /// The argument at `index` as a Rust value; `None` when null.
    pub fn get<T: FromDatum>(self, index: usize) -> Option<T> {
        // SAFETY: the SQL declaration gives the argument the type that `T` reads.
        self.arg(index).and_then(|datum| unsafe { T::from_datum(datum, false) })
    }

    /// The text at `index` (from 0); `None` when null. (A String of pgrx's has to be UTF-8 in the server, too.)
    pub fn text(self, index: usize) -> Option<String> {
        // SAFETY: the SQL declaration gives the argument this type.
        self.arg(index).map(|datum| super::encoding::from_server(unsafe { crate::pg::datum::text_bytes(datum) }))
    }

    /// The inet at `index` (from 0); `None` when null. No copy, and nothing guarded: for look-ups.
    #[inline]
    pub fn inet(self, index: usize) -> Option<Inet> {
        // SAFETY: the SQL declaration gives the argument this type.
        self.arg(index).map(|datum| unsafe { Inet::read(datum) })
    }

    /// The addresses at `index` (from 0), an inet[]; `None` when null.
    pub fn inets(self, index: usize) -> Option<Vec<Inet>> {
        // SAFETY: the SQL declaration gives the argument this type.
        self.arg(index).map(|datum| unsafe { Inet::read_array(datum) })
    }

    /// The texts at `index` (from 0), a text[]; `None` when null.
    pub fn texts(self, index: usize) -> Option<Vec<Option<String>>> {
        // SAFETY: the SQL declaration gives the argument this type.
        self.arg(index).map(|datum| unsafe { super::datum::texts(datum) })
    }

    /// The name at `index` (from 0); `None` when null.
    pub fn name(self, index: usize) -> Option<String> {
        // SAFETY: the SQL declaration gives the argument this type: a NUL-terminated text of fixed size.
        let name = self.arg(index).map(|datum| unsafe { std::ffi::CStr::from_ptr(datum.cast_mut_ptr()) });
        name.map(|name| super::encoding::from_server(name.to_bytes()))
    }

    /// The interval at `index` (from 0), in microseconds with a month of 30 days; `None` when null.
    pub fn interval(self, index: usize) -> Option<i64> {
        // SAFETY: the SQL declaration gives the argument this type, which is passed by reference.
        let interval = self.arg(index).map(|datum| unsafe { &*datum.cast_mut_ptr::<pg_sys::Interval>() });
        interval.map(|interval| {
            let days = i64::from(interval.day) + 30 * i64::from(interval.month);
            days.saturating_mul(86_400_000_000).saturating_add(interval.time)
        })
    }

    /// The bytea at `index` (from 0); `None` when null.
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        // SAFETY: the SQL declaration gives the argument this type, which is laid out like text; it lives as long as the call.
        self.arg(index).map(|datum| unsafe { super::datum::text_bytes(datum) })
    }

    /// SQL null.
    #[inline]
    pub fn null(self) -> Datum {
        // SAFETY: the fcinfo of a running call.
        unsafe { (*self.0).isnull = true };
        Datum::from(0)
    }

    /// The value, or null.
    #[inline]
    pub fn give(self, value: Option<Datum>) -> Datum {
        value.unwrap_or_else(|| self.null())
    }

    /// The schema of the function that is being called, which is the extension's.
    pub fn schema(self) -> pg_sys::Oid {
        // SAFETY: a catalog look-up by the OID of a running function.
        unsafe { pg_sys::get_func_namespace(self.function()) }
    }

    /// The OID of the function that is being called.
    pub fn function(self) -> pg_sys::Oid {
        // SAFETY: `flinfo` of a call from SQL is set.
        unsafe { (*(*self.0).flinfo).fn_oid }
    }

    /// A row of values for the function's declared composite result.
    pub fn row(self, values: &mut [Datum], nulls: &mut [bool]) -> Datum {
        // SAFETY: the result type is composite by declaration; the slices are as long as its columns.
        unsafe {
            let desc = self.result_desc();
            assert_eq!((*desc).natts as usize, values.len());
            let tuple = pg_sys::heap_form_tuple(desc, values.as_mut_ptr(), nulls.as_mut_ptr());
            Datum::from((*tuple).t_data)
        }
    }

    /// The descriptor of the function's composite result, blessed.
    ///
    /// # Safety
    /// The function's declared result must be a composite type.
    pub unsafe fn result_desc(self) -> pg_sys::TupleDesc {
        // SAFETY: see above.
        unsafe {
            let mut desc = std::ptr::null_mut();
            let class = pg_sys::get_call_result_type(self.0, std::ptr::null_mut(), &mut desc);
            if class != pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE {
                crate::pg::errors::raise(
                    pgrx::PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                    "function returning a record called in a context that cannot accept one",
                    "",
                    "",
                );
            }
            pg_sys::BlessTupleDesc(desc)
        }
    }
}

/// A set under construction: rows go to a tuplestore that spills to disk beyond work_mem.
pub struct Rows {
    store: *mut pg_sys::Tuplestorestate,
    desc: pg_sys::TupleDesc,
    /// Where the values of one row are made. The function itself runs in memory that lasts for the whole statement.
    scratch: pg_sys::MemoryContext,
}

impl Rows {
    /// Starts the set that `call` returns.
    pub fn begin(call: Call) -> Rows {
        // SAFETY: resultinfo is checked to be what set-returning callers pass; the store and the descriptor live in
        // the per-query context, as the executor expects of materialized sets, and so does the scratch.
        unsafe {
            let info = (*call.0).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            if info.is_null()
                || (*info.cast::<pg_sys::Node>()).type_ != pg_sys::NodeTag::T_ReturnSetInfo
                || (*info).allowedModes & pg_sys::SetFunctionReturnMode::SFRM_Materialize as i32 == 0
            {
                crate::pg::errors::raise(
                    pgrx::PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                    "set-valued function called in context that cannot accept a set",
                    "",
                    "",
                );
            }
            let old = pg_sys::MemoryContextSwitchTo((*(*info).econtext).ecxt_per_query_memory);
            let desc = pg_sys::CreateTupleDescCopy(call.result_desc());
            let random = (*info).allowedModes & pg_sys::SetFunctionReturnMode::SFRM_Materialize_Random as i32 != 0;
            let store = pg_sys::tuplestore_begin_heap(random, false, pg_sys::work_mem);
            (*info).returnMode = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
            (*info).setResult = store;
            (*info).setDesc = desc;
            let scratch = pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"asn_inventory row".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            pg_sys::MemoryContextSwitchTo(old);
            Rows { store, desc, scratch }
        }
    }

    /// How many columns the function is declared with: an older script may know fewer.
    pub fn columns(&self) -> usize {
        // SAFETY: the descriptor lives as long as the statement.
        unsafe { (*self.desc).natts as usize }
    }

    /// Adds the row that `values` makes. Its memory is freed with the row, or a set of millions would take the server's
    /// memory.
    pub fn row(&mut self, values: impl FnOnce() -> Vec<Option<Datum>>) {
        // SAFETY: as many values as the descriptor has columns; the store copies them before they are freed. After an
        // error, PostgreSQL leaves this memory by itself.
        unsafe {
            let old = pg_sys::MemoryContextSwitchTo(self.scratch);
            let values = values();
            let mut nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
            let mut datums: Vec<Datum> = values.into_iter().map(|value| value.unwrap_or(Datum::from(0))).collect();
            assert_eq!(self.columns(), datums.len());
            pg_sys::tuplestore_putvalues(self.store, self.desc, datums.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::MemoryContextSwitchTo(old);
            pg_sys::MemoryContextReset(self.scratch);
        }
    }
}

/// Returns a set one row a call, so that an early stop costs no more. The first call makes the state by `begin`
/// (`None`: the set is empty), each call takes a row by `next` (`None`: the set is over). The state is dropped with the
/// set, in each case: exhausted, left early, or after an error.
pub fn one_by_one<S: 'static>(
    call: Call,
    begin: impl FnOnce() -> Option<S>,
    next: impl FnOnce(&mut S) -> Option<Vec<Option<Datum>>>,
) -> Datum {
    // SAFETY: the protocol of funcapi.h. The state stands in memory of the set; a callback drops it with that.
    unsafe {
        if (*(*call.0).flinfo).fn_extra.is_null() {
            let state = begin();
            let context = pg_sys::init_MultiFuncCall(call.0);
            let mut memory = PgMemoryContexts::For((*context).multi_call_memory_ctx);
            (*context).user_fctx = memory.leak_and_drop_on_delete(state).cast();
            let old = pg_sys::MemoryContextSwitchTo((*context).multi_call_memory_ctx);
            (*context).tuple_desc = call.result_desc();
            pg_sys::MemoryContextSwitchTo(old);
        }
        let context = pg_sys::per_MultiFuncCall(call.0);
        let state = &mut *(*context).user_fctx.cast::<Option<S>>();
        let info = (*call.0).resultinfo.cast::<pg_sys::ReturnSetInfo>();
        let Some(values) = state.as_mut().and_then(next) else {
            pg_sys::end_MultiFuncCall(call.0, context);
            (*info).isDone = pg_sys::ExprDoneCond::ExprEndResult;
            return call.null();
        };
        let mut nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
        let mut datums: Vec<Datum> = values.into_iter().map(|value| value.unwrap_or(Datum::from(0))).collect();
        assert_eq!((*(*context).tuple_desc).natts as usize, datums.len());
        let tuple = pg_sys::heap_form_tuple((*context).tuple_desc, datums.as_mut_ptr(), nulls.as_mut_ptr());
        (*context).call_cntr += 1;
        (*info).isDone = pg_sys::ExprDoneCond::ExprMultipleResult;
        Datum::from((*tuple).t_data)
    }
}

/// A text datum in the server's encoding, palloced. Sources speak UTF-8; characters that the encoding lacks become `?`.
pub fn text(text: &str) -> Datum {
    let text = super::encoding::server_text(text);
    // SAFETY: copies `len` bytes into a fresh palloc.
    unsafe { Datum::from(pg_sys::cstring_to_text_with_len(text.as_ptr().cast(), text.len() as i32)) }
}

/// A text[] of texts in UTF-8, palloced.
pub fn text_array<'a>(texts: impl Iterator<Item = &'a str>) -> Datum {
    let mut datums: Vec<Datum> = texts.map(text).collect();
    // SAFETY: values of type text, which is variable-length and aligned to 4.
    let array = unsafe {
        pg_sys::construct_array(datums.as_mut_ptr(), datums.len() as i32, pg_sys::TEXTOID, -1, false, b'i' as _)
    };
    Datum::from(array)
}

/// A jsonb datum, palloced; `None` for a text that holds a NUL. Raises an error if it is not JSON.
pub fn jsonb(text: &str) -> Option<Datum> {
    let text = std::ffi::CString::new(super::encoding::server_text(text)).ok()?;
    // SAFETY: the input function of jsonb reads a NUL-terminated text in the server's encoding.
    unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[text.as_c_str().into_datum()]) }
}

/// A text[] datum in the server's encoding, palloced.
pub fn texts(texts: &[String]) -> Datum {
    let mut elements: Vec<Datum> = texts.iter().map(|element| text(element)).collect();
    // SAFETY: copies the elements, which are texts.
    unsafe {
        let array = pg_sys::construct_array(
            elements.as_mut_ptr(),
            elements.len() as i32,
            pg_sys::TEXTOID,
            -1,
            false,
            b'i' as std::ffi::c_char,
        );
        Datum::from(array)
    }
}

unsafe extern "C" {
    // It cannot raise, so it needs no guard (a sigsetjmp) as pgrx puts around every call: a look-up would spend a tenth
    // of its time in those.
    fn GetCurrentStatementStartTimestamp() -> i64;
}

/// When the running statement started (timestamptz).
#[inline]
pub fn statement_start() -> i64 {
    // SAFETY: reads a variable of this backend.
    unsafe { GetCurrentStatementStartTimestamp() }
}

/// Declares a function for SQL: exports `$name` with the version-1 calling convention and runs `$body` inside a guard.
#[macro_export]
macro_rules! sql_function {
    ($(#[$doc:meta])* $name:ident, $info:ident, $body:expr) => {
        #[doc(hidden)]
        #[allow(unsafe_code, reason = "PostgreSQL looks it up by its name")]
        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> &'static ::pgrx::pg_sys::Pg_finfo_record {
            const V1: ::pgrx::pg_sys::Pg_finfo_record = ::pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }

        /// The place of the function's body: outside the unsafe block.
        #[doc(hidden)]
        #[allow(non_camel_case_types)]
        enum $name {}

        impl $name {
            #[inline(always)]
            fn run(call: $crate::pg::call::Call) -> ::pgrx::pg_sys::Datum {
                #[allow(clippy::redundant_closure_call)]
                ($body)(call)
            }
        }

        $(#[$doc])*
        #[allow(unsafe_code, reason = "PostgreSQL calls it by its name and convention")]
        #[::pgrx::pg_guard]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(fcinfo: ::pgrx::pg_sys::FunctionCallInfo) -> ::pgrx::pg_sys::Datum {
            // SAFETY: PostgreSQL makes this call, by the declaration in `sql/`.
            $name::run(unsafe { $crate::pg::call::Call::new(fcinfo) })
        }
    };
}
