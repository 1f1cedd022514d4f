//! `enrich_ip` of addresses that the inventory knows and that are fresh.

use crate::backfill::ensure_enriched;
use crate::stage::{Outcome, Stage, execute, least, number, timed};
use crate::table::{Row, thousands};

const ROUNDS: usize = 5;
const LIMIT_US: f64 = 15.0;

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let mut client = stage.session("enrich");
    ensure_enriched(stage, &mut client)?;
    let count = stage.count() / 10;
    execute(&mut client, &format!(
        "DROP TABLE IF EXISTS cached;
         CREATE TABLE cached AS SELECT ip_address AS ip FROM ip_inventory ORDER BY hashtext(ip_address::text) LIMIT {count};
         SET max_parallel_workers_per_gather = 0"
    ))?;
    execute(&mut client, "VACUUM (ANALYZE) cached")?;
    execute(&mut client, "VACUUM (ANALYZE) ip_inventory")?;
    execute(&mut client, "CHECKPOINT")?;
    let (mut calls, mut floors) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (floor, _) = timed(|| number(&mut client, "SELECT count(ip) FROM cached"))?;
        let (took, answered) = timed(|| number(&mut client, "SELECT count(enrich_ip(ip)) FROM cached"))?;
        if answered as u64 != count {
            return Err(format!("enrich_ip answered {answered} of {count}").into());
        }
        if round > 0 {
            calls.push(took.as_secs_f64() * 1e6 / count as f64);
            floors.push(floor.as_secs_f64() * 1e6 / count as f64);
        }
    }
    let absorbed = number(&mut client, "SELECT count(*) FROM ip_observation")?;
    if absorbed != 0.0 {
        return Err("addresses that should be fresh were handed to the worker".into());
    }
    execute(&mut client, "DROP TABLE cached")?;
    let (call, floor) = (least(&calls), least(&floors));
    Ok(vec![
        Row::new(
            format!("enrich_ip of a fresh address of {}", thousands(stage.count())),
            format!("{:.2} µs", call - floor),
        )
        .against(format!("{floor:.3} µs  the floor, subtracted"))
        .at_most(call - floor, LIMIT_US, " µs"),
    ])
}
