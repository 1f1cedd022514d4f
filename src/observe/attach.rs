//! `attach_ip_source` and `detach_ip_source`: the ingest trigger on a table, its partitions and its children.
//!
//! A statement trigger fires only for the table that the statement names, so every partition and child gets one too;
//! the event trigger in `sql/04_ingest.sql` gives it to those that come later. The triggers are made with the caller's
//! rights on the table; only the note in `ip_source` is written as the extension's owner.

use enrich::selector::Selector;
use pgrx::IntoDatum;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use super::extract::{Extractor, Misfit, column};
use super::plan::Moment;
use super::populate::Before;
use crate::call::Call;
use crate::catalog::{Schema, database_identity, plain_name, quote_literal, relation_name};
use crate::errors::{bad_value, raise, refuse_read_only};
use crate::sql::Sql;
use crate::sql_function;
use crate::tx::Settings;

/// The name of the trigger on every attached table.
const TRIGGER: &str = "asn_inventory_observe";

sql_function!(
    /// `attach_ip_source(tbl regclass, ip_columns text[], observed_at name)`.
    attach_ip_source,
    pg_finfo_attach_ip_source,
    |call: Call| {
        refuse_read_only(c"attach_ip_source()");
        let Some(table) = call.get::<pg_sys::Oid>(0) else {
            bad_value("attach_ip_source needs a table", "tbl is null.", "Name the table that your events are inserted into.")
        };
        // SAFETY: declared as text[].
        let selectors = call.arg(1).map(|d| unsafe { crate::datum::texts(d) }).unwrap_or_default();
        let Some(selectors) = selectors.into_iter().collect::<Option<Vec<String>>>() else {
            bad_value("a column is null", "An element of ip_columns is null.", "Name columns: ARRAY['src_ip'].")
        };
        if selectors.is_empty() {
            bad_value("attach_ip_source needs a column", "ip_columns is empty.", "Name one: ARRAY['src_ip'].");
        }
        let observed_at = call
            .arg(2)
            // SAFETY: declared as name: a NUL-terminated fixed-size text.
            .map(|d| unsafe { crate::call::from_server(std::ffi::CStr::from_ptr(d.cast_mut_ptr()).to_bytes()) });
        attach(&Schema::of(call), table, &selectors, observed_at.as_deref());
        call.null()
    }
);

sql_function!(
    /// `detach_ip_source(tbl regclass)`.
    detach_ip_source,
    pg_finfo_detach_ip_source,
    |call: Call| {
        refuse_read_only(c"detach_ip_source()");
        if let Some(table) = call.get::<pg_sys::Oid>(0) {
            detach(&Schema::of(call), table);
        }
        call.null()
    }
);

sql_function!(
    /// `attach_new_partitions()`: gives the trigger to partitions and children that came after their parent was
    /// attached. For the event trigger alone; raises nothing.
    attach_new_partitions,
    pg_finfo_attach_new_partitions,
    |call: Call| {
        let schema = Schema::of(call);
        let sql = Sql::as_caller();
        // Only tables that lack the trigger and whose place in the family this transaction made: they are locked by it
        // anyway. While a dump is being restored, ip_source is there before the triggers are, and the dump's own CREATE
        // TRIGGER would fail on one made here; so a root that has none yet is passed over as well.
        let missing = with_latest_snapshot(|| {
            sql.query(
                &format!(
                    "WITH RECURSIVE family(root, tbl, links) AS (
                         SELECT tbl, tbl::oid, '{{}}'::xid[] FROM {0}.ip_source
                         UNION ALL
                         SELECT f.root, i.inhrelid, f.links || i.xmin
                         FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.tbl)
                     SELECT f.tbl, s.ip_columns, s.observed_at::text, f.links::text[]
                     FROM family f JOIN {0}.ip_source s ON s.tbl = f.root JOIN pg_catalog.pg_class c ON c.oid = f.tbl
                     WHERE f.tbl <> f.root AND c.relkind IN ('r', 'p')
                         AND EXISTS (
                             SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = f.root AND t.tgname = '{TRIGGER}')
                         AND NOT EXISTS (
                             SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = f.tbl AND t.tgname = '{TRIGGER}')",
                    schema.name
                ),
                &[],
            )
        });
        for row in 0..missing.len() {
            let links = missing.texts(row, 4).unwrap_or_default();
            if !links.iter().any(|xid| is_ours(xid)) {
                continue;
            }
            if let (Some(table), Some(columns)) = (missing.get(row, 1), missing.texts(row, 2)) {
                create_trigger(&sql, &schema, table, &columns, missing.text(row, 3).as_deref());
            }
        }
        Datum::from(0)
    }
);

