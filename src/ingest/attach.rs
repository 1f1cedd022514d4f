//! `attach_ip_source` and `detach_ip_source`: the ingest trigger on a table, its partitions and its children.
//!
//! A statement trigger fires only for the table that the statement names, so every partition and child gets one too;
//! [`family`] gives it to those that come later. The triggers are made with the caller's
//! rights on the table; only the note in `ip_source` is written as the extension's owner.

use enrich::selector::EventTime;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::arguments::Arguments;
use super::attachable::{check_columns, check_names, check_routes, check_table};
use super::before::Before;
use super::counted;
use super::family;
use super::indexes;
use super::install;
use super::install::Reads;
use super::noted;
use super::owner::check_owner;
use crate::inventory::source::Attaching;
use crate::inventory::{places, source, source_nodes};
use crate::pg::argument;
use crate::pg::call::Call;
use crate::pg::catalog;
use crate::pg::catalog::{Schema, plain_name, relation_name};
use crate::pg::citus;
use crate::pg::citus::Kept;
use crate::pg::errors::{bad_value, not_ready, raise, refuse_read_only};
use crate::pg::inherits;
use crate::pg::session;
use crate::pg::snapshot::with_latest_snapshot;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;
use crate::sql_function;

sql_function!(
    /// `attach_ip_source(tbl regclass, ip_columns text[], observed_at text, method text, only_where text, sensor text)`. Version 0.2.0
    /// declares it without `only_where` and with a name as `observed_at`, version 0.1.0 without `method` as well.
    attach_ip_source,
    pg_finfo_attach_ip_source,
    |call: Call| {
        refuse_read_only(c"attach_ip_source()");
        let Some(table) = call.get::<pg_sys::Oid>(0) else {
            bad_value("attach_ip_source needs a table", "tbl is null.", "Name the table that your events are inserted into.")
        };
        let selectors = call.texts(1).unwrap_or_default();
        let Some(selectors) = selectors.into_iter().collect::<Option<Vec<String>>>() else {
            bad_value("a column is null", "An element of ip_columns is null.", "Name columns: ARRAY['src_ip'].")
        };
        if selectors.is_empty() {
            bad_value("attach_ip_source needs a column", "ip_columns is empty.", "Name one: ARRAY['src_ip'].");
        }
        let observed_at = if call.nargs() > 4 { call.text(2) } else { call.name(2) };
        let method = if call.nargs() > 3 { call.text(3) } else { None };
        let method = Method::parse(method.as_deref().unwrap_or("trigger"));
        let only_where = if call.nargs() > 4 { call.text(4) } else { None };
        let sensor = if call.nargs() > 5 { call.text(5) } else { None };
        let arguments = Arguments { observed_at, selectors, only_where, sensor };
        attach(&Schema::of(call), table, arguments, method);
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

/// How rows are observed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    /// Once a statement.
    Trigger,
    /// One by one: see [`super::rows`].
    Row,
    /// By an index: see [`super::observer`].
    Index,
}

impl Method {
    fn parse(text: &str) -> Method {
        match text {
            "trigger" => Method::Trigger,
            "row" => Method::Row,
            "index" => Method::Index,
            _ => bad_value(
                format!("unknown method \"{text}\""),
                "Methods are: trigger, row, index.",
                "Leave it out, or use index for fast loads, and row for a table that a subscription writes to.",
            ),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Method::Trigger => "trigger",
            Method::Row => "row",
            Method::Index => "index",
        }
    }

    /// What its trigger reads; `None`: it has none.
    fn reads(self) -> Option<Reads> {
        match self {
            Method::Trigger => Some(Reads::Rows),
            Method::Row => Some(Reads::EachRow),
            Method::Index => None,
        }
    }
}

fn attach(schema: &Schema, table: pg_sys::Oid, mut arguments: Arguments, method: Method) {
    let Some(name) = relation_name(table) else {
        raise(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("relation with OID {} does not exist", table.to_u32()),
            "",
            "Name the table that your events are inserted into.",
        );
    };
    check_owner(table, "Attaching and detaching change the table's triggers.");
    check_table(table);
    if citus::is_newly_kept(table) {
        not_ready(
            format!("table \"{}\" was distributed in this transaction", plain_name(table)),
            "Its new rows could not be told from those that are copied to the other nodes.",
            "Attach it after COMMIT.",
        );
    }
    let time = check_columns(table, &arguments);
    let command = session::command();
    let sql = Sql::as_caller();
    let members = lock_family(table);
    if method == Method::Trigger {
        check_routes(table, &members);
    }
    check_names(schema, &members);
    check_above(schema, table, method);
    arguments.observed_at = time.as_ref().map(EventTime::to_string);
    match method.reads() {
        Some(reads) => {
            take_off_indexes(&sql, &members, None);
            put_on_triggers(&sql, schema, table, &members, &arguments, reads);
        }
        None => {
            take_off_triggers(&sql, schema, &members);
            let replica = are_subscribed(&sql, &members);
            let kept = take_off_indexes(&sql, &members, Some((&arguments, replica)));
            put_on_indexes(&sql, &members, &arguments, replica, &kept);
        }
    }
    // An index that is kept tells nobody that its table is attached now.
    members.iter().for_each(|member| catalog::forget_kept(*member));
    let before = Before::now(&with_latest_snapshot(|| snapshot(&sql)), command).to_string();
    drop(sql);
    let is_empty = members.iter().copied().all(is_empty);
    // The caller needs no right for the note.
    let quiet = Settings::without_triggers();
    let how = Attaching {
        columns: &arguments.selectors,
        observed_at: time.as_ref(),
        only_where: arguments.only_where.as_deref(),
        sensor: arguments.sensor.as_deref(),
        snapshot: &before,
        name: Some(&name),
        is_empty,
        method: method.as_str(),
    };
    let is_new = source::attach(schema, table, &how);
    drop(quiet);
    if citus::kept(table) == Some(Kept::Distributed) && citus::is_coordinator() {
        source_nodes::attach(schema, table, &how);
    }
    if is_new {
        // Its own snapshot says of all of them which rows were there.
        source::forget_parts(schema, &members);
    }
    pgrx::debug1!("asn_inventory: attached {name}");
}

/// Refuses what would be observed in two ways: a partition of a table that an index observes, and below a trigger an index.
fn check_above(schema: &Schema, table: pg_sys::Oid, method: Method) {
    let above = inherits::all(&[table], inherits::CHILD);
    let is_observed = match method {
        Method::Index => above[1..].iter().any(|above| !install::modes(schema, *above).is_empty()),
        _ => false,
    };
    if is_observed || indexes::of(table).iter().any(|index| index.is_inherited) {
        not_ready(
            format!("\"{}\" is observed with the table above it", plain_name(table)),
            "Its rows would be counted in two ways.",
            "Attach or detach the table above, or the partition from it.",
        );
    }
}

/// Whether a subscription brings rows to one of these tables.
fn are_subscribed(sql: &Sql, members: &[pg_sys::Oid]) -> bool {
    let text = "SELECT EXISTS (SELECT FROM pg_catalog.pg_subscription_rel WHERE srrelid = ANY ($1))";
    sql.query(text, &[argument::oids(members)]).get::<bool>(0, 1) == Some(true)
}

/// Makes the triggers of a table, `table`, and all below it.
fn put_on_triggers(
    sql: &Sql,
    schema: &Schema,
    table: pg_sys::Oid,
    members: &[pg_sys::Oid],
    arguments: &Arguments,
    reads: Reads,
) {
    let arguments = arguments.list();
    let _switched = allow_triggers(members);
    let own: Vec<pg_sys::Oid> =
        members.iter().copied().filter(|member| *member == table || !family::is_managed(*member)).collect();
    // From the top: what PostgreSQL made after the trigger of a table above goes with that.
    own.iter().filter(|member| has_trigger(schema, **member)).for_each(|member| install::drop(sql, *member));
    for member in own {
        if can_have_trigger(member) {
            // PostgreSQL gives a row trigger to the partitions as well.
            if !has_trigger(schema, member) {
                install::create(sql, schema, member, &arguments, reads);
            }
        } else if reads == Reads::Rows || !has_trigger(schema, member) {
            pgrx::notice!("\"{}\" is a foreign table and is not observed by itself", plain_name(member));
        }
    }
}

/// Drops the triggers of tables. Whether there was one.
fn take_off_triggers(sql: &Sql, schema: &Schema, members: &[pg_sys::Oid]) -> bool {
    let _switched = allow_triggers(members);
    let mut found = false;
    for member in members.iter().copied() {
        if has_trigger(schema, member) {
            install::drop(sql, member);
            found = true;
        }
    }
    found
}

/// Makes the indexes of tables, but of those that are `kept`. PostgreSQL gives one to the partitions as well.
fn put_on_indexes(sql: &Sql, members: &[pg_sys::Oid], arguments: &Arguments, replica: bool, kept: &[pg_sys::Oid]) {
    noted::by_itself(|| {
        for member in members.iter().copied().filter(|member| !kept.contains(member)) {
            let is_covered = indexes::of(member).iter().any(|index| index.is_inherited);
            if can_have_trigger(member) && !is_covered && !family::is_managed(member) {
                indexes::create(sql, member, arguments, replica);
            } else if inherits::kind(member) == pg_sys::RELKIND_FOREIGN_TABLE {
                pgrx::notice!("\"{}\" is a foreign table and is not observed by itself", plain_name(member));
            }
        }
    });
}

/// Drops the indexes of tables, but for one on each that observes as `wanted`: by which arguments, and whether also what a
/// subscription brings. Returns the tables that keep theirs.
fn take_off_indexes(sql: &Sql, members: &[pg_sys::Oid], wanted: Option<(&Arguments, bool)>) -> Vec<pg_sys::Oid> {
    let mut kept = Vec::new();
    for member in members.iter().copied() {
        for index in indexes::of(member).into_iter().filter(|index| !index.is_inherited) {
            let is_plain = index.is_valid && !index.is_partial && !index.has_expression;
            let fits =
                is_plain && wanted.is_some_and(|(how, replica)| *how == index.arguments && replica <= index.replica);
            if fits && !kept.contains(&member) {
                kept.push(member);
            } else {
                indexes::drop(sql, index.index);
            }
        }
    }
    kept
}

/// Whether a table has no rows at all; its writers are locked out. A foreign table may have some, and so may other
/// nodes of a cluster.
fn is_empty(table: pg_sys::Oid) -> bool {
    match inherits::kind(table) {
        _ if citus::kept(table) == Some(Kept::Distributed) => false,
        pg_sys::RELKIND_PARTITIONED_TABLE => true,
        pg_sys::RELKIND_RELATION => catalog::blocks(table) == 0,
        _ => false,
    }
}

/// For an update of the extension: tables that were attached before names were noted get their present name.
pub fn note_names(schema: &Schema) {
    let _quiet = Settings::without_triggers();
    source::note_names(schema);
}

pub(super) fn detach(schema: &Schema, table: pg_sys::Oid) {
    // Of a table that was dropped, only the note is left.
    if relation_name(table).is_some() {
        check_owner(table, "Attaching and detaching change the table's triggers.");
    }
    let sql = Sql::as_caller();
    let members = lock_family(table);
    if indexes::of(table).iter().any(|index| index.is_inherited) && source::root(schema, table) != Some(table) {
        not_ready(
            format!("\"{}\" is observed with the table above it", plain_name(table)),
            "Its index cannot be dropped for one partition.",
            "Attach or detach the table above, or the partition from it.",
        );
    }
    members.iter().for_each(|member| catalog::forget_kept(*member));
    let has_index = members.iter().any(|member| !indexes::of(*member).is_empty());
    take_off_indexes(&sql, &members, None);
    let found = take_off_triggers(&sql, schema, &members) || has_index;
    drop(sql);
    let quiet = Settings::without_triggers();
    let known = source::detach(schema, table);
    if citus::kept(table) == Some(Kept::Distributed) && citus::is_coordinator() {
        source_nodes::detach(schema, table);
    }
    if known {
        places::retire_table(schema, table);
        source::forget_parts(schema, &members);
    } else if found {
        // A partition, or one that was.
        members.iter().for_each(|member| source::note_part_observed(schema, *member));
    }
    drop(quiet);
    if !found && !known {
        raise(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("table \"{}\" is not attached", plain_name(table)),
            "",
            &format!("SELECT tbl FROM {}.ip_source lists the attached tables.", schema.name),
        );
    }
}

/// The table and everything that inherits from it, locked against writers: rows committed before are "existing", the
/// trigger sees all later rows.
pub(super) fn lock_family(table: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // Waits for the writers of the table, and then holds off new ones.
    let lock = |table| catalog::lock_relation(table, pg_sys::ShareRowExclusiveLock);
    lock(table);
    let mut members = inherits::below(table);
    // In the same order in all sessions.
    members[1..].sort_unstable_by_key(|member| member.to_u32());
    members.iter().skip(1).for_each(|member| lock(*member));
    members.retain(|member| inherits::kind(*member) != 0);
    members
}

/// Lets triggers be made on a table that Citus keeps in shards, for as long as the returned value lives. Citus guards that
/// by a setting, since a trigger that reads other tables would see one node's rows; ours reads the inserted ones alone.
fn allow_triggers(members: &[pg_sys::Oid]) -> Option<Settings> {
    let kept = members.iter().any(|member| citus::kept(*member).is_some());
    kept.then(|| {
        let settings = Settings::begin();
        settings.set(c"citus.enable_unsafe_triggers", c"on");
        settings
    })
}

/// Lets a reading of rows and queue see the row-by-row counts of this transaction.
pub(super) fn hand_in_rows() {
    if !counted::hand_in() {
        not_ready(
            "rows that this transaction inserted before the savepoint are not counted yet",
            "They are counted when it commits.",
            "Call this in a transaction of its own.",
        );
    }
}

/// Refuses to read the rows of a table that other nodes of a cluster have.
pub(super) fn refuse_distributed(table: pg_sys::Oid, what: &str) {
    if citus::kept(table) == Some(Kept::Distributed) {
        raise(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("{what} does not work on \"{}\": it is distributed", plain_name(table)),
            "Its rows are on other nodes of the cluster, whose workers count what is inserted there.",
            "",
        );
    }
}

fn snapshot(sql: &Sql) -> String {
    sql.query("SELECT pg_catalog.pg_current_snapshot()::text", &[]).get(0, 1).unwrap_or_default()
}

fn can_have_trigger(table: pg_sys::Oid) -> bool {
    matches!(inherits::kind(table), pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE)
}

fn has_trigger(schema: &Schema, table: pg_sys::Oid) -> bool {
    install::find(table).is_some_and(|found| found.is_ours(schema))
}
