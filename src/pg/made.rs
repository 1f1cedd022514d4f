//! What the running command has made or altered, asked by an event trigger.

use pgrx::pg_sys;

/// A table that is not below another one any more.
pub struct Departure {
    /// The table.
    pub table: pg_sys::Oid,
    /// The one above.
    pub above: pg_sys::Oid,
}

/// The relations that it made or altered.
pub fn relations() -> Vec<pg_sys::Oid> {
    let mut relations = Vec::new();
    each(|class, relation, _| {
        if class == pg_sys::RelationRelationId && !relations.contains(&relation) {
            relations.push(relation);
        }
    });
    relations
}

/// The tables that it has taken from below others.
pub fn departures() -> Vec<Departure> {
    let mut departures = Vec::new();
    // SAFETY: what PostgreSQL has collected of the command stays until that ends; nodes are cast to the types of their tags,
    // and the union is read by the command's type.
    each(|_, _, command| unsafe {
        if command.is_null() || (*command).type_ != pg_sys::CollectedCommandType::SCT_AlterTable {
            return;
        }
        let altered = (*command).d.alterTable;
        let count = if altered.subcmds.is_null() { 0 } else { (*altered.subcmds).length as usize };
        for i in 0..count {
            let part = (*(*altered.subcmds).elements.add(i)).ptr_value.cast::<pg_sys::CollectedATSubcmd>();
            let node = (*part).parsetree;
            if node.is_null() || (*node).type_ != pg_sys::NodeTag::T_AlterTableCmd {
                continue;
            }
            let (one, other) = (altered.objectId, (*part).address.objectId);
            let (table, above) = match (*node.cast::<pg_sys::AlterTableCmd>()).subtype {
                pg_sys::AlterTableType::AT_DetachPartition | pg_sys::AlterTableType::AT_DetachPartitionFinalize => {
                    (other, one)
                }
                pg_sys::AlterTableType::AT_DropInherit => (one, other),
                _ => continue,
            };
            if table != pg_sys::InvalidOid && above != pg_sys::InvalidOid {
                departures.push(Departure { table, above });
            }
        }
    });
    departures
}

/// Hands over each object that it made or altered, by its catalog and its OID, and what PostgreSQL has collected of that:
/// `pg_event_trigger_ddl_commands()`, called without SQL.
fn each(mut hand_over: impl FnMut(pg_sys::Oid, pg_sys::Oid, *const pg_sys::CollectedCommand)) {
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
                    if null { 0 } else { datum.value() }
                };
                let oid = |column| pg_sys::Oid::from(value(column) as u32);
                hand_over(oid(1), oid(2), value(9) as *const pg_sys::CollectedCommand);
            }
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            pg_sys::tuplestore_end(set.setResult);
        }
        pg_sys::FreeExprContext(set.econtext, true);
    }
}
