//! What the worker of a subscription applies at this moment. It changes rows without statements, so no hook of the executor hears of
//! them.
#![allow(unsafe_code, reason = "asks for the context of errors")]

use std::ffi::CStr;

use pgrx::pg_sys;

use super::memory::Reused;
use super::raw;

/// Kinds of changes, as the worker writes them into the context of its errors, in any language.
const KINDS: [&str; 4] = ["INSERT", "UPDATE", "DELETE", "TRUNCATE"];

/// Whether this process applies an UPDATE: a row that it inserts then is one that moves to another partition of the table here.
pub fn moves_rows() -> bool {
    // SAFETY: reads variables of this backend; a callback that is registered lives.
    unsafe {
        if !raw::IsLogicalWorker() || pg_sys::error_context_stack.is_null() {
            return false;
        }
        // The first copy of a table brings new rows, many of them.
        let copies: unsafe extern "C-unwind" fn(*mut std::ffi::c_void) = raw::CopyFromErrorCallback;
        let innermost = (*pg_sys::error_context_stack).callback;
        if innermost.is_some_and(|callback| std::ptr::fn_addr_eq(callback, copies)) {
            return false;
        }
        let memory = Reused::enter();
        let context = pg_sys::GetErrorContextStack();
        let is_update = !context.is_null() && names_update(&CStr::from_ptr(context).to_string_lossy());
        memory.leave();
        is_update
    }
}

/// Whether the kind of change that a context names first is an UPDATE.
fn names_update(context: &str) -> bool {
    let mut words = context.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.find(|word| KINDS.contains(word)) == Some("UPDATE")
}
