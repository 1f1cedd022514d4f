//! Whether the references of keys resolve.

use std::time::Duration;

use super::finding::{Finding, ask};
use crate::functions::status::{Reference, references};
use crate::pg::catalog::Schema;
use crate::pg::process;
use crate::shared;
use crate::shared::checks::found;

/// How long the doctor waits for the worker's look: its other checks are to be told within a usual `statement_timeout`.
const PATIENCE: Duration = Duration::from_secs(3);
/// Raises for a role that may not call these functions, and calls neither.
const MAY_KNOW: &str = "SELECT FROM @extschema@._worker_status(), @extschema@.secret_references() LIMIT 0";
/// Where the worker owes the answer.
const LATE: &str = "SELECT pid, state, query, wait_event FROM pg_catalog.pg_stat_activity WHERE backend_type = 'asn_inventory worker';  -- at long work, or see the check worker";

/// The checks `key maxmind` and `key greynoise`.
pub fn look(schema: &Schema) -> Vec<Finding> {
    ask(schema, MAY_KNOW, &[]);
    // That there is no worker is told already.
    if process::in_recovery() || shared::my_worker().is_none() {
        return Vec::new();
    }
    references(PATIENCE).into_iter().map(finding).collect()
}

fn finding(reference: Reference) -> Finding {
    let Reference { setting, state, detail } = reference;
    let whose = setting.split('_').next().unwrap_or(setting);
    let level = match state {
        found::FAILS => "error",
        found::MISSING | found::LATE => "warning",
        _ => "ok",
    };
    let effect = match (state, whose) {
        (found::UNSET | found::NONE | found::MISSING, "maxmind") => "; no file is downloaded",
        (found::UNSET | found::NONE | found::MISSING, _) => {
            "; GreyNoise is asked only if asn_inventory.greynoise is on"
        }
        _ => "",
    };
    let remedy = match state {
        found::FAILS | found::MISSING => Some(format!(
            "ALTER SYSTEM SET asn_inventory.{setting} = 'file:/etc/asn_inventory/{whose}.key'; SELECT pg_reload_conf();  -- or correct the cause"
        )),
        found::LATE => Some(LATE.to_owned()),
        _ => None,
    };
    Finding::new(&format!("key {whose}"), level, format!("asn_inventory.{setting}: {detail}{effect}"), remedy)
}
