//! `inventory_report()` over the whole inventory, against one pass that only counts its rows.

use crate::backfill::ensure_enriched;
use crate::stage::{Outcome, Stage, execute, median, number, timed};
use crate::table::{Row, thousands};

const ROUNDS: usize = 5;
const LIMIT_S: f64 = 3.0;

/// Times over three months and GreyNoise's answers, which no other part brings.
const SPREAD: &str = "UPDATE ip_inventory SET
    first_seen_at = now() - interval '90 days' * ((hashtext(ip_address::text) & 2147483647) / 2147483648.0),
    last_seen_at = now() - interval '30 days' * ((hashtext(host(ip_address)) & 2147483647) / 2147483648.0),
    scanner_noise = (hashtext(ip_address::text) & 2147483647) % 3 = 0, scanner_riot = false,
    scanner_classification = CASE WHEN (hashtext(ip_address::text) & 2147483647) % 3 = 0 THEN 'malicious' END,
    scanner_ts = now(), greynoise_status = 'found'";

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let mut client = stage.session("report");
    ensure_enriched(stage, &mut client)?;
    execute(&mut client, SPREAD)?;
    execute(&mut client, "VACUUM (FULL, ANALYZE) ip_inventory")?;
    execute(&mut client, "CHECKPOINT")?;
    let (mut pages, mut floors, mut size) = (Vec::new(), Vec::new(), 0.0);
    for round in 0..=ROUNDS {
        let (floor, rows) = timed(|| number(&mut client, "SELECT count(maxmind_status) FROM ip_inventory"))?;
        let (took, length) = timed(|| number(&mut client, "SELECT length(inventory_report())"))?;
        if rows as u64 != stage.count() {
            return Err(format!("{rows} of {} rows are there", stage.count()).into());
        }
        if round > 0 {
            pages.push(took.as_secs_f64());
            floors.push(floor.as_secs_f64());
        }
        size = length;
    }
    let (page, floor) = (median(&pages), median(&floors));
    Ok(vec![
        Row::new(
            format!("inventory_report() over {} addresses ({:.0} kB)", thousands(stage.count()), size / 1e3),
            format!("{page:.2} s"),
        )
        .against(format!("{floor:.2} s  SELECT count(…)"))
        .ratio(page / floor)
        .at_most(page, LIMIT_S, " s"),
    ])
}
