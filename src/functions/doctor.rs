//! `enrichment_doctor()`: each problem, and the command that fixes it.
//!
//! It checks results: that rows are observed, files answer, and the queue is absorbed. Checks that read the same data
//! form a group, and each group runs in its own subtransaction, with the caller's rights and without a long wait for a
//! lock: a check without access says so by name, and the others still run. So no check raises an error, and the doctor
//! can name the session that locked a table.

mod blockers;
mod columns;
mod downloads;
mod elsewhere;
mod files;
mod finding;
mod import;
mod kept;
mod keys;
mod launcher;
mod lists;
mod overlaps;
mod planted;
mod shell;
mod worker;

use pgrx::pg_sys;
use pgrx::{IntoDatum, PgSqlErrorCode};

use self::finding::{Finding, ask, without_broken_comment};
use self::planted::Planted;
use crate::inventory::{asn, heap, places};
use crate::pg::argument;
use crate::pg::argument::Argument;
use crate::pg::call;
use crate::pg::call::{Call, Rows};
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::sql::Sql;
use crate::pg::tx;
use crate::pg::tx::{Failure, Settings};
use crate::{settings, sql_function};

/// Checks that read the same things.
struct Group {
    /// Their names, in the order in which they are shown.
    checks: &'static [&'static str],
    /// Relations and functions of the extension that they read or call, and that take a right.
    needs: &'static [&'static str],
    look: fn(&Schema) -> Vec<Finding>,
}

/// All there is, in the order in which it is shown.
const GROUPS: [Group; 24] = [
    Group {
        checks: &["preload", "enabled", "worker"],
        needs: &["_worker_status"],
        look: |schema| {
            let mut found = ask(schema, include_str!("doctor/worker.sql"), &[]);
            found.extend(worker::look());
            found.extend(enabled());
            found
        },
    },
    Group { checks: &["launcher"], needs: &[], look: |_| launcher::look().into_iter().collect() },
    Group {
        checks: &["mmdb import", "mmdb directory"],
        needs: &[],
        look: |schema| import::look(schema).into_iter().chain(import::directory()).collect(),
    },
    Group {
        checks: &["mmdb files", "mmdb refused", "mmdb age", "mmdb editions", "mmdb answers", "clock"],
        needs: &["_mmdb_files"],
        look: |schema| {
            let mut found = ask(schema, include_str!("doctor/files.sql"), &[]);
            found.extend(files::editions(schema));
            found
        },
    },
    Group { checks: &["list import", "list directory", "list files", "list flags"], needs: &[], look: lists::look },
    Group {
        checks: &["mmdb elsewhere"],
        needs: &["mmdb_shared", "mmdb_editions", "network_lists"],
        look: elsewhere::look,
    },
    Group { checks: &["file rights"], needs: &[], look: |_| files::rights() },
    Group {
        checks: &["key maxmind", "key greynoise"],
        needs: &["_worker_status", "secret_references"],
        look: keys::look,
    },
    Group { checks: &["maxmind downloads"], needs: &["enrichment_run"], look: downloads::last_update },
    Group { checks: &["mmdb sources", "proxy"], needs: &[], look: downloads::look },
    Group {
        checks: &["dns", "port 43"],
        needs: &["_cymru_ways"],
        look: |schema| ask(schema, include_str!("doctor/sources.sql"), &[]),
    },
    Group {
        checks: &["greynoise"],
        needs: &[
            "source_status",
            "_network_sources",
            "_quota_ledger",
            "_source_latency",
            "_mmdb_files",
            "_mmdb_import",
            "_update_sources",
            "_worker_status",
        ],
        look: |schema| ask(schema, include_str!("doctor/greynoise.sql"), &[]),
    },
    Group {
        checks: &["queue"],
        needs: &[
            "enrichment_status",
            "_worker_status",
            "_network_sources",
            "_quota_ledger",
            "_source_latency",
            "_mmdb_files",
            "_mmdb_import",
            "_update_sources",
            "network_lists",
            "_queue_length",
            "worker_errors",
        ],
        look: |schema| ask(schema, include_str!("doctor/queue.sql"), &[]),
    },
    Group { checks: &["count"], needs: &["_worker_status", "inventory_count"], look: count },
    Group { checks: &["sightings"], needs: &["ip_sighting_source"], look: sightings },
    Group { checks: &["sensors"], needs: &["ip_source", "ip_sighting_source"], look: sensors },
    Group {
        checks: &["worker errors"],
        needs: &["worker_errors"],
        look: |schema| ask(schema, include_str!("doctor/errors.sql"), &[]),
    },
    Group { checks: &["locks"], needs: &[], look: blockers::look },
    Group {
        checks: &["triggers", "swapped tables", "columns", "addresses", "times", "index"],
        needs: &["ip_source"],
        look: |schema| {
            let mut found = ask(schema, include_str!("doctor/tables.sql"), &attached(schema));
            found.extend(columns::look(schema));
            found
        },
    },
    Group {
        checks: &["observer indexes"],
        needs: &["ip_source"],
        look: |schema| {
            let attached = attached(schema);
            let mut found = ask(schema, include_str!("doctor/observers.sql"), &attached);
            let [distributed, _, is_worker, ..] = attached;
            found.extend(overlaps::look(schema, distributed, is_worker));
            found
        },
    },
    Group {
        checks: &["partitions"],
        needs: &["ip_source", "ip_source_part", "_database_identity"],
        look: |schema| ask(schema, include_str!("doctor/partitions.sql"), &[]),
    },
    Group {
        checks: &["unobserved"],
        needs: &["ip_source", "_unobserved_statements"],
        look: |schema| {
            let [distributed, ..] = kept::tables();
            let [shards, wholes] = kept::shards();
            ask(schema, include_str!("doctor/unobserved.sql"), &[distributed, shards, wholes])
        },
    },
    Group {
        checks: &["event trigger", "settings", "publication", "autovacuum", "version"],
        needs: &[],
        look: |schema| {
            let library = argument::text(env!("CARGO_PKG_VERSION"));
            ask(schema, include_str!("doctor/server.sql"), &[library])
        },
    },
    Group {
        checks: &[
            "own tables",
            "own triggers",
            "inventory key",
            "own keys",
            "queue index",
            "grants",
            "owners",
            "foreign code",
        ],
        needs: &[],
        look: |schema| ask(schema, include_str!("doctor/objects.sql"), &[]),
    },
];

