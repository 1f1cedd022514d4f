//! The frequent queries of operators and Prometheus, over a large inventory and with a long queue: their time must not
//! depend on the size of either.

use std::time::{Duration, Instant};

use asn_inventory_tests::wait::wait_within;
use postgres::Client;

use crate::stage::{Outcome, Stage, execute, median, number, timed, value};
use crate::table::{Row, thousands};

const ROUNDS: usize = 200;
/// A question that takes seconds is asked less often.
const LONG_ENOUGH: Duration = Duration::from_secs(20);
const LIMIT_MS: f64 = 5.0;
const ADDRESSES: u64 = 10_000_000;
const QUEUED: u64 = 1_000_000;
/// For the statistics of the queue, and for the worker's count.
const PATIENCE: Duration = Duration::from_secs(300);

/// The query, and the limit.
const QUESTIONS: [(&str, Option<f64>); 3] = [
    ("SELECT * FROM enrichment_status", Some(LIMIT_MS)),
    ("SELECT * FROM source_status", None),
    ("SELECT prometheus_metrics()", Some(LIMIT_MS)),
];

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let part = if stage.quick { 10 } else { 1 };
    let (addresses, queued) = (ADDRESSES / part, QUEUED / part);
    let mut client = stage.session("status");
    fill(&mut client, addresses)?;
    // The worker counts after changes of its own: one more address, through the queue.
    execute(&mut client, "CREATE TABLE status_event (ip inet)")?;
    execute(&mut client, "SELECT attach_ip_source('status_event', '{ip}')")?;
    execute(&mut client, "INSERT INTO status_event VALUES ('8.8.8.8')")?;
    wait(&mut client, "SELECT coalesce(max(addresses), 0) FROM inventory_count", addresses)?;
    // The worker rests, so the queue stays.
    stage.cluster.set("asn_inventory.enabled", "off");
    execute(
        &mut client,
        &format!(
            "INSERT INTO ip_observation (address, seen, first_seen, last_seen)
             SELECT '1.0.0.0'::inet + i, 1, now(), now() FROM generate_series(1, {queued}) i"
        ),
    )?;
    execute(&mut client, "CHECKPOINT")?;
    // A long queue is estimated.
    wait(&mut client, "SELECT queued FROM enrichment_status", queued * 9 / 10)?;
    let asked: Outcome<Vec<Row>> =
        QUESTIONS.iter().map(|(question, limit)| ask(&mut client, question, *limit)).collect();
    execute(&mut client, "DROP TABLE status_event; TRUNCATE ip_inventory, ip_observation")?;
    stage.cluster.set("asn_inventory.enabled", "on");
    let what = format!("status at {} addresses, {} in the queue", thousands(addresses), thousands(queued));
    Ok(std::iter::once(Row::new(what, "")).chain(asked?).collect())
}

/// Enriched rows, most with all answers.
fn fill(client: &mut Client, addresses: u64) -> Outcome<()> {
    execute(client, "TRUNCATE ip_inventory, ip_observation")?;
    execute(
        client,
        &format!(
            "INSERT INTO ip_inventory (ip_address, observation_count, asn_number, asn_org, asn_source, enrichment_ts, ip_class,
                 network, country_code, country_source, maxmind_status, maxmind_ts, cymru_status, greynoise_status)
             SELECT '1.0.0.0'::inet + i, 3, 64496 + i % 1000, 'Invented Network', 'maxmind', now(), 'public',
                 '1.0.0.0/8', 'ZZ', 'maxmind', 'found', now(), 'skipped', CASE WHEN i % 10 = 0 THEN 'pending' ELSE 'skipped' END
             FROM generate_series(1, {addresses}) i"
        ),
    )?;
    execute(client, "VACUUM (ANALYZE) ip_inventory")?;
    execute(client, "CHECKPOINT")
}

/// Waits until a number has the expected value.
fn wait(client: &mut Client, sql: &str, wanted: u64) -> Outcome<()> {
    wait_within(PATIENCE, || number(client, sql).unwrap_or(f64::NAN), |found| *found >= wanted as f64)
        .map_err(|last| format!("{sql}: {last} in the end, not {wanted}"))?;
    Ok(())
}

fn ask(client: &mut Client, question: &str, limit: Option<f64>) -> Outcome<Row> {
    value(client, question)?;
    let mut times = Vec::new();
    let began = Instant::now();
    while times.len() < ROUNDS && (times.len() < 5 || began.elapsed() < LONG_ENOUGH) {
        times.push(timed(|| value(client, question))?.0.as_secs_f64() * 1e3);
    }
    let ms = median(&times);
    let row = Row::new(format!("  {question}"), format!("{ms:.2} ms"));
    Ok(match limit {
        Some(limit) => row.at_most(ms, limit, " ms"),
        None => row,
    })
}
