//! One inventory for a Citus cluster: `asn_inventory_distribute()` and back.
//!
//! Everything is Citus's own: `ip_inventory` and its history become distributed tables, and what is counted of them
//! reference tables. Queues stay on their nodes. What other nodes have in their own inventories is merged by their workers
//! afterwards ([`crate::inventory::leftovers`]).

use pgrx::prelude::*;

use crate::inventory::everywhere::{self, Spread};
use crate::inventory::heap;
use crate::pg::call::Call;
use crate::pg::catalog::{self, Schema, Turn};
use crate::pg::citus;
use crate::pg::errors::{not_ready, raise, refuse_read_only};
use crate::pg::session;
use crate::sql_function;

sql_function!(
    /// `asn_inventory_distribute() → void`.
    asn_inventory_distribute,
    pg_finfo_asn_inventory_distribute,
    |call: Call| {
        let schema = Schema::of(call);
        check(&schema, c"asn_inventory_distribute()");
        if citus::is_unknown_coordinator() {
            not_ready(
                "the other nodes of the cluster do not know the coordinator",
                "It is not in pg_dist_node.",
                "Run SELECT citus_set_coordinator_host('host', 5432); with the name and the port at which they reach it.",
            );
        }
        if heap::is_everywhere(&schema) {
            pgrx::notice!("ip_inventory is distributed already");
        }
        // Nobody absorbs while the table changes.
        Turn::Absorb.wait();
        for spread in everywhere::spread(&schema) {
            match spread {
                Spread::Begins(table, rows) => pgrx::notice!("distributing {table}: {rows} rows"),
                Spread::Through(table, seconds) => pgrx::notice!("{table} is distributed, after {seconds:.1} s"),
            }
        }
        call.null()
    }
);

sql_function!(
    /// `asn_inventory_undistribute() → void`.
    asn_inventory_undistribute,
    pg_finfo_asn_inventory_undistribute,
    |call: Call| {
        let schema = Schema::of(call);
        check(&schema, c"asn_inventory_undistribute()");
        if !heap::is_everywhere(&schema) {
            pgrx::notice!("ip_inventory is not distributed");
        }
        Turn::Absorb.wait();
        for spread in everywhere::gather(&schema) {
            match spread {
                Spread::Begins(table, rows) => pgrx::notice!("gathering {table}: {rows} rows"),
                Spread::Through(table, seconds) => pgrx::notice!("{table} is on this node alone, after {seconds:.1} s"),
            }
        }
        call.null()
    }
);

/// Raises where this is not the place for it.
fn check(schema: &Schema, function: &std::ffi::CStr) {
    refuse_read_only(function);
    let function = function.to_string_lossy();
    if !citus::is_here() {
        raise(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("{function} needs Citus"),
            "This database does not have the extension citus.",
            "",
        );
    }
    if !citus::is_coordinator() {
        not_ready(format!("{function} runs on the coordinator"), "This is a worker node.", "Call it there.");
    }
    for table in everywhere::there(schema) {
        let table = schema.relation(table);
        if !catalog::owns(table) {
            raise(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("must be owner of table {}", catalog::plain_name(table)),
                "",
                "",
            );
        }
        // The rows are read and written with the caller's rights.
        if catalog::is_superuser(session::user()) && !catalog::is_superuser(catalog::owner_of(table)) {
            not_ready(
                "tables of asn_inventory belong to a role that is not a superuser",
                &format!("Code on {} would run with the rights of a superuser.", catalog::plain_name(table)),
                "Run ALTER TABLE ... OWNER TO: enrichment_doctor() names the tables.",
            );
        }
    }
}