/// What is to be known of attached tables for the checks of what observes them.
fn attached(schema: &Schema) -> [Argument; 5] {
    let [distributed, others, is_worker] = kept::tables();
    let [tables, calls] = columns::calls(schema);
    [distributed, others, is_worker, tables, calls]
}

/// Whether what was written is counted.
fn count(schema: &Schema) -> Vec<Finding> {
    // Of a cluster, the statistics of this node say too little.
    let is_here = schema.relation(c"ip_inventory") != pg_sys::InvalidOid && !heap::is_everywhere(schema);
    let changes = is_here.then(|| asn::changes(schema));
    ask(schema, include_str!("doctor/count.sql"), &[(pg_sys::INT8OID, changes.and_then(IntoDatum::into_datum))])
}

/// Whether all is kept of who saw what.
fn sightings(schema: &Schema) -> Vec<Finding> {
    if places::is_there(schema) {
        let bytes = match places::are_everywhere(schema) {
            true => citus::bytes(schema.relation(c"ip_sighting")),
            false => i64::from(schema.blocks(c"ip_sighting")) * i64::from(pg_sys::BLCKSZ),
        };
        return ask(schema, include_str!("doctor/sightings.sql"), &[argument::bigint(bytes)]);
    }
    // Before the update there is nothing.
    if schema.relation(c"ip_sighting") == pg_sys::InvalidOid {
        return Vec::new();
    }
    vec![Finding::new(
        "sightings",
        "warning",
        "ip_inventory is distributed, and ip_sighting is not: nothing is kept of who saw an address, and when.",
        format!("SELECT {}.asn_inventory_distribute();  -- on the coordinator", schema.name),
    )]
}

/// Whether rows name their sensors.
fn sensors(schema: &Schema) -> Vec<Finding> {
    // Before the update there are none.
    if schema.relation(c"ip_sighting_source") == pg_sys::InvalidOid {
        return Vec::new();
    }
    let [distributed, _, is_worker] = kept::tables();
    ask(schema, include_str!("doctor/sensors.sql"), &[distributed, is_worker])
}

/// The longest wait for a lock: the doctor must not become another session that hangs.
const PATIENCE: &std::ffi::CStr = c"300ms";

/// Settings for the doctor's queries. They are short: to compile one would take longer.
fn in_haste() -> Settings {
    let settings = Settings::begin();
    settings.set(c"lock_timeout", PATIENCE);
    settings.set(c"jit", c"off");
    settings
}

sql_function!(
    /// `enrichment_doctor() → setof (check_name, level, detail, remedy)`.
    enrichment_doctor,
    pg_finfo_enrichment_doctor,
    |call: Call| {
        let schema = Schema::of(call);
        let mut rows = Rows::begin(call);
        // Before anything of the extension's is read.
        let planted = {
            let _settings = in_haste();
            Planted::look(&schema)
        };
        for group in &GROUPS {
            let looked = tx::attempt(|| {
                let _settings = in_haste();
                match &planted {
                    Ok(planted) => leave_out(&schema, group, planted).unwrap_or_else(|| (group.look)(&schema)),
                    Err(failure) if !group.needs.is_empty() => could_not_look(&schema, group, failure),
                    Err(_) => (group.look)(&schema),
                }
            });
            let mut found = looked.unwrap_or_else(|failure| could_not_look(&schema, group, &failure));
            found.sort_by(|one, other| one.detail.cmp(&other.detail));
            for check in group.checks {
                let mut named = found.iter().filter(|finding| finding.check == *check).peekable();
                if named.peek().is_none() {
                    rows.row(|| vec![Some(call::text(check)), Some(call::text("ok")), None, None]);
                }
                for finding in named {
                    let remedy = finding.remedy.as_deref().map(without_broken_comment);
                    let texts = [finding.detail.as_deref(), remedy].map(|text| text.map(call::text));
                    let [detail, remedy] = texts;
                    rows.row(|| vec![Some(call::text(check)), Some(call::text(&finding.level)), detail, remedy]);
                }
            }
        }
        call.null()
    }
);

