//! Code of other roles on the extension's objects, which the doctor would run with its caller's rights: a superuser's, as a rule.
//! The groups of checks that would read or call such an object are left out. The catalogs tell, before anything is read.
#![allow(unsafe_code, reason = "asks whether the server is a standby")]

use std::time::{Duration, Instant};

use pgrx::pg_sys;

use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::catalog;
use crate::pg::catalog::Schema;
use crate::pg::patience;
use crate::pg::session;
use crate::pg::snapshot::with_latest_snapshot;
use crate::pg::sql::Sql;
use crate::pg::tx;
use crate::pg::tx::Failure;

/// How long the doctor waits until no table of another role is being changed: all of them together.
const PATIENCE: Duration = Duration::from_millis(300);

/// The lock that keeps such code from being made after the look, by a role that waits for it: CREATE INDEX, CONCURRENTLY as well,
/// CREATE STATISTICS and a child table are against it, writing is not. A VACUUM is as well, and may take hours. No weaker lock will
/// do meanwhile: the owner can end the VACUUM, also one of autovacuum, by waiting for the lock, and then has it.
const LOCK: u32 = pg_sys::ShareUpdateExclusiveLock;

/// The extension's tables of roles that are neither superusers nor the caller. `$1` is the schema, `$2` the caller.
const TABLES: &str = "
    SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
    WHERE c.relnamespace = $1 AND c.relkind = 'r' AND NOT r.rolsuper AND r.oid <> $2
      AND EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'asn_inventory'
                  WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
                    AND d.refclassid = 'pg_catalog.pg_extension'::regclass)
    ORDER BY c.oid";

/// The relations and functions that are reached from those with the names `$2` in the schema `$1`, through views.
const REACHED: &str = "
    WITH RECURSIVE reached(classid, objid) AS (
        (SELECT 'pg_catalog.pg_class'::regclass::oid, c.oid FROM pg_catalog.pg_class c WHERE c.relnamespace = $1 AND c.relname = ANY ($2)
         UNION ALL
         SELECT 'pg_catalog.pg_proc'::regclass::oid, p.oid FROM pg_catalog.pg_proc p WHERE p.pronamespace = $1 AND p.proname = ANY ($2))
        UNION
        SELECT d.refclassid, d.refobjid
        FROM reached r JOIN pg_catalog.pg_rewrite w ON r.classid = 'pg_catalog.pg_class'::regclass AND w.ev_class = r.objid
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
        WHERE d.refclassid IN ('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_proc'::regclass))
    SELECT classid, objid FROM reached";

/// An object that is not to be read or called.
struct Object {
    class: pg_sys::Oid,
    oid: pg_sys::Oid,
    why: String,
    remedy: Option<String>,
}

/// Those that the catalogs told of. Nobody adds to them as long as this lives.
pub struct Planted {
    objects: Vec<Object>,
    locked: Vec<pg_sys::Oid>,
}

impl Planted {
    /// Looks for them.
    pub fn look(schema: &Schema) -> Result<Planted, Failure> {
        let user = argument::oid(session::user());
        let tables = tx::attempt(|| with_latest_snapshot(|| tables(schema, user)))?;
        // A standby gives no such lock.
        // SAFETY: asks this server's state.
        let is_standby = unsafe { pg_sys::RecoveryInProgress() };
        let end = Instant::now() + PATIENCE;
        let left = || end.saturating_duration_since(Instant::now());
        let lock = |table: &pg_sys::Oid| !is_standby && patience::lock(*table, LOCK, left());
        let (locked, open): (Vec<_>, Vec<_>) = tables.into_iter().partition(lock);
        // Given back by `drop`, so not in the subtransaction of the look.
        let mut planted = Planted { objects: Vec::new(), locked };
        // What was committed while a lock was waited for is to be seen, and before it, who owns which table by now.
        planted.objects = tx::attempt(|| with_latest_snapshot(|| objects(schema, user, open)))?;
        Ok(planted)
    }

    /// One that would be read or called by way of the relations and functions with these names, and the command that ends it.
    pub fn below(&self, schema: &Schema, names: &[String]) -> Option<(&str, Option<&str>)> {
        if self.objects.is_empty() || names.is_empty() {
            return None;
        }
        let sql = Sql::as_caller();
        let found = sql.query(REACHED, &[argument::oid(schema.oid), argument::texts(names)]);
        let reached: Vec<(Option<pg_sys::Oid>, Option<pg_sys::Oid>)> =
            (0..found.len()).map(|row| (found.get(row, 1), found.get(row, 2))).collect();
        let is_reached = |object: &&Object| reached.contains(&(Some(object.class), Some(object.oid)));
        self.objects.iter().find(is_reached).map(|object| (object.why.as_str(), object.remedy.as_deref()))
    }
}

fn tables(schema: &Schema, user: Argument) -> Vec<pg_sys::Oid> {
    let sql = Sql::as_caller();
    let found = sql.query(TABLES, &[argument::oid(schema.oid), user]);
    (0..found.len()).filter_map(|row| found.get(row, 1)).collect()
}

fn objects(schema: &Schema, user: Argument, open: Vec<pg_sys::Oid>) -> Vec<Object> {
    let (vacuumed, changed): (Vec<_>, Vec<_>) = open.into_iter().partition(|table| patience::is_vacuumed(*table));
    let arguments = [argument::oid(schema.oid), user, argument::oids(&changed), argument::oids(&vacuumed)];
    let sql = Sql::as_caller();
    let found = sql.query(include_str!("planted.sql"), &arguments);
    let object = |row| {
        let (class, oid) = (found.get(row, 1)?, found.get(row, 2)?);
        Some(Object { class, oid, why: found.text(row, 3)?, remedy: found.text(row, 4) })
    };
    (0..found.len()).filter_map(object).collect()
}

impl Drop for Planted {
    fn drop(&mut self) {
        // After an error, the (sub)transaction's abort gives them back.
        if !std::thread::panicking() {
            self.locked.iter().for_each(|table| catalog::unlock_relation(*table, LOCK));
        }
    }
}
