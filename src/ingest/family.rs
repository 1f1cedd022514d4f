//! Partitions and children that come after their parent was attached: they get its trigger, by an event trigger.
//!
//! It runs in every CREATE TABLE of the database. So it looks only at the objects of this command: a statement that
//! puts no table below another is done after a look at its parse tree, and the relatives of a table are found by the
//! catalog's indexes, each once. And it never fails a statement: a failure becomes a warning.
//!
//! A table copies the trigger of the nearest one above it that has it. While a dump is being restored, no table has it:
//! the triggers come last, and the dump's own CREATE TRIGGER would fail on one that was made here.
#![allow(unsafe_code, reason = "reads parse trees, and calls functions of event triggers")]

use std::collections::{HashMap, HashSet, VecDeque};

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::arguments::Arguments;
use super::departed;
use super::indexes;
use super::install;
use super::install::{Found, Reads, TRIGGER};
use super::part;
use super::relatives::{PATIENCE, alters, attempt, attempt_all, command, is_left_alone};
use super::stays;
use crate::inventory::attached;
use crate::inventory::source;
use crate::pg::call::Call;
use crate::pg::catalog;
use crate::pg::catalog::{Schema, plain_name, quote_literal, relation_name};
use crate::pg::citus;
use crate::pg::errors::warn;
use crate::pg::inherits::{CHILD, Link, PARENT, all, kind, links};
use crate::pg::made;
use crate::pg::patience;
use crate::pg::tx;
use crate::pg::tx::Settings;
use crate::sql_function;

sql_function!(
    /// `attach_new_partitions()`: gives the trigger to partitions and children that came after their parent was
    /// attached. For the event trigger alone; raises nothing.
    attach_new_partitions,
    pg_finfo_attach_new_partitions,
    |call: Call| {
        if alters(&call, &[pg_sys::AlterTableType::AT_AlterColumnType])
            && let Err(reason) = tx::attempt(keep_indexes).unwrap_or_else(|failure| Err(failure.message))
        {
            warn(
                "DROP EXTENSION asn_inventory will need CASCADE",
                &reason,
                "Run ALTER INDEX \u{2026} DEPENDS ON EXTENSION asn_inventory for the table's index with ip_observer.",
            );
        }
        departed::note(&call);
        // A table that was there before may have rows.
        let had_rows =
            alters(&call, &[pg_sys::AlterTableType::AT_AttachPartition, pg_sys::AlterTableType::AT_AddInherit]);
        if had_rows || makes_relatives(&call) {
            let schema = Schema::of(call);
            if let Err(failure) = tx::attempt(|| complete(&schema, &made::relations(), had_rows)) {
                warn(
                    "new partitions and children of attached tables are not observed",
                    &failure.message,
                    "SELECT * FROM enrichment_doctor() names the tables; attach_ip_source() of their root mends it.",
                );
            }
        }
        Datum::from(0)
    }
);

/// Whether the command can have made a table below another.
fn makes_relatives(call: &Call) -> bool {
    let Some(node) = command(call) else { return false };
    let tree = std::ptr::from_ref(node);
    // SAFETY: nodes are cast to the types of their tags; the parse tree is the command's own.
    unsafe {
        let has_any = |list: *mut pg_sys::List| !list.is_null() && (*list).length > 0;
        match node.type_ {
            pg_sys::NodeTag::T_CreateStmt => has_any((*tree.cast::<pg_sys::CreateStmt>()).inhRelations),
            pg_sys::NodeTag::T_CreateForeignTableStmt => {
                has_any((*tree.cast::<pg_sys::CreateForeignTableStmt>()).base.inhRelations)
            }
            pg_sys::NodeTag::T_CreateSchemaStmt => has_any((*tree.cast::<pg_sys::CreateSchemaStmt>()).schemaElts),
            _ => false,
        }
    }
}

