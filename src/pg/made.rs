//! What the running command has made or altered, asked by an event trigger.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::inherits;

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
            let command = node.cast::<pg_sys::AlterTableCmd>();
            let (one, other) = (altered.objectId, (*part).address.objectId);
            let (table, above) = match (*command).subtype {
                pg_sys::AlterTableType::AT_DetachPartition | pg_sys::AlterTableType::AT_DetachPartitionFinalize => {
                    // PostgreSQL 15 does not say which partition it has detached.
                    let is_said = other != pg_sys::InvalidOid;
                    (if is_said { other } else { detached(one, (*command).def) }, one)
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

/// The partition that has just been detached from a table, by a definition that has its name; 0: none was. The name is not
/// resolved: it may mean another table by now. Of the partitions that this transaction has detached, it is the last one.
///
/// # Safety
/// `definition` must be null, or a valid node.
unsafe fn detached(root: pg_sys::Oid, definition: *const pg_sys::Node) -> pg_sys::Oid {
    // SAFETY: see above; a node is cast to the type of its tag. PostgreSQL's strings end with a zero.
    unsafe {
        if root == pg_sys::InvalidOid
            || definition.is_null()
            || (*definition).type_ != pg_sys::NodeTag::T_PartitionCmd
            || (*definition.cast::<pg_sys::PartitionCmd>()).name.is_null()
        {
            return pg_sys::InvalidOid;
        }
        let name = (*(*definition.cast::<pg_sys::PartitionCmd>()).name).relname;
        let has_name = |table: pg_sys::Oid| {
            let found = pg_sys::get_rel_name(table);
            !found.is_null() && !name.is_null() && CStr::from_ptr(found) == CStr::from_ptr(name)
        };
        let taken = inherits::taken(root).into_iter().max_by_key(|(_, command)| *command);
        taken.map(|(table, _)| table).filter(|table| has_name(*table)).unwrap_or(pg_sys::InvalidOid)
    }
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