/// Whether this transaction, or a part of it, has that id.
fn is_ours(xid: &str) -> bool {
    // SAFETY: looks at this transaction's own state.
    xid.parse::<u32>().is_ok_and(|xid| unsafe { pg_sys::TransactionIdIsCurrentTransactionId(xid.into()) })
}

fn attach(schema: &Schema, table: pg_sys::Oid, selectors: &[String], observed_at: Option<&str>) {
    let Some(name) = relation_name(table) else {
        raise(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("relation with OID {} does not exist", table.to_u32()),
            "",
            "Name the table that your events are inserted into.",
        );
    };
    check_owner(table);
    check_table(table);
    check_columns(table, selectors, observed_at);
    // SAFETY: reads the number of the running command.
    let command = unsafe { pg_sys::GetCurrentCommandId(false) };
    let sql = Sql::as_caller();
    for member in family(&sql, table) {
        if can_have_trigger(member) {
            if has_trigger(member) {
                drop_trigger(&sql, member);
            }
            create_trigger(&sql, schema, member, selectors, observed_at);
        } else if member != table {
            pgrx::notice!("\"{}\" is a foreign table and is not observed by itself", plain_name(member));
        }
    }
    let before = Before::now(&with_latest_snapshot(|| snapshot(&sql)), command).to_string();
    drop(sql);
    note_attached(schema, table, selectors, observed_at, &before);
    pgrx::debug1!("asn_inventory: attached {name}");
}

/// Writes the note, which the caller needs no right for.
fn note_attached(schema: &Schema, table: pg_sys::Oid, selectors: &[String], observed_at: Option<&str>, before: &str) {
    let _quiet = Settings::without_triggers();
    let sql = Sql::on(schema, c"ip_source");
    sql.run(
        &format!(
            "DELETE FROM {0}.ip_source s WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = s.tbl)",
            schema.name
        ),
        &[],
    );
    sql.run(
        &format!(
            "INSERT INTO {0}.ip_source (tbl, ip_columns, observed_at, attached_by, attached_snapshot, attached_on)
             VALUES ($1, $2, $3, session_user, $4, $5)
             ON CONFLICT (tbl) DO UPDATE SET ip_columns = EXCLUDED.ip_columns, observed_at = EXCLUDED.observed_at",
            schema.name
        ),
        &[
            (pg_sys::REGCLASSOID, table.into_datum()),
            (pg_sys::TEXTARRAYOID, Some(crate::call::texts(selectors))),
            (pg_sys::TEXTOID, observed_at.map(crate::call::text)),
            (pg_sys::TEXTOID, Some(crate::call::text(before))),
            (pg_sys::TEXTOID, Some(crate::call::text(&database_identity()))),
        ],
    );
}

fn detach(schema: &Schema, table: pg_sys::Oid) {
    // Of a table that was dropped, only the note is left.
    if relation_name(table).is_some() {
        check_owner(table);
    }
    let sql = Sql::as_caller();
    let mut found = false;
    for member in family(&sql, table) {
        if has_trigger(member) {
            drop_trigger(&sql, member);
            found = true;
        }
    }
    drop(sql);
    let quiet = Settings::without_triggers();
    let known = Sql::on(schema, c"ip_source").run(
        &format!("DELETE FROM {}.ip_source WHERE tbl = $1", schema.name),
        &[(pg_sys::REGCLASSOID, table.into_datum())],
    );
    drop(quiet);
    if !found && known == 0 {
        raise(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("table \"{}\" is not attached", plain_name(table)),
            "",
            &format!("SELECT tbl FROM {}.ip_source lists the attached tables.", schema.name),
        );
    }
}

