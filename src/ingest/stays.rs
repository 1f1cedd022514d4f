//! Which rows of a table are counted, while what observes them changes: it leaves an attached table and keeps its trigger, is
//! attached or detached by itself, or another one takes back what it has counted. Noted as the moments of
//! [`Stays`](super::before::Stays), and with the columns by which its rows were observed: by others, all of them are to be
//! counted.

use std::collections::HashSet;
use std::fmt;

use pgrx::pg_sys;

use super::before::{Before, and_then, is_away, last};
use super::part::Counts;
use crate::inventory::source;
use crate::inventory::source_part;
use crate::inventory::source_part::{Note, Origin};
use crate::pg::catalog::Schema;
use crate::pg::inherits;
use crate::pg::session;

/// Tables that leave the attached table `root`, or do not count for it any more, and whose rows something goes on to observe: those
/// of before are counted, but for the `uncounted` ones.
pub fn go_on(
    schema: &Schema,
    tables: &[pg_sys::Oid],
    root: pg_sys::Oid,
    uncounted: Option<&str>,
    now: impl fmt::Display,
) {
    let noted = source_part::notes(schema, tables);
    let known: HashSet<u32> = noted.iter().map(|note| note.table.to_u32()).collect();
    let first = uncounted.unwrap_or("");
    let new = tables.iter().filter(|table| !known.contains(&table.to_u32()));
    let new = new.map(|table| (*table, at_once(first, &now), uncounted.is_none()));
    let old = noted.iter().filter_map(|note| {
        // Where it is unknown which were observed, it stays so, and what was not observed goes on to be not.
        let moments = note.moments.as_deref().filter(|moments| !is_away(moments))?;
        let moments = if note.is_counted { "" } else { moments };
        Some((note.table, at_once(moments, &now), note.is_counted))
    });
    let notes: Vec<(pg_sys::Oid, String, bool)> = new.chain(old).collect();
    source_part::write(schema, &notes);
    let tables: Vec<pg_sys::Oid> = notes.into_iter().map(|(table, ..)| table).collect();
    name_origin(schema, &tables, root);
}

/// Notes for which table, and by which columns, the rows of tables were observed until now.
pub fn name_origin(schema: &Schema, tables: &[pg_sys::Oid], root: pg_sys::Oid) {
    if let Some((columns, only_where)) = source::observed_by(schema, root) {
        source_part::name_origin(schema, tables, &Origin { root, columns, only_where });
    }
}

/// Tables are attached, by themselves or below the attached table `above`, at the moment `before`: what was observed of their rows by
/// the same columns stays counted.
pub fn begin(
    schema: &Schema,
    own: &[pg_sys::Oid],
    above: Option<pg_sys::Oid>,
    by: (&[String], Option<&str>),
    before: &str,
) {
    if let Some(above) = above {
        let is_same = source::observed_by(schema, above)
            .is_some_and(|(columns, only_where)| (&*columns, only_where.as_deref()) == by);
        if is_same {
            go_on(schema, &inherits::plain(own), above, source::uncounted(schema, above).as_deref(), before);
        }
    }
    let (mut forgotten, mut kept) = (Vec::new(), Vec::new());
    for Note { table, moments, is_counted, origin } in source_part::notes(schema, own) {
        let is_same = origin.is_some_and(|origin| (&*origin.columns, origin.only_where.as_deref()) == by);
        match moments.filter(|_| is_same) {
            None => forgotten.push(table),
            Some(moments) if is_away(&moments) => kept.push((table, and_then(&moments, before), false)),
            // Of those that are counted, nobody asks any more when they came.
            Some(moments) if is_counted => {
                let (last, _) = last(&moments);
                kept.push((table, and_then(&and_then("", last), last), true));
            }
            Some(_) => {}
        }
    }
    source_part::forget_parts(schema, &forgotten);
    source_part::write(schema, &kept);
}

/// `root`, which was attached at the moment `since`, is not any more, nor are its `own` tables. Of others than those that have left
/// an attached table, nothing is noted: attached again, they are counted anew.
pub fn end(schema: &Schema, root: pg_sys::Oid, own: &[pg_sys::Oid], counts: Counts, since: Option<&str>) {
    let (known, mut forgotten): (Vec<Note>, Vec<Note>) =
        source_part::notes(schema, own).into_iter().partition(|note| note.origin.is_some());
    match (counts, since.and_then(Before::parse)) {
        (Counts::TakenBack, Some(since)) => {
            let mut kept = Vec::new();
            for note in known {
                let by_other =
                    note.origin.as_ref().is_some_and(|origin| origin.root != root && origin.root != 0.into());
                let moments = note.moments.as_deref();
                let moments = match by_other && note.table != root {
                    // All that was observed before it left that one.
                    true => moments.map(|moments| if is_away(moments) { moments } else { last(moments).1 }.to_owned()),
                    false => before(moments, &since, note.table != root),
                };
                match moments {
                    Some(moments) => kept.push((note.table, moments, false)),
                    None => forgotten.push(note),
                }
            }
            source_part::write(schema, &kept);
        }
        _ => leave(schema, known),
    }
    let forgotten: Vec<pg_sys::Oid> = forgotten.into_iter().map(|note| note.table).collect();
    source_part::forget_parts(schema, &forgotten);
}

