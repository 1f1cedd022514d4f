//! `attach_ip_source` and `detach_ip_source`: what observes a table ([`method`]), and the note on it. Triggers and indexes are
//! made with the caller's rights on the table; only the note in `ip_source` is written as the extension's owner.

use enrich::selector::EventTime;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::arguments::Arguments;
use super::attachable::{check_columns, check_names, check_routes, check_table};
use super::before::Before;
use super::counted;
use super::detached;
use super::family;
use super::generated;
use super::install;
use super::method;
use super::method::Method;
use super::owner::check_owner;
use super::part;
use super::part::Counts;
use super::relatives;
use super::stays;
use super::unobserved;
use super::waiting;
use crate::inventory::source::Attaching;
use crate::inventory::{places, source, source_nodes, source_part};
use crate::pg::argument;
use crate::pg::call::Call;
use crate::pg::catalog;
use crate::pg::catalog::{Schema, Turn, plain_name, relation_name};
use crate::pg::citus;
use crate::pg::citus::Kept;
use crate::pg::errors::{bad_value, not_ready, raise, refuse_read_only};
use crate::pg::inherits;
use crate::pg::session;
use crate::pg::sql::Sql;
use crate::pg::tx;
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
            detach(&Schema::of(call), table, Counts::Stay);
        }
        call.null()
    }
);

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
    let above = source::root(schema, table).filter(|above| *above != table);
    if above.is_some() {
        hand_in_rows();
    }
    let command = session::command();
    let sql = Sql::as_caller();
    let members = lock_family(table);
    match method {
        Method::Trigger => {
            check_routes(table, &members);
            generated::check(&sql, table, &generated::columns_of(&arguments, time.as_ref()));
        }
        Method::Row => check_partition_keys(&sql, &members),
        Method::Index => {}
    }
    check_names(schema, &members);
    method.check_above(schema, table);
    method.check_members(schema, table, &members);
    arguments.observed_at = time.as_ref().map(EventTime::to_string);
    let own = source::own(schema, table, &members);
    let unobserved = part::unobserved(schema, &own);
    method.put_on(&sql, schema, table, &own, &arguments);
    if let Some(above) = above {
        // What was observed until now counts for that one, also where it waits in the queue.
        Turn::Absorb.wait();
        tx::next_command();
        waiting::hand_over(schema, &own, above);
    }
    // An index that is kept tells nobody that its table is attached now.
    members.iter().for_each(|member| catalog::forget_kept(*member));
    let before = Before::now(command).to_string();
    drop(sql);
    let is_empty = own.iter().copied().all(relatives::is_empty);
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
    if is_new {
        // What came since it was detached, or by triggers made by hand, is not what it adds from now on.
        places::retire_own(schema, table);
    } else {
        // From now on they are.
        part::note(schema, &unobserved);
    }
    drop(quiet);
    if citus::kept(table) == Some(Kept::Distributed) && citus::is_coordinator() {
        source_nodes::attach(schema, table, &how);
    }
    if is_new {
        // Of the others, its own snapshot says which rows were there.
        let by = (&*arguments.selectors, arguments.only_where.as_deref());
        stays::begin(schema, &own, above, by, &before);
    }
    pgrx::debug1!("asn_inventory: attached {name}");
}

/// Refuses to make a row trigger where that would run code of the owner's as a superuser: PostgreSQL puts it on the partitions as
/// well, and for that simplifies the expressions by which the table is partitioned.
fn check_partition_keys(sql: &Sql, members: &[pg_sys::Oid]) {
    const FOREIGN: &str = r"
        SELECT c.oid FROM pg_catalog.pg_partitioned_table p JOIN pg_catalog.pg_class c ON c.oid = p.partrelid
        JOIN pg_catalog.pg_roles o ON o.oid = c.relowner JOIN pg_catalog.pg_roles u ON u.rolname = CURRENT_USER
        WHERE c.oid = ANY ($1) AND p.partexprs IS NOT NULL AND u.rolsuper AND NOT o.rolsuper
          -- satisfies_hash_partition simplifies the expressions of another table, of anybody's.
          AND (p.partexprs::text ~ ':funcid 5028\M'
               OR EXISTS (SELECT FROM pg_catalog.pg_depend d
                          WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.refobjid >= 16384
                            AND d.refclassid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass, 'pg_catalog.pg_type'::regclass)))
        ORDER BY c.oid LIMIT 1";
    let found = sql.query(FOREIGN, &[argument::oids(members)]);
    if found.len() > 0
        && let Some(table) = found.get::<pg_sys::Oid>(0, 1)
    {
        not_ready(
            format!("\"{}\" is partitioned by an expression of another role", plain_name(table)),
            "A superuser would run the functions in it.",
            "Attach it as its owner, or with another method.",
        );
    }
}