/// Each check of a group that would run code of another role with the caller's rights, by name; `None`: it would not.
fn leave_out(schema: &Schema, group: &Group, planted: &Planted) -> Option<Vec<Finding>> {
    let (why, remedy) = planted.below(schema, &names(group.needs))?;
    let remedy = remedy.map_or_else(
        || {
            format!(
                "SELECT * FROM {}.enrichment_doctor() WHERE check_name IN ('own tables', 'owners', 'foreign code');",
                schema.name
            )
        },
        str::to_owned,
    );
    let finding =
        |check: &&str| Finding::new(check, "warning", format!("Could not look: {why}."), Some(remedy.clone()));
    Some(group.checks.iter().map(finding).collect())
}

/// Names of the extension's relations and functions, and those before the update from 0.1.0, when its own functions have no
/// leading underscore.
fn names(needs: &[&str]) -> Vec<String> {
    needs.iter().flat_map(|name| [*name, name.trim_start_matches('_')]).map(str::to_owned).collect()
}

/// Each check of a group that failed, by name.
fn could_not_look(schema: &Schema, group: &Group, failure: &Failure) -> Vec<Finding> {
    let remedy = match failure.code {
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE => missing_grants(schema, group.needs),
        _ => None,
    };
    let remedy = remedy.unwrap_or_else(|| {
        format!(
            "SELECT * FROM {}.enrichment_doctor() WHERE check_name IN ('locks', 'own tables', 'version');",
            schema.name
        )
    });
    let finding = |check: &&str| {
        Finding::new(check, "warning", format!("Could not look: {}.", failure.message), Some(remedy.clone()))
    };
    group.checks.iter().map(finding).collect()
}

/// The GRANT statements that the present role lacks; `None` where it lacks none, or that cannot be found out.
fn missing_grants(schema: &Schema, needs: &[&str]) -> Option<String> {
    const LACKING: &str = "
        SELECT pg_catalog.string_agg(pg_catalog.format('GRANT %s TO %I;', g.granted, CURRENT_USER), ' ' ORDER BY g.granted)
        FROM (SELECT pg_catalog.format('SELECT ON %s', c.oid::pg_catalog.regclass) AS granted
              FROM pg_catalog.pg_class c
              WHERE c.relnamespace = $1 AND c.relname = ANY ($2) AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')
              UNION ALL
              SELECT pg_catalog.format('EXECUTE ON FUNCTION %s', p.oid::pg_catalog.regprocedure)
              FROM pg_catalog.pg_proc p
              WHERE p.pronamespace = $1 AND p.proname = ANY ($2) AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')) g";
    let names = names(needs);
    let lacking = tx::attempt(|| {
        let sql = Sql::as_caller();
        let arguments = [(pg_sys::OIDOID, schema.oid.into_datum()), (pg_sys::TEXTARRAYOID, Some(call::texts(&names)))];
        sql.query(LACKING, &arguments).text(0, 1)
    });
    lacking.ok().flatten().map(|grants| format!("{grants}  -- or one of the sets in docs/roles.md"))
}

/// The feature flag: the server's value, which the worker goes by, and the one of this session.
fn enabled() -> Option<Finding> {
    if settings::enabled_on_server() {
        return (!settings::enabled()).then(|| {
            Finding::new(
                "enabled",
                "warning",
                "asn_inventory.enabled is off in this session: what it inserts is not observed.",
                Some(
                    "SET asn_inventory.enabled = on;  -- the check settings shows whether a role or database sets it"
                        .to_owned(),
                ),
            )
        });
    }
    let by_environment = settings::switched_off_by_environment();
    let (cause, remedy) = if by_environment {
        (
            "ENABLE_ASN_INVENTORY switches it off in the server's environment",
            "env | grep ENABLE_ASN_INVENTORY  # unset it where the server is started, and restart the server",
        )
    } else {
        ("asn_inventory.enabled is off", "ALTER SYSTEM SET asn_inventory.enabled = on; SELECT pg_reload_conf();")
    };
    let effect = match settings::enabled() {
        true => ", and this session has it on: what it inserts waits",
        false => ": nothing is observed",
    };
    Some(Finding::new(
        "enabled",
        "warning",
        format!("{cause}{effect}, and the worker is idle."),
        Some(remedy.to_owned()),
    ))
}
