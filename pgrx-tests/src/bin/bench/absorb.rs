//! What absorbing costs that keeps who saw an address, and when, beside absorbing that does not.

use postgres::Client;

use crate::stage::{Outcome, Stage, execute, median, number, processor_time};
use crate::table::{Row, thousands};

const ROUNDS: usize = 5;
/// The least part of the speed without them.
const LEAST: f64 = 0.7;
/// Settings with and without sightings and days.
const KEEPING: [(&str, &str); 2] = [("2GB", "400d"), ("0", "0")];
const WORKS: [&str; 2] = ["new addresses", "known addresses"];

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
            execute(
                &mut client,
                "TRUNCATE ip_inventory, ip_observation, ip_sighting, ip_sighting_source, ip_activity, ip_activity_count",
            )?;
            for of_work in &mut took {
                stage.cluster.set("asn_inventory.enabled", "off");
                execute(&mut client, "INSERT INTO absorb_event SELECT ip, now() FROM addresses")?;
                execute(&mut client, "CHECKPOINT")?;
                of_work[case].push(absorb(stage, &mut client)?);
            }
        }
    }
    // As the next parts expect it.
    let (size, kept) = KEEPING[0];
    stage.cluster.set("asn_inventory.sightings_max_size", size);
    stage.cluster.set("asn_inventory.activity_retention", kept);
    execute(
        &mut client,
        "DROP TABLE absorb_event; TRUNCATE ip_inventory, ip_observation, ip_sighting, ip_sighting_source, ip_activity, ip_activity_count",
    )?;
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
    Ok(std::iter::once(Row::new(title, "")).chain(rows).collect())
}

/// Processor seconds of the worker for all that is queued: in rounds, each of which it commits.
fn absorb(stage: &Stage, client: &mut Client) -> Outcome<f64> {
    let worker = number(client, "SELECT worker_pid FROM _worker_status()")?;
    let before = processor_time(worker)?;
    stage.cluster.set("asn_inventory.enabled", "on");
    stage.drained(client)?;
    Ok(processor_time(worker)? - before)
}
