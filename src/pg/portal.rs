//! What the client has a server process do at this moment, for where no hook saw it begin.
#![allow(unsafe_code, reason = "reads the active portal and the context of errors")]

use pgrx::pg_sys;

use super::raw;

/// Calls `f` with each statement of the active portal; with none where that runs something inside of them: a function or a trigger of any
/// language, a foreign key's action. What is inside says so in the context of errors.
pub fn each_statement(mut f: impl FnMut(&pg_sys::PlannedStmt)) {
    // SAFETY: reads variables of this backend; the statements of a portal live while it runs.
    unsafe {
        let Some(portal) = pg_sys::ActivePortal.as_ref() else { return };
        if portal.stmts.is_null() || !is_innermost() {
            return;
        }
        for at in 0..(*portal.stmts).length as usize {
            f(&*(*(*portal.stmts).elements.add(at)).ptr_value.cast::<pg_sys::PlannedStmt>());
        }
    }
}

/// # Safety
/// A callback that is registered lives.
unsafe fn is_innermost() -> bool {
    // The portal's own, in the extended protocol.
    let own: unsafe extern "C-unwind" fn(*mut std::ffi::c_void) = raw::ParamsErrorCallback;
    // SAFETY: see above.
    unsafe {
        let mut next = pg_sys::error_context_stack;
        while let Some(entry) = next.as_ref() {
            if !entry.callback.is_some_and(|callback| std::ptr::fn_addr_eq(callback, own)) {
                return false;
            }
            next = entry.previous;
        }
    }
    true
}