/// An index on a column that gets another type is made anew. Where its content may stay, as from varchar(20) to varchar(50),
/// it is not built, and [`super::observer`] does not hear of it: DROP EXTENSION would not take it along. Returns the reason
/// of a failure. The command has locked the tables.
fn keep_indexes() -> Result<(), String> {
    for table in all(&made::relations(), PARENT) {
        if !install::can_have_trigger(table) {
            continue;
        }
        // With a superuser's rights: no more is asked of an index than which it is.
        let observers = indexes::oids(table);
        if observers.is_empty() || citus::kept(table).is_some() || citus::shard_of(table).is_some() {
            continue;
        }
        if !patience::hold_extension(PATIENCE) {
            return Err("Somebody is dropping the extension.".to_owned());
        }
        for (index, _) in observers {
            install::goes_with_extension(pg_sys::RelationRelationId, index);
        }
    }
    Ok(())
}

/// The foreign tables among these that rows are routed to.
pub fn foreign_partitions(tables: &[pg_sys::Oid]) -> Vec<pg_sys::Oid> {
    let is_partition = |table: &&pg_sys::Oid| {
        kind(**table) == pg_sys::RELKIND_FOREIGN_TABLE
            // SAFETY: a catalog look-up.
            && unsafe { pg_sys::get_rel_relispartition(**table) }
    };
    tables.iter().filter(is_partition).copied().collect()
}

/// Gives the trigger to the tables that the command put below attached tables.
fn complete(schema: &Schema, made: &[pg_sys::Oid], had_rows: bool) {
    let mut new = Vec::new();
    for table in made {
        if links(*table, CHILD).iter().any(|link| link.new) {
            new.push(*table);
        }
        new.extend(links(*table, PARENT).iter().filter(|link| link.new).map(|link| link.child));
    }
    let tables = all(&new, PARENT);
    if had_rows {
        drop_left(schema, &tables);
    }
    // Whether there is a trigger to hand on.
    let is_below_trigger = new.iter().any(|table| nearest(schema, *table).is_some());
    let mut unnoted = if had_rows { note_earlier(schema, &tables, is_below_trigger) } else { HashMap::new() };
    if is_below_trigger {
        let unroutable = above_foreign(&tables);
        give_all(schema, &tables, &unroutable, &mut unnoted);
        for table in unroutable {
            stop_reading(schema, table);
        }
    }
    note_bare(schema, &tables);
    for table in tables {
        if let Some(reason) = unnoted.get(&table) {
            warn(
                format!("rows already in \"{}\" are not observed", plain_name(table)),
                reason,
                "Rows inserted from now on are observed.",
            );
        }
    }
}

/// Drops the indexes that tables have kept from an attached one which they had left, where an index of the table above observes them
/// from now on: each row would be counted by both. Without that one they count nothing, and the doctor names them.
fn drop_left(schema: &Schema, tables: &[pg_sys::Oid]) {
    let observers = |table: &pg_sys::Oid| {
        let is_here = citus::kept(*table).is_none() && citus::shard_of(*table).is_none();
        let may_look = is_here && !is_left_alone(*table) && patience::lock(*table, pg_sys::AccessShareLock, PATIENCE);
        if may_look { indexes::oids(*table) } else { Vec::new() }
    };
    let own = |table: &pg_sys::Oid| {
        let (given, own): (Vec<_>, Vec<_>) = observers(table).into_iter().partition(|(_, is_inherited)| *is_inherited);
        let own: Vec<pg_sys::Oid> = own.into_iter().map(|(index, _)| index).collect();
        (!given.is_empty() && !own.is_empty()).then_some((*table, own))
    };
    let found: Vec<(pg_sys::Oid, Vec<pg_sys::Oid>)> = tables.iter().filter_map(own).collect();
    if found.is_empty() {
        return;
    }
    let (roots, away) = (source::roots(schema, tables), part::away(schema, tables));
    for (table, own) in found {
        let is_away = |table: &pg_sys::Oid| kind(*table) != pg_sys::RELKIND_RELATION || away.contains_key(table);
        // Not one that is attached by itself, nor what the user makes beside the index of the table above.
        if roots.get(&table).is_none_or(|root| tables.contains(root)) || !all(&[table], PARENT).iter().all(is_away) {
            continue;
        }
        let done = attempt(table, || own.iter().for_each(|index| indexes::drop_quietly(*index)));
        if let Err(reason) = done {
            warn(
                format!("\"{}\" is observed by two indexes, and its rows are counted twice", plain_name(table)),
                &reason,
                "It has kept one from an attached table that it had left: SELECT * FROM enrichment_doctor() says how it is dropped.",
            );
        }
    }
}

