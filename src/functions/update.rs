//! The first step of an upgrade script: all the locks that it will need, the queue's last.
//!
//! A script that locks one table after the other keeps what it has while it waits for the next. Loaders wait two seconds
//! for the queue and then go on without it, unobserved: one transaction that is open somewhere would cost observations
//! of all others. So the locks are taken together, with a short wait for each, and all given back where one cannot be
//! had. Between two attempts everybody works on.
#![allow(unsafe_code, reason = "reads lock_timeout as this backend has it")]

mod history;

use std::time::{Duration, Instant};

use pgrx::{IntoDatum, PgSqlErrorCode, pg_sys};

use crate::pg::argument;
use crate::pg::call::Call;
use crate::pg::catalog;
use crate::pg::catalog::Turn;
use crate::pg::citus;
use crate::pg::errors::raise;
use crate::pg::patience;
use crate::pg::sql::Sql;
use crate::pg::tx;
use crate::pg::tx::Settings;
use crate::sql_function;
use history::Unindexed;

/// How long an update waits for other sessions, unless `lock_timeout` says something else.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first wait for a lock (milliseconds), doubled up to [`LONGEST`]: less than a loader's patience, with time left for
/// the rest of the script.
const FIRST: u64 = 100;
const LONGEST: u64 = 600;

/// The tables that scripts after the first one alter.
const ALTERED_LATER: [&str; 6] =
    ["ip_inventory", "ip_source", "ip_observation", "asn_inventory", "ip_asn_history", "source_quota"];

sql_function!(
    /// `hold_still(altered text[], version text)`: locks the extension's views, and its tables as CREATE TRIGGER does or, those
    /// named in `altered`, as ALTER TABLE does, until the update ends. Refuses in a server that still runs the library of
    /// before `version`, which the script updates to, and where the locks would be held for too long.
    hold_still,
    pg_finfo_hold_still,
    |call: Call| {
        let mut altered: Vec<String> = call.texts(0).unwrap_or_default().into_iter().flatten().collect();
        let (version, library) = (number(&call.text(1).unwrap_or_default()), number(env!("CARGO_PKG_VERSION")));
        if version < library {
            // Other scripts follow in the same transaction, as a rule. What they alter is locked now: whoever holds it may wait
            // for a job that waits for what is locked here.
            altered.extend(ALTERED_LATER.map(str::to_owned));
        }
        if library < version {
            raise(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "cannot update asn_inventory: the library of an older version is running",
                "The new files are installed, but a server keeps the library that it has loaded.",
                "Nothing was changed. Restart the server, and run the command again.",
            );
        }
        let Some(extension) = catalog::extension() else { return call.null() };
        let wanted = wanted(extension, &altered);
        refuse_distributed(&wanted);
        let history = Unindexed::find(extension, &version);
        let limit = limit();
        let end = Instant::now() + limit;
        let mut wait = FIRST;
        loop {
            let Some(held) = take(&wanted, history.as_ref(), wait) else { return call.null() };
            if Instant::now() >= end {
                refuse(held, limit);
            }
            // Whoever waited behind this one goes first.
            patience::rest(Duration::from_millis(wait * 2).min(end.saturating_duration_since(Instant::now())));
            wait = (wait * 2).min(LONGEST);
        }
    }
);

/// Citus hands a statement of a script to the shards with the whole script around it, and they refuse it.
fn refuse_distributed(wanted: &[Wanted]) {
    let is_altered = |wanted: &&Wanted| wanted.mode == pg_sys::AccessExclusiveLock;
    if wanted.iter().filter(is_altered).any(|wanted| citus::kept(wanted.relation).is_some()) {
        raise(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "cannot update asn_inventory: its inventory is distributed",
            "Citus does not alter shards in an update of an extension.",
            "Nothing was changed. Run SELECT asn_inventory_undistribute(); the command again; and SELECT asn_inventory_distribute(). Loaders go on meanwhile.",
        );
    }
}

