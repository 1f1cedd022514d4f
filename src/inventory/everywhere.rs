//! The inventory on all nodes of a Citus cluster, and back on one: made of Citus's own functions, in one transaction, so that
//! a failure leaves everything as it was.

use std::ffi::CStr;
use std::time::Instant;

use pgrx::pg_sys;

use super::places;

use crate::pg::argument;
use crate::pg::catalog::{Schema, quote_identifier, quote_literal};
use crate::pg::citus;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;

/// The tables that all nodes share: rows by address, who saw them and when, what the coordinator counts of that, and its
/// mmdb files.
pub const TABLES: [&CStr; 10] = [
    c"ip_inventory",
    c"ip_asn_history",
    c"ip_sighting",
    c"ip_sighting_source",
    c"ip_activity",
    c"ip_activity_count",
    c"asn_inventory",
    c"inventory_count",
    c"mmdb_shared",
    c"mmdb_shared_part",
];

/// Those of them that there are: some are new in the version whose library this is.
pub fn there(schema: &Schema) -> Vec<&'static CStr> {
    TABLES.into_iter().filter(|table| schema.relation(table) != pg_sys::InvalidOid).collect()
}

/// What happens to a table.
pub enum Spread {
    /// So many rows are about to move.
    Begins(&'static str, i64),
    /// It is done, after so many seconds.
    Through(&'static str, f64),
}

/// Distributes the tables that are not distributed yet. Each is done when it is taken from the iterator.
pub fn spread(schema: &Schema) -> impl Iterator<Item = Spread> {
    each(
        schema,
        |schema, table| citus::kept(schema.relation(table)).is_none(),
        |schema, sql, table| {
            let name = schema.regclass(name_of(table));
            if table == c"ip_sighting" {
                places::name_alone(schema);
            }
            let make = match name_of(table) {
                "ip_inventory" => format!("create_distributed_table({name}, 'ip_address', colocate_with => 'none')"),
                // An hour is a row's, and not an address's.
                "ip_activity" => format!("create_distributed_table({name}, 'bucket', colocate_with => 'none')"),
                "ip_asn_history" | "ip_sighting" => {
                    let beside = quote_literal(&format!("{}.ip_inventory", schema.name));
                    format!("create_distributed_table({name}, 'ip_address', colocate_with => {beside})")
                }
                _ => format!("create_reference_table({name})"),
            };
            sql.returning(&format!("SELECT pg_catalog.{make}"), &[]);
            // Citus has copied these, and would leave them on the disk, for nobody to see.
            sql.returning(&format!("SELECT pg_catalog.truncate_local_data_after_distributing_table({name})"), &[]);
        },
    )
}

/// Makes all of them tables of this node alone, with all rows.
pub fn gather(schema: &Schema) -> impl Iterator<Item = Spread> {
    // In the order in which a round of absorbing locks them.
    let absorbed = places::TABLES.into_iter().chain(TABLES);
    let names: Vec<String> = absorbed
        .filter(|table| citus::kept(schema.relation(table)).is_some())
        .map(|table| format!("{}.{}", schema.name, table.to_string_lossy()))
        .collect();
    if !names.is_empty() {
        Sql::as_caller().run(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", ")), &[]);
    }
    each(
        schema,
        |schema, table| citus::kept(schema.relation(table)).is_some(),
        |schema, sql, table| {
            let (oid, plain) = (schema.relation(table), name_of(table));
            let whole = format!("{}.{plain}", schema.name);
            let held = format!("pg_temp.gathered_{plain}");
            sql.run(&format!("CREATE TEMPORARY TABLE gathered_{plain} ON COMMIT DROP AS SELECT * FROM {whole}"), &[]);
            // As Citus does where a distributed table is dropped: of one that belongs to an extension it drops the shards and
            // what it knows of them, and leaves the table.
            let arguments = [argument::oid(oid), argument::text(&plain_schema(schema)), argument::text(plain)];
            for step in [
                "master_remove_distributed_table_metadata_from_workers($1::regclass, $2, $3)",
                "citus_drop_all_shards($1::regclass, $2, $3)",
                "master_remove_partition_metadata($1::regclass, $2, $3)",
            ] {
                sql.returning(&format!("SELECT pg_catalog.{step}"), &arguments);
            }
            // Citus makes one for each time that the table is distributed, and it refuses to TRUNCATE any other.
            let left = sql.query(
                "SELECT t.tgname::text FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
             WHERE t.tgrelid = $1 AND p.proname = 'citus_truncate_trigger'",
                &[argument::oid(oid)],
            );
            let left: Vec<String> = (0..left.len()).filter_map(|row| left.text(row, 1)).collect();
            for trigger in left {
                sql.run(&format!("DROP TRIGGER {} ON {whole}", quote_identifier(&trigger)), &[]);
            }
            sql.run(&format!("INSERT INTO {whole} SELECT * FROM {held}"), &[]);
            sql.run(&format!("DROP TABLE {held}"), &[]);
            if table == c"ip_sighting_source" {
                places::find_tables(schema);
            }
        },
    )
}

fn each(
    schema: &Schema,
    wanted: fn(&Schema, &CStr) -> bool,
    change: fn(&Schema, &Sql, &'static CStr),
) -> impl Iterator<Item = Spread> {
    let schema = schema.clone();
    let tables: Vec<&'static CStr> = there(&schema).into_iter().filter(|table| wanted(&schema, table)).collect();
    tables.into_iter().flat_map(move |table| {
        let schema = schema.clone();
        let began = Instant::now();
        [false, true].into_iter().map(move |through| {
            let sql = Sql::as_caller();
            if through {
                let settings = Settings::without_triggers();
                settings.set(c"citus.enable_unsafe_triggers", c"on");
                settings.set(c"citus.multi_shard_modify_mode", c"sequential");
                change(&schema, &sql, table);
                return Spread::Through(name_of(table), began.elapsed().as_secs_f64());
            }
            let text = format!("SELECT pg_catalog.count(*) FROM {}.{}", schema.name, name_of(table));
            Spread::Begins(name_of(table), sql.query(&text, &[]).get(0, 1).unwrap_or(0))
        })
    })
}

/// Names of the extension's tables are plain ASCII.
fn name_of(table: &'static CStr) -> &'static str {
    table.to_str().unwrap_or_default()
}

/// The schema's name as it is, without quotes.
fn plain_schema(schema: &Schema) -> String {
    let sql = Sql::as_caller();
    let text = "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE oid = $1";
    sql.query(text, &[argument::oid(schema.oid)]).text(0, 1).unwrap_or_default()
}