/// Notes which rows tables have that what observes them from now on has not seen. Returns those for which it failed, each with the
/// reason.
fn note_earlier(schema: &Schema, tables: &[pg_sys::Oid], is_below_trigger: bool) -> HashMap<pg_sys::Oid, String> {
    let roots = source::roots(schema, tables);
    let away = part::away(schema, tables);
    let others = below_others(schema, tables);
    // Whether its rows are observed from now on, and not as before.
    let begins = |table: &pg_sys::Oid| {
        let table = *table;
        let root = roots.get(&table);
        // Attached by itself, or below one that is and has come with it: it goes on counting for that.
        if kind(table) != pg_sys::RELKIND_RELATION
            || root.is_some_and(|root| tables.contains(root))
            || others.contains(&table) && !away.contains_key(&table)
        {
            return false;
        }
        let gets_trigger = match install::find(table) {
            Some(found) if !found.is_ours(schema) => false,
            // It goes on. What it has not seen was noted when the table left: see `departed`.
            Some(found) if !found.is_inherited => return false,
            // PostgreSQL gave it the row trigger of the table above.
            Some(_) => is_below_trigger && !is_left_alone(table),
            None => is_below_trigger && !is_left_alone(table) && nearest(schema, table).is_some(),
        };
        // Below a table that is not attached, nobody observes its rows: what is noted of a table that is away stays.
        gets_trigger || root.is_some() && has_index(table)
    };
    let come: Vec<pg_sys::Oid> = tables.iter().copied().filter(begins).collect();
    let unnoted = attempt_all(&come, pg_sys::ShareRowExclusiveLock, |come| {
        let _quiet = Settings::without_triggers();
        part::note(schema, come);
    });
    unnoted.into_iter().collect()
}

/// Notes the children among tables that nothing observes below an attached one: a child gets no index before the table above is attached
/// again, and a trigger may have failed. Also of an empty one, and of one that is made there: all that comes until then is to be counted.
/// Not of partitions, whose rows may come through the table above, and by its trigger.
fn note_bare(schema: &Schema, tables: &[pg_sys::Oid]) {
    let is_bare = |table: &pg_sys::Oid| {
        kind(*table) == pg_sys::RELKIND_RELATION
            // SAFETY: a catalog look-up.
            && !unsafe { pg_sys::get_rel_relispartition(*table) }
            && !is_left_alone(*table)
            // Where it cannot be locked, that is known by now: see `has_index` and `give`.
            && patience::lock(*table, pg_sys::AccessShareLock, PATIENCE)
            && part::is_bare(schema, *table)
    };
    let mut bare: Vec<pg_sys::Oid> = tables.iter().copied().filter(is_bare).collect();
    if bare.is_empty() {
        return;
    }
    let complain = |table: pg_sys::Oid, reason: &str| {
        warn(
            format!("the rows of \"{}\" could not be noted", plain_name(table)),
            reason,
            "Attach the table above it again with attach_ip_source() before rows are inserted: these would never be counted.",
        );
    };
    let sources = schema.relation(c"ip_source");
    if !patience::lock(sources, pg_sys::AccessShareLock, PATIENCE) {
        bare.into_iter().for_each(|table| complain(table, "Somebody holds a lock on ip_source."));
        return;
    }
    let is_attached = attached::is_any_attached(schema, &all(&bare, CHILD));
    // Most families are not attached, and who makes a table there keeps nobody from altering ours.
    catalog::unlock_relation(sources, pg_sys::AccessShareLock);
    if !is_attached {
        return;
    }
    // A failure takes nobody's trigger back.
    let (roots, others) = match tx::attempt(|| (source::roots(schema, &bare), below_others(schema, tables))) {
        Ok(found) => found,
        Err(failure) => {
            bare.into_iter().for_each(|table| complain(table, &failure.message));
            return;
        }
    };
    // Others go on, or had come before.
    bare.retain(|table| roots.get(table).is_some_and(|root| !tables.contains(root)) && !others.contains(table));
    // Nothing is to be locked against writers, whose rows nobody sees: they are counted whether they come before this moment or after.
    let unnoted = attempt_all(&bare, pg_sys::AccessShareLock, |bare| {
        let _quiet = Settings::without_triggers();
        stays::begin_bare(schema, bare);
    });
    unnoted.into_iter().for_each(|(table, reason)| complain(table, &reason));
}

