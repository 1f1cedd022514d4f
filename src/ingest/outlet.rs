//! From a tally to the queue: opened once a statement, and never waited for longer than an insert may.

use pgrx::pg_sys;

use super::queue::{Closed, Queue};
use super::tally::Tally;
use super::unread::Unread;
use crate::pg::catalog;
use crate::pg::errors::warn;

/// Where the addresses of one statement go.
pub struct Outlet {
    schema: pg_sys::Oid,
    source: pg_sys::Oid,
    now: i64,
    /// Opened with the first addresses, once.
    queue: Option<Result<Queue, Closed>>,
    /// The statement took a lot of memory.
    pub large: bool,
    /// Rows that were read and are not in the queue yet.
    pub rows: i64,
    /// It does not wait for the queue: somebody waited in vain just before.
    pub is_hasty: bool,
    /// Addresses are lost, since somebody kept the queue locked. Who uses this says so, of several tables at once.
    pub is_busy: bool,
    /// The statement had an address, or a value that is none.
    pub found: bool,
}

impl Outlet {
    /// For the rows of a table, given by its OID, at a time (timestamptz). `schema` is the extension's.
    pub fn new(schema: pg_sys::Oid, source: pg_sys::Oid, now: i64) -> Outlet {
        let queue = None;
        Outlet { schema, source, now, queue, large: false, rows: 0, is_hasty: false, is_busy: false, found: false }
    }

    /// Writes a tally to the queue, and empties it.
    pub fn flush(&mut self, tally: &mut Tally) {
        if !tally.is_empty() {
            self.found = true;
            let (source, now, rows) = (self.source, self.now, std::mem::take(&mut self.rows));
            let schema = self.schema;
            let fresh = self.queue.is_none();
            let open = || if self.is_hasty { Queue::open_at_once(schema) } else { Queue::try_open(schema) };
            match self.queue.get_or_insert_with(open) {
                Ok(queue) => queue.append(tally, source, now, rows),
                // Rows that are written one by one come here at commit: with DROP EXTENSION before that, nobody wants them.
                Err(Closed::Missing) if catalog::extension().is_none() => {}
                Err(Closed::Missing) if fresh => warn(
                    "observations are lost: table \"ip_observation\" is missing or was altered",
                    "",
                    "Run DROP EXTENSION asn_inventory CASCADE, CREATE EXTENSION asn_inventory, and attach the tables again.",
                ),
                // Said once.
                Err(Closed::Missing) => {}
                Err(Closed::Busy) => self.is_busy = true,
            }
        }
        self.large |= tally.is_large();
        tally.clear();
    }

    /// Says how many rows came without any address. That is not worth a wait for the queue.
    pub fn say_nothing(&mut self, unread: Option<&Unread>) {
        let schema = self.schema;
        if let Ok(queue) = self.queue.get_or_insert_with(|| Queue::open_at_once(schema)) {
            queue.append_silent(self.rows, unread, self.source, self.now, None);
        }
    }
}
