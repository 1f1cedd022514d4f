//! Indexes that observe the same table, two by two: whether one reads what the other does as well, and whether `ip_source` can show what
//! each reads. It reads only the catalog, as the check of columns does.

use enrich::selector::{Origins, Reads, Selector};
use pgrx::pg_sys;

use super::finding::Finding;
use crate::pg::argument::Argument;
use crate::pg::catalog::Schema;
use crate::pg::sql::Sql;

/// An index that observes an attached table, or one below it.
struct Observer {
    table: pg_sys::Oid,
    /// Its name.
    index: String,
    table_name: String,
    /// The table above, where the index belongs to that one's.
    above: Option<pg_sys::Oid>,
    /// It is dropped and made on another node of a cluster.
    is_elsewhere: bool,
    selectors: Vec<String>,
    origins: Origins,
    reads: Reads,
}

/// What two of them have in common. `distributed`: the tables that Citus distributes; `is_worker`: this is a node of its cluster that is not
/// the coordinator.
pub fn look(schema: &Schema, distributed: Argument, is_worker: Argument) -> Vec<Finding> {
    let observers = observers(schema, distributed, is_worker);
    let mut found = Vec::new();
    for of_table in observers.chunk_by(|one, other| one.table == other.table) {
        for (n, one) in of_table.iter().enumerate() {
            // Those that a partition has by the table above go with that one's, which have a finding of their own.
            for other in of_table[n + 1..].iter().filter(|other| one.above.is_none() || other.above.is_none()) {
                found.extend(one.counts_twice(other));
                found.extend(one.is_called_alike(other));
            }
        }
    }
    found
}

impl Observer {
    /// They have something in common, and read something else as well: rows count once where all is the same.
    fn counts_twice(&self, other: &Observer) -> Option<Finding> {
        if self.reads == other.reads || !self.reads.overlaps(&other.reads) {
            return None;
        }
        let detail = format!(
            "{} and {} read the same, each for itself: rows that both observe are counted twice.",
            self.index, other.index
        );
        let place = self.place();
        // The one whose rows and values the other reads as well. One that belongs to an index of the table above cannot be dropped.
        let droppable = [(other, self), (self, other)]
            .into_iter()
            .find(|(one, other)| one.above.is_none() && other.reads.includes(&one.reads));
        let remedy = match droppable {
            Some((one, _)) => format!("DROP INDEX {};  -- {place}or let one read what both do", one.index),
            None => format!(
                "-- {place}let one read what both do: CREATE INDEX ON {} USING ip_observer (\u{2026}), and drop {} and {}",
                self.table_name, self.index, other.index
            ),
        };
        Some(Finding::new("observer indexes", "error", detail, remedy))
    }

    /// They have one name for values from different places.
    fn is_called_alike(&self, other: &Observer) -> Option<Finding> {
        let is_alike =
            |text: &&String| other.selectors.contains(text) && self.origins.read(text) != other.origins.read(text);
        let names: Vec<&str> = self.selectors.iter().filter(is_alike).map(String::as_str).collect();
        if names.is_empty() {
            return None;
        }
        let names = enrich::text::clean(&names.join(", "), 500).into_owned();
        let detail = format!(
            "{} and {} read different values by one name, which ip_source lists once: {names}. Both are counted; no check says when one of them is gone.",
            self.index, other.index
        );
        // What they read is not written here: PostgreSQL would open the table to write it.
        let remedy = format!(
            "-- {}let one read both, which gives them two names: BEGIN; CREATE INDEX ON {} USING ip_observer (\u{2026}); DROP INDEX {}, {}; COMMIT;",
            self.place(),
            self.table_name,
            self.index,
            other.index
        );
        Some(Finding::new("observer indexes", "warning", detail, remedy))
    }

    fn place(&self) -> &'static str {
        if self.is_elsewhere { "on the coordinator; " } else { "" }
    }
}

/// Those of tables with more than one, table by table.
fn observers(schema: &Schema, distributed: Argument, is_worker: Argument) -> Vec<Observer> {
    let sql = Sql::as_caller();
    let found = sql.query(
        &format!(
            "WITH RECURSIVE family(tbl) AS (
                 SELECT s.tbl::pg_catalog.oid FROM {}.ip_source s
                 UNION
                 SELECT i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.tbl),
             observer AS MATERIALIZED (
                 SELECT x.indexrelid, x.indrelid, x.indkey, x.indnkeyatts, x.indexprs, c.reloptions
                 FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid JOIN pg_catalog.pg_am a ON a.oid = c.relam
                 WHERE a.amname = 'ip_observer' AND (x.indisvalid OR c.relkind = 'I') AND x.indrelid IN (SELECT f.tbl FROM family f))
             SELECT o.indrelid, o.indexrelid::pg_catalog.regclass::pg_catalog.text, o.indrelid::pg_catalog.regclass::pg_catalog.text,
                    (SELECT u.indrelid FROM pg_catalog.pg_inherits i JOIN observer u ON u.indexrelid = i.inhparent WHERE i.inhrelid = o.indexrelid),
                    $2 AND o.indrelid = ANY ($1), o.indnkeyatts,
                    (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = o.indexrelid),
                    o.indkey::pg_catalog.int2[]::pg_catalog.text[], o.indexprs::pg_catalog.text, o.reloptions,
                    (SELECT pg_catalog.substr(r, 11)::pg_catalog.text[] FROM pg_catalog.unnest(o.reloptions) r WHERE pg_catalog.starts_with(r, 'selectors='))
             FROM observer o
             WHERE EXISTS (SELECT FROM observer p WHERE p.indrelid = o.indrelid AND p.indexrelid <> o.indexrelid)
             ORDER BY o.indrelid, o.indexrelid",
            schema.name
        ),
        &[distributed, is_worker],
    );
    let observer = |row| {
        let texts = |column| found.texts(row, column).unwrap_or_default();
        let (names, options) = (texts(7), texts(10));
        let numbers = texts(8).into_iter().map(|number| number.parse().unwrap_or_default());
        let origins = Origins::new(names.iter().cloned().zip(numbers), &found.text(row, 9).unwrap_or_default());
        // Without selectors, the key columns are read.
        let keys = usize::try_from(found.get::<i16>(row, 6).unwrap_or_default()).unwrap_or_default();
        let whole = |name: &String| Selector::whole(name.clone()).to_string();
        let selectors = found.texts(row, 11).unwrap_or_else(|| names.iter().take(keys).map(whole).collect());
        let option = |name: &str| {
            let value = options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
            value.filter(|value| !value.is_empty())
        };
        let reads = Reads::new(&origins, &selectors, option("observed_at"), option("only_where"), option("sensor"));
        Observer {
            table: found.get(row, 1).unwrap_or(pg_sys::InvalidOid),
            index: found.text(row, 2).unwrap_or_default(),
            table_name: found.text(row, 3).unwrap_or_default(),
            above: found.get(row, 4),
            is_elsewhere: found.get(row, 5) == Some(true),
            selectors,
            origins,
            reads,
        }
    };
    (0..found.len()).map(observer).collect()
}