/// The table and everything that inherits from it, locked against writers: what commits before is "existing", what
/// comes after meets the trigger.
fn family(sql: &Sql, table: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // SAFETY: waits for, and then holds off, whoever writes to the table, until this transaction ends.
    let lock = |table| unsafe { pg_sys::LockRelationOid(table, pg_sys::ShareRowExclusiveLock as i32) };
    lock(table);
    let found = with_latest_snapshot(|| {
        sql.query(
            "WITH RECURSIVE family(tbl) AS (
                 SELECT $1
                 UNION
                 SELECT i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.tbl)
             SELECT tbl FROM family ORDER BY tbl = $1 DESC, tbl",
            &[(pg_sys::OIDOID, table.into_datum())],
        )
    });
    let members: Vec<pg_sys::Oid> = (0..found.len()).filter_map(|row| found.get(row, 1)).collect();
    members.iter().skip(1).for_each(|member| lock(*member));
    members
}

fn snapshot(sql: &Sql) -> String {
    sql.query("SELECT pg_catalog.pg_current_snapshot()::text", &[]).get(0, 1).unwrap_or_default()
}

/// Runs queries that must see what committed while a lock was waited for, and what this command did: the snapshot of
/// the statement is older.
pub(super) fn with_latest_snapshot<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: popped below; after an error, the (sub)transaction's abort pops it.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
    let result = f();
    // SAFETY: see above.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}

fn can_have_trigger(table: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up.
    let kind = unsafe { pg_sys::get_rel_relkind(table) } as u8;
    matches!(kind, pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE)
}

fn has_trigger(table: pg_sys::Oid) -> bool {
    let name = crate::catalog::c_string(TRIGGER);
    // SAFETY: a catalog look-up that tolerates absence.
    unsafe { pg_sys::get_trigger_oid(table, name.as_ptr(), true) != pg_sys::InvalidOid }
}

fn create_trigger(sql: &Sql, schema: &Schema, table: pg_sys::Oid, selectors: &[String], observed_at: Option<&str>) {
    let Some(name) = relation_name(table) else { return };
    let arguments: Vec<String> = std::iter::once(observed_at.unwrap_or(""))
        .chain(selectors.iter().map(String::as_str))
        .map(quote_literal)
        .collect();
    sql.run(
        &format!(
            "CREATE TRIGGER {TRIGGER} AFTER INSERT ON {name} REFERENCING NEW TABLE AS inserted
             FOR EACH STATEMENT EXECUTE FUNCTION {}.observe_addresses({})",
            schema.name,
            arguments.join(", ")
        ),
        &[],
    );
    depend_on_extension(table);
}

/// So that DROP EXTENSION takes the trigger with it and needs no CASCADE. Not by ALTER TRIGGER … DEPENDS ON EXTENSION:
/// that locks the extension against everybody until this transaction ends, and nobody's queue would be absorbed.
fn depend_on_extension(table: pg_sys::Oid) {
    // A DROP EXTENSION that is under way would miss the trigger: it is waited for.
    let Some(extension) = Schema::hold().and_then(|_| crate::catalog::extension()) else { return };
    let name = crate::catalog::c_string(TRIGGER);
    // SAFETY: both objects exist; the addresses are copied into a catalog row.
    unsafe {
        let address = |class, object| pg_sys::ObjectAddress { classId: class, objectId: object, objectSubId: 0 };
        let trigger = address(pg_sys::TriggerRelationId, pg_sys::get_trigger_oid(table, name.as_ptr(), false));
        let extension = address(pg_sys::ExtensionRelationId, extension);
        pg_sys::recordDependencyOn(&trigger, &extension, pg_sys::DependencyType::DEPENDENCY_AUTO_EXTENSION);
    }
}

fn drop_trigger(sql: &Sql, table: pg_sys::Oid) {
    if let Some(name) = relation_name(table) {
        sql.run(&format!("DROP TRIGGER {TRIGGER} ON {name}"), &[]);
    }
}