/// Those of tables that were below an attached one before this transaction put them below another: what observes them, or should, does
/// not begin with it.
fn below_others(schema: &Schema, tables: &[pg_sys::Oid]) -> HashSet<pg_sys::Oid> {
    let known: HashSet<pg_sys::Oid> = tables.iter().copied().collect();
    let up = tables.iter().flat_map(|table| links(*table, CHILD));
    let old: Vec<Link> = up.filter(|link| !link.new && !known.contains(&link.parent)).collect();
    let parents: Vec<pg_sys::Oid> = old.iter().map(|link| link.parent).collect();
    let roots = source::roots(schema, &parents);
    let below: Vec<pg_sys::Oid> =
        old.iter().filter(|link| roots.contains_key(&link.parent)).map(|link| link.child).collect();
    all(&below, PARENT).into_iter().collect()
}

/// Gives tables the trigger of the table above that has it, parents first: one that has just got it hands it on. `unnoted` are those
/// whose rows of before could not be noted: such a table gets none.
fn give_all(
    schema: &Schema,
    tables: &[pg_sys::Oid],
    unroutable: &HashSet<pg_sys::Oid>,
    unnoted: &mut HashMap<pg_sys::Oid, String>,
) {
    for table in tables.iter().copied() {
        pgrx::check_for_interrupts!();
        if !install::can_have_trigger(table) || is_left_alone(table) {
            continue;
        }
        match install::find(table) {
            Some(found) if found.is_ours(schema) => {}
            // By an index above, it is.
            Some(_) if nearest(schema, table).is_none() => {}
            Some(_) => warn(
                format!("table \"{}\" is not observed", plain_name(table)),
                &format!("It has a trigger {TRIGGER} that does not belong to asn_inventory."),
                "Rename that trigger, and attach the parent again with attach_ip_source().",
            ),
            None => {
                if let Some(above) = nearest(schema, table) {
                    let reads = above.reads_below(unroutable.contains(&table));
                    give(schema, table, &above, reads, unnoted.remove(&table));
                }
            }
        }
    }
}

/// The partitioned tables whose rows may be routed to one of these that is foreign.
fn above_foreign(tables: &[pg_sys::Oid]) -> HashSet<pg_sys::Oid> {
    let above = all(&foreign_partitions(tables), CHILD);
    above.into_iter().filter(|table| kind(*table) == pg_sys::RELKIND_PARTITIONED_TABLE).collect()
}

/// A table above another, and the trigger that it has.
struct Above {
    table: pg_sys::Oid,
    trigger: Found,
}

impl Above {
    /// How the trigger of a table below handles rows.
    fn reads_below(&self, is_above_foreign: bool) -> Reads {
        match self.trigger.reads {
            Reads::EachRow => Reads::EachRow,
            _ if is_above_foreign => Reads::Nothing,
            _ => Reads::Rows,
        }
    }
}

/// Gives tables that are not attached by themselves any more the trigger of the table above.
pub fn give_back(schema: &Schema, tables: &[pg_sys::Oid]) {
    give_all(schema, tables, &above_foreign(tables), &mut HashMap::new());
}