/// For an update of the extension: tables that were attached before names were noted get their present name.
pub fn note_names(schema: &Schema) {
    let _quiet = Settings::without_triggers();
    source::note_names(schema);
}

pub(super) fn detach(schema: &Schema, table: pg_sys::Oid, counts: Counts) {
    // Of a table that was dropped, only the note is left.
    if relation_name(table).is_some() {
        check_owner(table, "Attaching and detaching change the table's triggers.");
    }
    let is_whole = match counts {
        // What is counted in memory still, above a savepoint, would come into the queue later.
        Counts::Stay => counted::hand_in() && detached::is_whole(schema, table),
        // Nothing is left of it.
        Counts::TakenBack => true,
    };
    let sql = Sql::as_caller();
    let members = lock_family(table);
    if method::is_observed_above(schema, table) && source::root(schema, table) != Some(table) {
        not_ready(
            format!("\"{}\" is observed with the table above it", plain_name(table)),
            "Its index or trigger cannot be dropped for one partition.",
            "Attach or detach the table above, or the partition from it.",
        );
    }
    members.iter().for_each(|member| catalog::forget_kept(*member));
    let own = source::own(schema, table, &members);
    let has_trigger = |member: &pg_sys::Oid| install::ours(schema, *member).is_some_and(|found| !found.is_inherited);
    let observed: Vec<pg_sys::Oid> = own.iter().copied().filter(has_trigger).collect();
    let found = method::take_off(&sql, schema, &own);
    drop(sql);
    let quiet = Settings::without_triggers();
    let since = source::since(schema, table);
    let unseen = part::unseen(schema, table, counts);
    let is_unnoted = matches!(counts, Counts::TakenBack)
        || detached::is_unnoted(schema, table, &own) && !waiting::has_rows_of(schema, &own);
    // A later attach is another one.
    source_part::forget_root(schema, table);
    let known = source::detach(schema, table);
    if citus::kept(table) == Some(Kept::Distributed) && citus::is_coordinator() {
        source_nodes::detach(schema, table);
    }
    let above = if known { source::root(schema, table) } else { None };
    if known {
        // What counts for another one from now on is noted: see below.
        let is_alone = matches!(counts, Counts::TakenBack) || above.is_none();
        places::retire_table(schema, table, is_whole && is_unnoted && is_alone);
    }
    match above {
        // Its rows count for that one from now on: those that were observed here no second time, unless they were taken back.
        Some(_) => part::note_left(schema, &own, counts, unseen.as_deref(), since.as_deref()),
        None if known => stays::end(schema, table, &own, counts, since.as_deref()),
        // A partition that was.
        None if found => stays::end_away(schema, &own, &observed),
        None => {}
    }
    if above.is_some() {
        family::give_back(schema, &own);
        let mut bare = inherits::plain(&own);
        bare.retain(|member| part::is_bare(schema, *member));
        stays::note_bare(schema, &bare);
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
    // Nobody wants what is missing any more.
    unobserved::mend_at_commit(schema, &own, None);
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

/// Refuses to read the rows of a table that other nodes of a cluster have. A reference table is read here: by another node's
/// rows, whose transactions are of that node, nobody could tell which were there before.
pub(super) fn refuse_distributed(table: pg_sys::Oid, what: &str) {
    let is_elsewhere = match citus::kept(table) {
        Some(Kept::Distributed) => true,
        Some(Kept::Reference) => citus::shards_here(table).is_empty(),
        Some(Kept::Local) | None => false,
    };
    if is_elsewhere {
        raise(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("{what} does not work on \"{}\": it is distributed", plain_name(table)),
            "Its rows are on other nodes of the cluster, whose workers count what is inserted there.",
            "",
        );
    }
}
