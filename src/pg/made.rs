//! What the running command has made or altered, asked by an event trigger.

use pgrx::pg_sys;

/// The relations that it made or altered: `pg_event_trigger_ddl_commands()`, called without SQL.
pub fn relations() -> Vec<pg_sys::Oid> {
    let mut relations = Vec::new();
    // SAFETY: the function is called as the executor calls a set-returning one that materializes its rows; everything
    // lives in the current context.
    unsafe {
        let mut function = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(pg_sys::F_PG_EVENT_TRIGGER_DDL_COMMANDS.into(), &mut function);
        let mut set = pg_sys::ReturnSetInfo {
            type_: pg_sys::NodeTag::T_ReturnSetInfo,
            econtext: pg_sys::CreateStandaloneExprContext(),
            allowedModes: pg_sys::SetFunctionReturnMode::SFRM_Materialize as i32,
            ..Default::default()
        };
        let frame =
            pg_sys::palloc0(size_of::<pg_sys::FunctionCallInfoBaseData>()).cast::<pg_sys::FunctionCallInfoBaseData>();
        (*frame).flinfo = &mut function;
        (*frame).resultinfo = (&raw mut set).cast();
        pg_sys::pg_event_trigger_ddl_commands(frame);
        if !set.setResult.is_null() {
            let slot = pg_sys::MakeSingleTupleTableSlot(set.setDesc, &raw const pg_sys::TTSOpsMinimalTuple);
            while pg_sys::tuplestore_gettupleslot(set.setResult, true, false, slot) {
                let value = |column| {
                    let mut null = false;
                    let datum = pg_sys::slot_getattr(slot, column, &mut null);
                    if null { 0 } else { datum.value() as u32 }
                };
                if value(1) == pg_sys::RelationRelationId.to_u32() && !relations.contains(&value(2).into()) {
                    relations.push(value(2).into());
                }
            }
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            pg_sys::tuplestore_end(set.setResult);
        }
        pg_sys::FreeExprContext(set.econtext, true);
    }
    relations
}