/// The moments of a table of which is counted what was observed before `since` alone; `None`: nothing is. `is_member`: what its own
/// trigger has added while it was away is taken back as well.
fn before(moments: Option<&str>, since: &Before, is_member: bool) -> Option<String> {
    let moments: Vec<&str> = moments?.split('>').collect();
    let is_earlier = |at: &&str| at.is_empty() || Before::parse(at).is_some_and(|at| !since.is_before(&at));
    let mut earlier: Vec<&str> = moments.into_iter().take_while(is_earlier).collect();
    if earlier.len() < 2 {
        return None;
    }
    let is_observed = !earlier.len().is_multiple_of(2);
    if is_observed && is_member {
        earlier.pop();
    }
    let earlier = earlier.join(">");
    Some(if is_observed && !is_member { and_then(&earlier, since) } else { earlier })
}

/// Tables that had left an attached one are not observed any more. `observed` are those that were, by a trigger of their own.
pub fn end_away(schema: &Schema, own: &[pg_sys::Oid], observed: &[pg_sys::Oid]) {
    stop(schema, own, &inherits::plain(observed), |now| and_then("", now));
}

/// Notes of tables that are parts of another one again that something observes them no more, as it is with a child of a table with an
/// index before that is attached again.
pub fn note_bare(schema: &Schema, bare: &[pg_sys::Oid]) {
    stop(schema, bare, bare, |now| and_then("", now));
}

/// Notes of tables that came below an attached one that nothing observes them there yet: as if they had left at once. Also of an empty
/// one, whose rows come later. Before, nothing has observed those of which nothing is noted.
pub fn begin_bare(schema: &Schema, bare: &[pg_sys::Oid]) {
    stop(schema, bare, bare, |now| and_then(&now.to_string(), now));
}

/// Notes that tables are not observed any more, and the moments that `unnoted` gives of those of `others` of which nothing is noted.
fn stop(schema: &Schema, tables: &[pg_sys::Oid], others: &[pg_sys::Oid], unnoted: impl Fn(&Before) -> String) {
    if tables.is_empty() {
        return;
    }
    let noted = source_part::notes(schema, tables);
    let known: HashSet<u32> = noted.iter().map(|note| note.table.to_u32()).collect();
    leave(schema, noted);
    let moments = unnoted(&Before::now(session::command()));
    let others = others.iter().filter(|table| !known.contains(&table.to_u32()));
    source_part::write(schema, &others.map(|table| (*table, moments.clone(), false)).collect::<Vec<_>>());
}

/// Notes that tables, which were observed until now, are not any more.
fn leave(schema: &Schema, notes: Vec<Note>) {
    let now = Before::now(session::command());
    let left = notes.into_iter().filter_map(|Note { table, moments, is_counted, .. }| {
        let moments = moments.filter(|moments| !is_away(moments))?;
        Some((table, and_then(if is_counted { "" } else { &moments }, &now), false))
    });
    source_part::write(schema, &left.collect::<Vec<_>>());
}

/// What `root` has counted is taken back, also of tables that have left it. `own` are those that have not.
pub fn take_back(schema: &Schema, root: pg_sys::Oid, own: &[pg_sys::Oid]) {
    let (mut forgotten, mut kept) = (Vec::new(), Vec::new());
    for Note { table, moments, is_counted, .. } in source_part::notes_of(schema, root) {
        let Some(moments) = moments.filter(|_| !own.contains(&table)) else { continue };
        let all: Vec<&str> = moments.split('>').collect();
        // When it left: in the last place, or there was one more moment since.
        let left = (all.len() / 2 * 2).checked_sub(1);
        let Some(left) = left else { continue };
        match &all[left..] {
            // Nothing of it is counted, and nothing has observed it since.
            [_] => forgotten.push(table),
            // Those that came meanwhile are counted, for another one.
            [left, _] if is_counted => kept.push((table, (*left).to_owned(), false)),
            [_, back] => kept.push((table, (*back).to_owned(), false)),
            _ => {}
        }
    }
    source_part::forget_parts(schema, &forgotten);
    source_part::write(schema, &kept);
}

/// The table has left and come back at one moment.
fn at_once(moments: &str, now: &impl fmt::Display) -> String {
    and_then(&and_then(moments, now), now)
}
