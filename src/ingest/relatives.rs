//! What the event trigger may do to the relatives of attached tables, and with whose rights.
#![allow(unsafe_code, reason = "reads parse trees, and takes the rights that making a trigger takes")]

use std::time::Duration;

use pgrx::pg_sys;

use crate::pg::call::Call;
use crate::pg::catalog;
use crate::pg::citus;
use crate::pg::citus::Kept;
use crate::pg::inherits;
use crate::pg::patience;
use crate::pg::tx;

/// How long the statement waits for a table below the one that it attached, which it need not have locked itself.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The parse tree of the command that an event trigger is called for; `None`: there is none.
pub fn command(call: &Call) -> Option<&pg_sys::Node> {
    // SAFETY: null, or a node that lives as long as the command.
    unsafe { call.event_trigger()?.parsetree.as_ref() }
}

/// Whether the command is an ALTER TABLE with a part of one of these kinds.
pub fn alters(call: &Call, kinds: &[pg_sys::AlterTableType::Type]) -> bool {
    let Some(node) = command(call).filter(|node| node.type_ == pg_sys::NodeTag::T_AlterTableStmt) else { return false };
    // SAFETY: a node is cast to the type of its tag; the list's nodes are commands.
    unsafe {
        let commands = (*std::ptr::from_ref(node).cast::<pg_sys::AlterTableStmt>()).cmds;
        let count = if commands.is_null() { 0 } else { (*commands).length as usize };
        (0..count).any(|i| {
            let command = (*(*commands).elements.add(i)).ptr_value.cast::<pg_sys::AlterTableCmd>();
            kinds.contains(&(*command).subtype)
        })
    }
}

/// Whether a table has no rows at all; its writers are locked out. A foreign table may have some, and so may the shards of
/// one that Citus keeps, in whatever way: the table itself is an empty shell then.
pub fn is_empty(table: pg_sys::Oid) -> bool {
    match inherits::kind(table) {
        _ if citus::kept(table).is_some() => false,
        pg_sys::RELKIND_PARTITIONED_TABLE => true,
        pg_sys::RELKIND_RELATION => catalog::blocks(table) == 0,
        _ => false,
    }
}

/// Whether another extension manages the table: it is one of its own, or stands in a schema of its own as
/// TimescaleDB's chunks do.
pub fn is_managed(table: pg_sys::Oid) -> bool {
    let ours = crate::pg::catalog::extension();
    let owners = [
        catalog::extension_of(pg_sys::RelationRelationId, table),
        catalog::extension_of(pg_sys::NamespaceRelationId, catalog::schema_of(table)),
    ];
    owners.into_iter().any(|owner| owner.is_some() && owner != ours)
}

/// Whether the event trigger keeps away from a table: another extension manages it, or Citus keeps it on several nodes.
/// A trigger that is made while Citus makes a partition would fail that. Rows inserted through the table above are
/// still observed, where its shards are; for rows inserted into the partition by name, the doctor has the remedy.
pub fn is_left_alone(table: pg_sys::Oid) -> bool {
    is_managed(table) || matches!(citus::kept(table), Some(Kept::Distributed | Kept::Reference))
}

/// Runs `f` in a subtransaction, with the rights that making a trigger takes: the parent's owner attached it, and a
/// role that puts a table below it owns both. Returns the reason of a failure.
pub fn attempt(table: pg_sys::Oid, f: impl Fn()) -> Result<(), String> {
    attempt_all(&[table], pg_sys::ShareRowExclusiveLock, |_| f()).pop().map_or(Ok(()), |(_, reason)| Err(reason))
}

/// The same for many tables: `f` gets those that could be locked, all at once, and one by one where that fails: no table's fault is
/// another's. A lock is no table's fault. Returns those for which it failed, each with the reason.
pub fn attempt_all(tables: &[pg_sys::Oid], mode: u32, f: impl Fn(&[pg_sys::Oid])) -> Vec<(pg_sys::Oid, String)> {
    let (locked, busy): (Vec<pg_sys::Oid>, Vec<pg_sys::Oid>) =
        tables.iter().copied().partition(|table| patience::lock(*table, mode, PATIENCE));
    let mut failures: Vec<(pg_sys::Oid, String)> =
        busy.into_iter().map(|table| (table, "Somebody holds a lock on it.".to_owned())).collect();
    if locked.is_empty() {
        return failures;
    }
    if !patience::hold_extension(PATIENCE) {
        let reason = "Somebody is dropping the extension.";
        failures.extend(locked.into_iter().map(|table| (table, reason.to_owned())));
        return failures;
    }
    let attempt = |tables: &[pg_sys::Oid]| tx::attempt(|| as_superuser(|| f(tables)));
    match attempt(&locked) {
        Ok(()) => {}
        Err(failure) if locked.len() == 1 || failure.is_lock() => {
            failures.extend(locked.into_iter().map(|table| (table, failure.message.clone())));
        }
        Err(_) => {
            let again = |table| Some((table, attempt(&[table]).err()?.message));
            failures.extend(locked.into_iter().filter_map(again));
        }
    }
    failures
}

/// The event trigger's function runs as the extension's owner, who may not be a superuser; and the table's owner has no
/// right on our trigger function. Only PostgreSQL's own code runs here, no user's function.
fn as_superuser<R>(f: impl FnOnce() -> R) -> R {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: the pair is restored below; after an error, the subtransaction's abort restores it.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        let context = context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
        pg_sys::SetUserIdAndSecContext(pg_sys::BOOTSTRAP_SUPERUSERID.into(), context);
    }
    let result = f();
    // SAFETY: see above.
    unsafe { pg_sys::SetUserIdAndSecContext(user, context) };
    result
}