/// The nearest table above that has the trigger; `None` where none has, and where another extension's table stands
/// between.
fn nearest(schema: &Schema, table: pg_sys::Oid) -> Option<Above> {
    let mut known = HashSet::from([table]);
    let mut pending = VecDeque::from([table]);
    while let Some(at) = pending.pop_front() {
        pgrx::check_for_interrupts!();
        for link in links(at, CHILD) {
            if !known.insert(link.parent) || is_left_alone(link.parent) {
                continue;
            }
            match install::ours(schema, link.parent) {
                Some(trigger) => return Some(Above { table: link.parent, trigger }),
                None => pending.push_back(link.parent),
            }
        }
    }
    None
}

/// Makes a trigger like that of the table above, but for a table with a reason against it. A failure is a warning.
fn give(schema: &Schema, table: pg_sys::Oid, above: &Above, reads: Reads, against: Option<String>) {
    let create = || install::create_quietly(schema, table, &above.trigger.arguments, reads);
    let done = against.map_or_else(|| attempt(table, create), Err);
    if let Err(reason) = done {
        warn(
            format!("table \"{}\" is not observed: its trigger could not be created", plain_name(table)),
            &reason,
            &format!("{} makes it.", mending(schema, above.table, &above.trigger)),
        );
    }
}

/// Whether a table has an index that observes: of its own, or that of a partitioned table above. Taken for true where it is locked:
/// then its rows cannot be noted, and a warning says so.
fn has_index(table: pg_sys::Oid) -> bool {
    !patience::lock(table, pg_sys::AccessShareLock, PATIENCE) || !indexes::oids(table).is_empty()
}

/// Takes the transition table from the trigger of a partitioned table above a foreign partition: with it, rows routed
/// there would be refused.
fn stop_reading(schema: &Schema, table: pg_sys::Oid) {
    let Some(found) = install::ours(schema, table).filter(|found| found.reads != Reads::EachRow) else { return };
    if found.reads == Reads::Rows {
        let done = attempt(table, || install::create_quietly(schema, table, &found.arguments, Reads::Nothing));
        if let Err(reason) = done {
            warn(
                format!("rows that \"{}\" routes to its foreign partition are refused", plain_name(table)),
                &reason,
                &format!("Run DROP TRIGGER {TRIGGER} ON {}.", relation_name(table).unwrap_or_default()),
            );
            return;
        }
    }
    warn(
        format!("rows inserted through \"{}\" are no longer observed", plain_name(table)),
        "It has a foreign partition now, and PostgreSQL routes no row there while a trigger reads the new rows. Rows that are inserted into its local partitions by name are still observed.",
        &format!(
            "Attach it with method => 'row', insert into the partitions by name, or detach the foreign one and run {}.",
            mending(schema, table, &found)
        ),
    );
}

/// The call that attaches the topmost table of a family again, with all that is below.
fn mending(schema: &Schema, table: pg_sys::Oid, trigger: &Found) -> String {
    let is_attached = |table: &pg_sys::Oid| install::ours(schema, *table).is_some();
    let top = all(&[table], CHILD).into_iter().rfind(is_attached).unwrap_or(table);
    let arguments = Arguments::parse(trigger.arguments.iter().cloned());
    let columns: Vec<String> = arguments.selectors.iter().map(|column| quote_literal(column)).collect();
    let named = |name: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!(", {name} => {}", quote_literal(value))).unwrap_or_default()
    };
    let only = named("only_where", &arguments.only_where) + &named("sensor", &arguments.sensor);
    let observed_at = arguments.observed_at.map(|name| format!(", {}", quote_literal(&name))).unwrap_or_default();
    let method = if trigger.reads == Reads::EachRow { ", method => 'row'" } else { "" };
    let top = quote_literal(&relation_name(top).unwrap_or_default());
    format!("SELECT {}.attach_ip_source({top}, ARRAY[{}]{observed_at}{method}{only})", schema.name, columns.join(", "))
}
