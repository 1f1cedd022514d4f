//! What observes a table: a statement trigger, a row trigger or an index. Putting it on the table, its partitions and its
//! children, and taking it off.
//!
//! A statement trigger fires only for the table that the statement names, so every partition and child gets one too;
//! [`family`] gives it to those that come later.

use std::collections::HashSet;

use pgrx::pg_sys;

use super::adopted;
use super::arguments::Arguments;
use super::indexes;
use super::indexes::Observer;
use super::install;
use super::install::Reads;
use super::noted;
use super::relatives;
use crate::inventory::attached;
use crate::pg::argument;
use crate::pg::catalog;
use crate::pg::catalog::{Schema, plain_name};
use crate::pg::citus;
use crate::pg::errors::{bad_value, not_ready};
use crate::pg::inherits;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;

/// How rows are observed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Once a statement.
    Trigger,
    /// One by one: see [`super::rows`].
    Row,
    /// By an index: see [`super::observer`].
    Index,
}

impl Method {
    /// By its name; an error for any other.
    pub fn parse(text: &str) -> Method {
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

    /// Its name.
    pub fn as_str(self) -> &'static str {
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

    /// Refuses what would observe rows of partitions that are attached by themselves as well, or take off what observes
    /// these: their rows would count for both, or for none. Only statement triggers go together.
    pub fn check_members(self, schema: &Schema, table: pg_sys::Oid, members: &[pg_sys::Oid]) {
        if members.len() > 1 {
            catalog::lock_relation(schema.relation(c"ip_source"), pg_sys::AccessShareLock);
            let is_by_statement = |member: pg_sys::Oid| {
                install::find(member).is_none_or(|found| found.reads != Reads::EachRow)
                    && indexes::of(member).is_empty()
            };
            let is_in_the_way = |member: &&pg_sys::Oid| {
                (self != Method::Trigger || !is_by_statement(**member))
                    && attached::is_any_attached(schema, &[**member])
            };
            if let Some(member) = members.iter().filter(|member| **member != table).find(is_in_the_way) {
                not_ready(
                    format!(
                        "\"{}\" is attached by itself, and stands below \"{}\"",
                        plain_name(*member),
                        plain_name(table)
                    ),
                    "Its rows would count for both.",
                    "Call detach_ip_source() for it first: what it has added stays.",
                );
            }
        }
    }

    /// Has it observe a table and its members, the table first, in place of what does.
    pub fn put_on(
        self,
        sql: &Sql,
        schema: &Schema,
        table: pg_sys::Oid,
        members: &[pg_sys::Oid],
        arguments: &Arguments,
    ) {
        match self.reads() {
            Some(reads) => {
                take_off_indexes(sql, schema, members, None);
                put_on_triggers(sql, schema, table, members, arguments, reads);
            }
            None => {
                take_off_triggers(sql, schema, members);
                let replica = are_subscribed(sql, members);
                let kept = take_off_indexes(sql, schema, members, Some((arguments, replica)));
                put_on_indexes(sql, table, members, arguments, replica, &kept);
            }
        }
    }

    /// Refuses what would be observed in two ways: a partition of a table that an index or a row trigger observes, below a
    /// trigger an index, and below one that reads statements a row trigger.
    pub fn check_above(self, schema: &Schema, table: pg_sys::Oid) {
        let above = inherits::all(&[table], inherits::CHILD);
        let is_observed = match self {
            Method::Index => above[1..].iter().any(|above| !install::modes(schema, *above).is_empty()),
            Method::Row => above[1..]
                .iter()
                .any(|above| install::ours(schema, *above).is_some_and(|found| found.reads == Reads::Rows)),
            Method::Trigger => false,
        };
        if is_observed || is_observed_above(schema, table) {
            not_ready(
                format!("\"{}\" is observed with the table above it", plain_name(table)),
                "Its rows would be counted in two ways.",
                "Attach or detach the table above, or the partition from it.",
            );
        }
    }
}

/// Whether PostgreSQL has given a partition the index, or the row trigger, of the table above, with which it goes.
pub fn is_observed_above(schema: &Schema, table: pg_sys::Oid) -> bool {
    install::ours(schema, table).is_some_and(|found| found.is_inherited)
        || indexes::of(table).iter().any(|index| index.is_inherited)
}

/// Takes off what observes tables. Whether there was anything.
pub fn take_off(sql: &Sql, schema: &Schema, members: &[pg_sys::Oid]) -> bool {
    let has_index = members.iter().any(|member| !indexes::of(*member).is_empty());
    take_off_indexes(sql, schema, members, None);
    take_off_triggers(sql, schema, members) || has_index
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
        members.iter().copied().filter(|member| *member == table || !relatives::is_managed(*member)).collect();
    take_off_triggers(sql, schema, &own);
    for member in own {
        let is_given = install::ours(schema, member).is_some();
        if install::can_have_trigger(member) {
            // PostgreSQL gives a row trigger to the partitions as well.
            if !is_given {
                install::create(sql, schema, member, &arguments, reads);
            }
        } else if reads == Reads::Rows || !is_given {
            pgrx::notice!("\"{}\" is a foreign table and is not observed by itself", plain_name(member));
        }
    }
}

/// Drops the triggers of tables. Whether there was one. What PostgreSQL made after that of the table above, which has a higher number
/// where it is younger, goes with that one, and cannot be dropped before.
fn take_off_triggers(sql: &Sql, schema: &Schema, members: &[pg_sys::Oid]) -> bool {
    let _switched = allow_triggers(members);
    let mut found = false;
    for member in members.iter().copied() {
        if install::ours(schema, member).is_some_and(|trigger| !trigger.is_inherited) {
            install::drop(sql, member);
            found = true;
        }
    }
    found
}

/// Makes the indexes of tables, but of those that are `kept`. PostgreSQL gives one to the partitions as well.
fn put_on_indexes(
    sql: &Sql,
    table: pg_sys::Oid,
    members: &[pg_sys::Oid],
    arguments: &Arguments,
    replica: bool,
    kept: &[pg_sys::Oid],
) {
    noted::by_itself(|| {
        for member in members.iter().copied().filter(|member| !kept.contains(member)) {
            let is_covered = indexes::of(member).iter().any(|index| index.is_inherited);
            let is_own = member == table || !relatives::is_managed(member);
            if install::can_have_trigger(member) && !is_covered && is_own {
                indexes::create(sql, member, arguments, replica);
            } else if inherits::kind(member) == pg_sys::RELKIND_FOREIGN_TABLE {
                pgrx::notice!("\"{}\" is a foreign table and is not observed by itself", plain_name(member));
            }
        }
    });
}

/// Drops the indexes of tables, but for one on each that observes as `wanted`: by which arguments, and whether also what a
/// subscription brings. Returns the tables that keep theirs.
fn take_off_indexes(
    sql: &Sql,
    schema: &Schema,
    members: &[pg_sys::Oid],
    wanted: Option<(&Arguments, bool)>,
) -> Vec<pg_sys::Oid> {
    // By the same names, one whose columns were renamed reads others.
    let observes = |index: &Observer| {
        !index.is_renamed && wanted.is_some_and(|(how, replica)| *how == index.arguments && replica <= index.replica)
    };
    let odd = if wanted.is_some() { above_others(members, observes) } else { HashSet::new() };
    let mut kept = Vec::new();
    for member in members.iter().copied() {
        for index in indexes::of(member).into_iter().filter(|index| !index.is_inherited) {
            let is_plain = index.is_valid && !index.is_partial && !index.has_expression;
            let fits = is_plain && observes(&index) && !odd.contains(&index.index);
            if fits && !kept.contains(&member) {
                kept.push(member);
            } else {
                adopted::drop_above(sql, schema, index.index);
            }
        }
    }
    kept
}

/// The indexes of partitioned tables below which one of a member does not observe as it should: one that a partition has brought, whose
/// columns are the same, belongs to that of the table above whatever it reads of them.
fn above_others(members: &[pg_sys::Oid], observes: impl Fn(&Observer) -> bool) -> HashSet<pg_sys::Oid> {
    let given = members.iter().flat_map(|member| indexes::of(*member)).filter(|index| index.is_inherited);
    let others = given.filter(|index| !observes(index));
    others.filter_map(|index| inherits::all(&[index.index], inherits::CHILD).pop()).collect()
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