/// Making the trigger asks for the same right, but only once the table is locked: whoever may not do it must not be
/// able to make its writers wait.
fn check_owner(table: pg_sys::Oid) {
    // SAFETY: catalog look-ups.
    let owns = unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let owns = pg_sys::pg_class_ownercheck(table, pg_sys::GetUserId());
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let owns = pg_sys::object_ownercheck(pg_sys::RelationRelationId, table, pg_sys::GetUserId());
        owns
    };
    if !owns {
        raise(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("must be owner of table \"{}\"", plain_name(table)),
            "Attaching and detaching change the table's triggers.",
            "Call it as the table's owner.",
        );
    }
}

fn check_table(table: pg_sys::Oid) {
    let wrong = |what: &str, hint: &str| {
        raise(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            format!("\"{}\" can't be attached", plain_name(table)),
            what,
            hint,
        )
    };
    // SAFETY: catalog look-ups.
    let (kind, namespace) = unsafe { (pg_sys::get_rel_relkind(table) as u8, pg_sys::get_rel_namespace(table)) };
    if namespace == pg_sys::Oid::from(pg_sys::PG_CATALOG_NAMESPACE) {
        wrong("It is a system catalog.", "Attach the table that your events are inserted into.");
    }
    // SAFETY: a catalog look-up.
    let of = unsafe { pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, table) };
    if Some(of) == crate::catalog::extension() {
        wrong("It is one of asn_inventory's own tables.", "Attach the table that your events are inserted into.");
    }
    match kind {
        pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE => {}
        pg_sys::RELKIND_VIEW | pg_sys::RELKIND_MATVIEW => {
            wrong("It is a view.", "Attach the table that its rows are inserted into.")
        }
        pg_sys::RELKIND_FOREIGN_TABLE => {
            wrong("It is a foreign table, which can't have transition tables.", "Attach the table on its own server.")
        }
        _ => wrong("It is not a table.", "Attach a table."),
    }
}

fn check_columns(table: pg_sys::Oid, selectors: &[String], observed_at: Option<&str>) {
    // SAFETY: the relation is open for as long as its descriptor is read.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let desc = (*relation).rd_att;
        for text in selectors {
            check_selector(table, desc, text);
        }
        if let Some(name) = observed_at {
            if column(desc, name).is_none() {
                no_column(table, name);
            }
            if Moment::new(desc, name).is_none() {
                raise(
                    PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
                    format!("column \"{name}\" of \"{}\" can't be observed_at", plain_name(table)),
                    "It holds no time.",
                    "observed_at is a column of type timestamptz, timestamp or date.",
                );
            }
        }
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
}

/// # Safety
/// `desc` must be the descriptor of `table`.
unsafe fn check_selector(table: pg_sys::Oid, desc: pg_sys::TupleDesc, text: &str) {
    const TYPES: &str = "An address column is inet, cidr, text, varchar, or an array of one of them; a JSON column takes a path: payload->>src_ip.";
    let selector = match Selector::parse(text) {
        Ok(selector) => selector,
        Err(error) => bad_value(error.to_string(), "", TYPES),
    };
    let mismatch = |detail: String| {
        raise(
            PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            format!("column \"{}\" of \"{}\" holds no addresses", selector.column, plain_name(table)),
            &detail,
            TYPES,
        )
    };
    // SAFETY: the caller's descriptor.
    match unsafe { Extractor::new(&selector, desc) } {
        Ok(_) => {}
        Err(Misfit::NoColumn) => no_column(table, &selector.column),
        Err(Misfit::WrongType(name)) => mismatch(format!("Its type is {name}.")),
        Err(Misfit::NotJson(name)) => mismatch(format!("It has a path, but its type is {name}, not json or jsonb.")),
        Err(Misfit::NoPath) => mismatch("It is JSON, and no path says where in it.".to_owned()),
    }
}

fn no_column(table: pg_sys::Oid, name: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
        format!("column \"{name}\" of relation \"{}\" does not exist", plain_name(table)),
        "",
        "Names are case-sensitive here: write them as the table has them.",
    )
}
