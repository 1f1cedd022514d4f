//! What absorbing costs that keeps who saw an address, and when, beside absorbing that does not; and with each of the indexes
//! that `docs/queries.md` offers.

use postgres::Client;

use crate::stage::{Outcome, Stage, execute, median, number, processor_time};
use crate::table::{Row, thousands};

const ROUNDS: usize = 5;
/// The least part of the speed without them.
const LEAST: f64 = 0.7;
/// Settings with and without sightings and days.
const KEEPING: [(&str, &str); 2] = [("2GB", "400d"), ("0", "0")];
/// What `docs/queries.md` offers, and how often it is tried.
const OFFERED: [&str; 4] = ["(asn_number)", "(country_code)", "(first_seen_at)", "USING gist (ip_address inet_ops)"];
const ROUNDS_WITH_INDEX: usize = 2;
const WORKS: [&str; 2] = ["new addresses", "known addresses"];

const EMPTY: &str =
    "TRUNCATE ip_inventory, ip_observation, ip_sighting, ip_sighting_source, ip_activity, ip_activity_count";

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let mut client = stage.session("absorb");
    execute(
        &mut client,
        "CREATE TABLE absorb_event (ip inet, at timestamptz); SELECT attach_ip_source('absorb_event', '{ip}', 'at')",
    )?;
    // Queued while the worker rests.
    execute(&mut client, "SET asn_inventory.enabled = on")?;
    let mut took = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for _ in 0..ROUNDS {
        for (case, (size, kept)) in KEEPING.into_iter().enumerate() {
            stage.cluster.set("asn_inventory.sightings_max_size", size);
            stage.cluster.set("asn_inventory.activity_retention", kept);
            execute(&mut client, EMPTY)?;
            for of_work in &mut took {
                of_work[case].push(queue_and_absorb(stage, &mut client)?);
            }
        }
    }
    // As the next parts expect it.
    let (size, kept) = KEEPING[0];
    stage.cluster.set("asn_inventory.sightings_max_size", size);
    stage.cluster.set("asn_inventory.activity_retention", kept);
    let mut indexed = Vec::new();
    for index in OFFERED {
        let mut took = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS_WITH_INDEX {
            execute(&mut client, EMPTY)?;
            execute(&mut client, &format!("CREATE INDEX bench_offered ON ip_inventory {index}"))?;
            for of_work in &mut took {
                of_work.push(queue_and_absorb(stage, &mut client)?);
            }
            execute(&mut client, "DROP INDEX bench_offered")?;
        }
        indexed.push((index, took));
    }
    execute(&mut client, &format!("DROP TABLE absorb_event; {EMPTY}"))?;
    let count = stage.count();
    let speed = |took: &[f64]| count as f64 / median(took);
    let title = format!("absorbing {} addresses with sightings, days and hours (processor time)", thousands(count));
    let rows = WORKS.iter().zip(&took).map(|(work, [with, without])| {
        let ratio = median(without) / median(with);
        Row::new(format!("  {work}"), format!("{} a second", thousands(speed(with) as u64)))
            .against(format!("{} a second  without", thousands(speed(without) as u64)))
            .ratio(ratio)
            .at_least(ratio, LEAST, " ×")
    });
    let mut rows: Vec<Row> = std::iter::once(Row::new(title, "")).chain(rows).collect();
    for (index, with_index) in &indexed {
        for ((work, [without, _]), with) in WORKS.iter().zip(&took).zip(with_index) {
            rows.push(
                Row::new(format!("  {work}, index {index}"), format!("{} a second", thousands(speed(with) as u64)))
                    .against(format!("{} a second  without", thousands(speed(without) as u64)))
                    .ratio(median(without) / median(with)),
            );
        }
    }
    Ok(rows)
}

/// Absorbs each of the addresses once.
fn queue_and_absorb(stage: &Stage, client: &mut Client) -> Outcome<f64> {
    stage.cluster.set("asn_inventory.enabled", "off");
    execute(client, "INSERT INTO absorb_event SELECT ip, now() FROM addresses")?;
    execute(client, "CHECKPOINT")?;
    absorb(stage, client)
}

/// Processor seconds of the worker for all that is queued: in rounds, each of which it commits.
fn absorb(stage: &Stage, client: &mut Client) -> Outcome<f64> {
    let worker = number(client, "SELECT worker_pid FROM _worker_status()")?;
    let before = processor_time(worker)?;
    stage.cluster.set("asn_inventory.enabled", "on");
    stage.drained(client)?;
    Ok(processor_time(worker)? - before)
}