/// A version, to be compared.
fn number(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// A relation to be locked, and how.
#[derive(Clone, Copy)]
struct Wanted {
    relation: pg_sys::Oid,
    mode: u32,
}

/// Views first: who reads one holds it before the tables below. The queue comes last: loaders wait for nothing else.
fn wanted(extension: pg_sys::Oid, altered: &[String]) -> Vec<Wanted> {
    const RELATIONS: &str = "
        SELECT c.oid, c.relkind = 'v' OR c.relname = ANY ($2)
        FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid
        WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = $1 AND d.deptype = 'e'
          AND d.classid = 'pg_catalog.pg_class'::regclass AND c.relkind IN ('r', 'v')
        ORDER BY c.relname = 'ip_observation', c.relkind = 'r', c.oid";
    let sql = Sql::as_caller();
    let found = sql.returning(RELATIONS, &[argument::oid(extension), argument::texts(altered)]);
    let of = |row| {
        let mode = if found.get::<bool>(row, 2) == Some(true) {
            pg_sys::AccessExclusiveLock
        } else {
            pg_sys::ShareRowExclusiveLock
        };
        Some(Wanted { relation: found.get(row, 1)?, mode })
    };
    (0..found.len()).filter_map(of).collect()
}

/// Takes all of them, or none; with the one that could not be had within `wait` milliseconds. Looks at the size of `history`
/// before, so that nobody waits for an update that is refused.
fn take(wanted: &[Wanted], history: Option<&Unindexed>, wait: u64) -> Option<Wanted> {
    let (mut reached, mut too_large) = (0, false);
    let result = tx::attempt(|| {
        let settings = Settings::begin();
        let wait = std::ffi::CString::new(wait.to_string()).unwrap_or_default();
        settings.set(c"lock_timeout", &wait);
        // Autovacuum gives way to who has waited for that long.
        settings.set(c"deadlock_timeout", c"50ms");
        if let Some(history) = history {
            reached = wanted.iter().position(|wanted| wanted.relation == history.table).unwrap_or(0);
            too_large = history.is_large();
        }
        if too_large {
            return;
        }
        // Absorbing holds the queue while it waits for the inventory.
        reached = wanted.len().saturating_sub(1);
        Turn::Absorb.wait();
        for (at, wanted) in wanted.iter().enumerate() {
            reached = at;
            catalog::lock_relation(wanted.relation, wanted.mode);
        }
    });
    match (result, history) {
        (Ok(()), Some(history)) if too_large => history.refuse(),
        (Ok(()), _) => None,
        (Err(failure), _) if failure.is_lock() => wanted.get(reached).copied(),
        (Err(failure), _) => failure.raise(),
    }
}

/// `lock_timeout`, where it is set.
fn limit() -> Duration {
    // SAFETY: reads a variable of this backend.
    match u64::try_from(unsafe { pg_sys::LockTimeout }) {
        Ok(0) | Err(_) => PATIENCE,
        Ok(set) => Duration::from_millis(set),
    }
}

fn refuse(held: Wanted, patience: Duration) -> ! {
    const HOLDERS: &str = "
        SELECT pg_catalog.format('%s is held by %s.', (SELECT relname FROM pg_catalog.pg_class WHERE oid = $1),
                   coalesce(pg_catalog.string_agg(DISTINCT coalesce('process ' || l.pid, 'a prepared transaction'), ', '), 'nobody any more'))
        FROM pg_catalog.pg_locks l
        WHERE l.locktype = 'relation' AND l.relation = $1 AND l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
          AND ($2 OR l.mode NOT IN ('AccessShareLock', 'RowShareLock'))";
    let altered = held.mode == pg_sys::AccessExclusiveLock;
    let detail = {
        let sql = Sql::as_caller();
        let found = sql.query(HOLDERS, &[argument::oid(held.relation), (pg_sys::BOOLOID, altered.into_datum())]);
        found.text(0, 1).unwrap_or_default()
    };
    raise(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        format!("cannot update asn_inventory: other sessions used its tables for {} s", patience.as_secs_f32()),
        &detail,
        "Nothing was changed. Wait for the end of these transactions, or end them, and run the command again; lock_timeout says how long it tries.",
    )
}
