//! Jobs in a Citus cluster: a backfill of everything runs on each node over the rows that lie there, and what asks the
//! network sources runs on the node that asks them. Their callers get one summary, on whatever node they are.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;

use super::request::Request;
use super::summary;
use super::summary::Summary;
use crate::inventory::{asker, heap};
use crate::pg::call::Call;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::citus::Where;
use crate::pg::errors::raise;
use crate::shared::{kind, sources};

/// Where a request belongs, unless that is this node alone.
pub fn place(schema: &Schema, request: &Request) -> Option<Where> {
    if !heap::is_everywhere(schema) || request.kind == kind::UPDATE {
        return None;
    }
    if request.kind == kind::BACKFILL && request.ips.is_none() && request.max_ips == 0 {
        return Some(Where::Everywhere);
    }
    let asks = request.sources & (sources::CYMRU | sources::GREYNOISE) != 0;
    (asks && !asker::is_here(schema)).then_some(Where::Coordinator)
}

/// Has other nodes do it, and adds up what they say. `job` is a call of one of the extension's functions that returns an
/// `enrichment_summary`, without the schema.
pub fn run(call: Call, schema: &Schema, which: Where, job: &str) -> Datum {
    let command = format!(
        "SELECT pg_catalog.json_build_array(s.job_id, s.processed, s.enriched, s.cache_hits, s.maxmind_asn, s.cymru_asn,
             s.greynoise_scanners, s.not_found, s.skipped, s.errors, (extract(epoch FROM s.elapsed) OPERATOR(pg_catalog.*) 1000000::pg_catalog.numeric)::bigint)
         FROM {}.{job} s",
        schema.name
    );
    let mut number = None;
    let mut whole: Option<Summary> = None;
    let mut failed = Vec::new();
    let replies = citus::run_on(which, &command);
    let nodes = replies.len();
    for reply in replies {
        let part = match reply.result {
            Ok(part) => part.unwrap_or_default(),
            Err(message) => {
                failed.push((reply.node, message));
                continue;
            }
        };
        let part: Vec<Option<i64>> = serde_json::from_str(&part).unwrap_or_default();
        // The number is that of the job on the first node; the time is that of the slowest.
        number = number.or(part.first().copied().flatten());
        if let Some([Some(elapsed)]) = part.get(10..11) {
            let whole = whole.get_or_insert(Summary { numbers: [0; 9], elapsed: 0 });
            for (sum, value) in whole.numbers.iter_mut().zip(&part[1..10]) {
                *sum += value.unwrap_or(0).max(0) as u64;
            }
            whole.elapsed = whole.elapsed.max(*elapsed);
        }
    }
    if !failed.is_empty() {
        fail(which, &failed, nodes);
    }
    summary::row(call, number.unwrap_or(0), whole)
}

/// Names the nodes that have not done it, of so many. Of an error elsewhere Citus brings the message alone.
fn fail(which: Where, failed: &[(i32, String)], nodes: usize) -> ! {
    let names = citus::node_names();
    let (message, detail) = match failed {
        [(node, why)] => (format!("the job failed on node {}", citus::node_name(&names, *node)), why.clone()),
        _ => {
            let each = failed.iter().map(|(node, why)| format!("{}: {why}", citus::node_name(&names, *node)));
            (format!("the job failed on {} nodes", failed.len()), each.collect::<Vec<_>>().join("\n"))
        }
    };
    let hint = match which {
        Where::Coordinator => "Call it on that node, the coordinator: it says more there.",
        _ if failed.len() < nodes => "On the others the job is done: call it again once these nodes can do it.",
        _ => "No node has done it: call it again once they can.",
    };
    raise(PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, message, &detail, hint)
}
