//! The rows of `ip_source` on the workers of a Citus cluster, where the shards of a distributed table are observed.

use pgrx::pg_sys;

use super::places;
use super::source;
use super::source::Attaching;
use crate::pg::catalog::{Schema, quote_literal, relation_name};
use crate::pg::citus;
use crate::pg::citus::Where;
use crate::pg::errors::warn;

/// Tells the workers of a cluster of a table that was attached on the coordinator, so that each counts what it observes. In
/// transactions of their own: where this one fails, such notes count nothing.
pub fn attach(schema: &Schema, table: pg_sys::Oid, how: &Attaching<'_>) {
    let Some(name) = relation_name(table) else { return };
    let text = |text: Option<&str>| text.map_or("NULL".to_owned(), quote_literal);
    let columns: Vec<String> = how.columns.iter().map(|column| quote_literal(column)).collect();
    let literal = quote_literal(&name);
    on_workers(&source::adoption(schema, &format!("{literal}::pg_catalog.regclass"), &literal), &name);
    let command = format!(
        "INSERT INTO {}.ip_source AS s (tbl, ip_columns, observed_at, observed_zone, attached_as, method, observed_path, only_where, sensor)
         VALUES ({}::pg_catalog.regclass, ARRAY[{}]::text[], {}, {}, {}, {}, {}, {}, {})
         ON CONFLICT (tbl) DO UPDATE SET ip_columns = EXCLUDED.ip_columns, observed_at = EXCLUDED.observed_at,
             observed_zone = EXCLUDED.observed_zone, attached_as = EXCLUDED.attached_as, method = EXCLUDED.method,
             observed_path = EXCLUDED.observed_path, only_where = EXCLUDED.only_where, sensor = EXCLUDED.sensor",
        schema.name,
        literal,
        columns.join(", "),
        text(how.observed_at.map(|time| &*time.column)),
        text(how.observed_at.and_then(|time| time.zone.as_deref())),
        text(how.name),
        quote_literal(how.method),
        text(how.observed_at.and_then(|time| time.path.as_deref())),
        text(how.only_where),
        text(how.sensor),
    );
    on_workers(&command, &name);
}

/// Tells them that it was detached.
pub fn detach(schema: &Schema, table: pg_sys::Oid) {
    let Some(name) = relation_name(table) else { return };
    let literal = quote_literal(&name);
    // What it has added there stays: attached again, it is another place. Where the nodes share places, that is said once.
    let retired = match places::is_there(schema) && !places::are_everywhere(schema) {
        true => format!(
            "WITH retired AS (UPDATE {}.ip_sighting_source SET tbl = NULL, attached = false
                              WHERE name = {literal} AND tbl IS NOT NULL) ",
            schema.name
        ),
        false => String::new(),
    };
    // Where the cluster made it anew, the note is on the table before it.
    let command = format!(
        "{retired}DELETE FROM {}.ip_source s WHERE s.tbl = {literal}::pg_catalog.regclass
             OR (s.attached_as = {literal} AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = s.tbl))",
        schema.name
    );
    on_workers(&command, &name);
}

fn on_workers(command: &str, name: &str) {
    for reply in citus::run_on(Where::Workers, command) {
        if let Err(why) = reply.result {
            let node = citus::node_names().remove(&reply.node).unwrap_or_else(|| reply.node.to_string());
            warn(
                format!("node {node} does not count the rows of {name} in its ip_source"),
                &why,
                "The inventory counts them. Attach the table again once that node can be reached.",
            );
        }
    }
}
