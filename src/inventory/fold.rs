//! One row for `::ffff:1.2.3.4` and `1.2.3.4`: the same host, as programs write it that listen on both families.
//!
//! New observations are folded while they are absorbed. Rows from before, and those that somebody writes by hand, are
//! merged here: counts add up, of the answers the later one stays, and the history moves along.

use std::net::IpAddr;

use enrich::address::unmapped;
use pgrx::pg_sys;

use super::columns;
use super::heap;
use super::sighting;
use crate::pg::catalog;
use crate::pg::catalog::Schema;
use crate::pg::inet::Inet;
use crate::pg::shape;
use crate::pg::sql::Sql;
use crate::pg::tx::Settings;
use crate::settings;

/// Rows of one transaction.
const BATCH: i64 = 500;

/// The rows that are merged; they are found by the primary key.
const MAPPED: &str = "m.ip_address BETWEEN inet '::ffff:0.0.0.0' AND inet '::ffff:255.255.255.255'";
/// The IPv4 address of a row `r`.
const PLAIN: &str = "inet '0.0.0.0' + (r.ip_address - inet '::ffff:0.0.0.0')";

/// The address under which another is kept.
#[inline]
pub fn kept(ip: IpAddr) -> IpAddr {
    if ip.is_ipv6() && settings::fold_ipv4_mapped() { unmapped(ip) } else { ip }
}

/// The range in which the addresses of another are kept. One that holds more than IPv4-mapped addresses stays as it is.
pub fn kept_range(range: Inet) -> Inet {
    match kept(range.ip) {
        ip if ip != range.ip && range.bits >= 96 => Inet { ip, bits: range.bits - 96 },
        _ => range,
    }
}

/// Merges some rows into those of their IPv4 addresses; returns how many. 0 where Citus distributes the inventory: rows
/// cannot move from one shard to another in one statement.
pub fn merge(schema: &Schema) -> i64 {
    if heap::is_everywhere(schema) {
        return 0;
    }
    let settings = Settings::rows_are_fetched();
    settings.set(c"lock_timeout", c"500ms");
    let sql = Sql::on(schema, c"ip_inventory");
    let exist = format!("SELECT 1 FROM {}.ip_inventory m WHERE {MAPPED} LIMIT 1", schema.name);
    if sql.query(&exist, &[]).len() == 0 {
        drop(sql);
        return sighting::fold_mapped(schema, MAPPED, PLAIN, BATCH);
    }
    let table = schema.relation(c"ip_inventory");
    // The tables may be distributed between one statement and the next: asked again while nobody can do it.
    catalog::lock_relation(table, pg_sys::RowExclusiveLock);
    if heap::is_everywhere(schema) {
        return 0;
    }
    let names: Vec<String> = shape::columns_of(table).iter().map(|name| catalog::quote_identifier(name)).collect();
    let list = names.join(", ");
    let values: Vec<String> =
        names.iter().map(|name| if name == "ip_address" { PLAIN.to_owned() } else { format!("r.{name}") }).collect();
    // Foreign keys are not checked if no trigger fires: rows that one may reference stay, with a count of 0.
    let taken = format!(
        "WITH fixed AS MATERIALIZED (SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint k
                                            WHERE k.contype = 'f' AND k.confrelid = {1}) AS referenced),
         batch AS MATERIALIZED (
             SELECT m.* FROM {0}.ip_inventory m, fixed WHERE {MAPPED} AND (NOT fixed.referenced OR m.observation_count > 0)
             ORDER BY m.ip_address LIMIT {BATCH} FOR UPDATE OF m),
         gone AS (DELETE FROM {0}.ip_inventory i USING batch s, fixed
                  WHERE NOT fixed.referenced AND i.ip_address = s.ip_address RETURNING s.*),
         emptied AS (UPDATE {0}.ip_inventory i SET observation_count = 0 FROM batch s, fixed
                     WHERE fixed.referenced AND i.ip_address = s.ip_address RETURNING s.*),
         put AS (INSERT INTO {0}.ip_inventory AS i ({list})
                 SELECT {2} FROM (SELECT * FROM gone UNION ALL SELECT * FROM emptied) r
                 ON CONFLICT (ip_address) DO UPDATE SET {3})
         SELECT count(*) FROM batch",
        schema.name,
        schema.regclass("ip_inventory"),
        values.join(", "),
        columns::merged(&names)
    );
    let count = sql.returning(&taken, &[]).get::<i64>(0, 1).unwrap_or(0);
    drop(sql);
    if count == 0 {
        // Those that are left are referenced, and have given all away.
        return sighting::fold_mapped(schema, MAPPED, PLAIN, BATCH);
    }
    Sql::on(schema, c"ip_asn_history").run(
        &format!(
            "UPDATE {}.ip_asn_history r SET ip_address = {PLAIN} WHERE {}",
            schema.name,
            MAPPED.replace("m.", "r.")
        ),
        &[],
    );
    count
}

/// Whether a batch was a whole one, so that there may be another.
pub fn may_be_more(count: i64) -> bool {
    count >= BATCH
}
