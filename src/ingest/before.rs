//! Which rows were there when a table was attached, or came below an attached one: told by a snapshot that is noted then.

use std::fmt;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::errors::raise;
use crate::pg::session;
use crate::pg::snapshot::with_latest_snapshot;
use crate::pg::sql::Sql;

/// Which rows were there when the table was attached: those of transactions that had committed, and of the attaching
/// transaction itself those of earlier commands.
pub struct Before {
    /// The attaching transaction and its subtransactions.
    own: Vec<u64>,
    /// The attaching command in it.
    command: u32,
    xmin: u64,
    xmax: u64,
    running: Vec<u64>,
}

impl Before {
    /// As of now, while the table is locked, and of `command` of this transaction.
    pub fn now(command: u32) -> Before {
        let snapshot = with_latest_snapshot(|| {
            let sql = Sql::as_caller();
            sql.query("SELECT pg_catalog.pg_current_snapshot()::text", &[]).text(0, 1).unwrap_or_default()
        });
        // Making a trigger has assigned this transaction an id.
        let (top, next) = (session::transaction(), session::next_transaction());
        let own = |id: &u64| session::is_own_transaction(*id);
        let text = format!("{}:{command}|{snapshot}", list((top..next).filter(own)));
        Before::parse(&text)
            .unwrap_or_else(|| raise(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "could not read a snapshot", &text, ""))
    }

    /// Whether this moment came before another one. In both the same table was locked against writers: of two transactions,
    /// the later one has seen the end of the other.
    pub fn is_before(&self, other: &Before) -> bool {
        (self.xmax, self.command) < (other.xmax, other.command)
    }

    /// Reads `own,…:command|xmin:xmax:xip,…`.
    pub fn parse(text: &str) -> Option<Before> {
        let (own, snapshot) = text.split_once('|')?;
        let (own, command) = own.split_once(':')?;
        let numbers = |text: &str| {
            text.split(',').filter(|x| !x.is_empty()).map(|x| x.parse().ok()).collect::<Option<Vec<u64>>>()
        };
        let mut parts = snapshot.split(':');
        Some(Before {
            own: numbers(own)?,
            command: command.parse().ok()?,
            xmin: parts.next()?.parse().ok()?,
            xmax: parts.next()?.parse().ok()?,
            running: numbers(parts.next()?)?,
        })
    }

    /// Whether a row was there that transaction `xid` wrote, in its command `command`. `xmax`: who has deleted, updated or
    /// locked it, or tried to. `None`: nobody can tell.
    fn has(&self, xid: u32, command: u32, xmax: u32) -> Option<bool> {
        if xid < pg_sys::FirstNormalTransactionId.into_inner() {
            return Some(true);
        }
        // A row's transaction lies in the past, and less than two billion transactions back.
        let next = session::next_transaction();
        let full = (next & !0xffff_ffff) | u64::from(xid);
        let full = if full >= next { full.wrapping_sub(1 << 32) } else { full };
        if self.own.contains(&full) {
            // An UPDATE or DELETE puts its own command, or the number of a pair of commands, in the place of the first one,
            // and a rollback leaves it there.
            return (xmax == 0).then_some(command < self.command);
        }
        Some(full < self.xmin || (full < self.xmax && !self.running.contains(&full)))
    }
}

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Before { own, command, xmin, xmax, running } = self;
        write!(f, "{}:{command}|{xmin}:{xmax}:{}", list(own.iter().copied()), list(running.iter().copied()))
    }
}

/// The moments at which a table came below an attached one and left it again, in turn. While it was away, its rows were not
/// observed.
pub struct Stays(Vec<Option<Before>>);

/// What stands between two of them.
const NEXT: char = '>';

impl Stays {
    /// Reads the moments, with `>` between them. Where nothing stands before the first one, all rows of the first stay were
    /// observed.
    pub fn parse(text: &str) -> Option<Stays> {
        let moment = |text: &str| if text.is_empty() { Some(None) } else { Before::parse(text).map(Some) };
        text.split(NEXT).map(moment).collect::<Option<_>>().map(Stays)
    }

    /// Whether a row was there when the table came, and had not been observed: see [`Before::has`].
    pub fn has(&self, xid: u32, command: u32, xmax: u32) -> bool {
        let is_there = |(at, moment): (usize, &Option<Before>)| match moment.as_ref()?.has(xid, command, xmax) {
            Some(false) => None,
            Some(true) => Some(at.is_multiple_of(2)),
            // Taken for one that was observed, then or later, the row is not counted a second time.
            None => (!at.is_multiple_of(2)).then_some(false),
        };
        self.0.iter().enumerate().find_map(is_there).unwrap_or(false)
    }

    /// Whether the table has left, and has not come back.
    fn is_away(&self) -> bool {
        self.0.len().is_multiple_of(2)
    }
}

/// Whether a table has left, and has not come back, by its moments as they are noted.
pub fn is_away(moments: &str) -> bool {
    Stays::parse(moments).is_some_and(|stays| stays.is_away())
}

/// The last one of moments as they are noted, and those before it.
pub fn last(moments: &str) -> (&str, &str) {
    moments.rsplit_once(NEXT).map_or((moments, ""), |(before, last)| (last, before))
}

/// Moments as they are noted, and one more.
pub fn and_then(moments: &str, next: impl fmt::Display) -> String {
    format!("{moments}{NEXT}{next}")
}

fn list(numbers: impl Iterator<Item = u64>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}
