//! Whether ten times the addresses take more than ten times as long: what each address costs in an inventory of 10 and 30
//! million beside one of a million. Takes most of an hour and 60 GB of disk, so it runs by its name alone.

use postgres::Client;
use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::backfill::backfill;
use crate::data;
use crate::stage::{Outcome, Stage, execute, number, timed, value};
use crate::table::{Row, thousands};
use crate::walk;

/// In millions. The first warms up.
const SIZES: [usize; 4] = [1, 1, 10, 30];
/// What an address may cost beside one of the million.
const MOST: f64 = 1.1;
const WORKS: [&str; 4] = ["absorbing new addresses", "backfill", "walk, 1 % changed", "inventory_report()"];
const PATIENCE: Duration = Duration::from_secs(3_600);

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let million = if stage.quick { 100_000 } else { 1_000_000 };
    let mut client = stage.session("scale");
    let all = data::addresses(SIZES.iter().max().map_or(0, |most| most * million));
    execute(
        &mut client,
        "CREATE TABLE scale_event (ip inet, at timestamptz);
         SELECT attach_ip_source('scale_event', '{ip}', 'at', method => 'index')",
    )?;
    let mut took = Vec::new();
    for count in SIZES.map(|millions| millions * million) {
        let seconds = all_works(stage, &mut client, &all[..count])?;
        eprintln!(
            "      in seconds: {}",
            WORKS.iter().zip(seconds).map(|(work, s)| format!("{work} {s:.1}")).collect::<Vec<_>>().join("; ")
        );
        took.push((count, seconds));
    }
    execute(&mut client, "DROP TABLE scale_event")?;
    empty(&mut client)?;
    let Some((_, [(base_count, base), larger @ ..])) = took.split_first() else { return Ok(Vec::new()) };
    let each = |count: usize, seconds: f64| seconds * 1e6 / count as f64;
    let mut rows = Vec::new();
    for (work, name) in WORKS.into_iter().enumerate() {
        let unit = each(*base_count, base[work]);
        rows.push(Row::new(
            format!("{name}, {} addresses", thousands(*base_count as u64)),
            format!("{:.1} s, {unit:.2} µs each", base[work]),
        ));
        for (count, seconds) in larger {
            let cost = each(*count, seconds[work]);
            rows.push(
                Row::new(
                    format!("  {} addresses", thousands(*count as u64)),
                    format!("{:.1} s, {cost:.2} µs each", seconds[work]),
                )
                .against(format!("{unit:.2} µs"))
                .ratio(cost / unit)
                .at_most(cost / unit, MOST, " ×"),
            );
        }
    }
    Ok(rows)
}

/// How many seconds each of [`WORKS`] takes.
fn all_works(stage: &Stage, client: &mut Client, addresses: &[Ipv4Addr]) -> Outcome<[f64; WORKS.len()]> {
    let count = addresses.len() as u64;
    eprintln!("    {} addresses", thousands(count));
    stage.cluster.set("asn_inventory.enabled", "off");
    empty(client)?;
    execute(client, "TRUNCATE addresses, scale_event")?;
    // A part at a time: the text of all is gigabytes.
    for part in addresses.chunks(1_000_000) {
        data::copy_addresses(client, "addresses", part)?;
    }
    execute(client, "VACUUM (FREEZE, ANALYZE) addresses")?;
    execute(
        client,
        "SET asn_inventory.enabled = on; INSERT INTO scale_event SELECT ip, now() FROM addresses; RESET asn_inventory.enabled",
    )?;
    execute(client, "CHECKPOINT")?;
    let began = Instant::now();
    stage.cluster.set("asn_inventory.enabled", "on");
    while value(client, "SELECT EXISTS (SELECT FROM ip_observation)")? == "t" {
        if began.elapsed() > PATIENCE {
            return Err("the queue does not end".into());
        }
        sleep(Duration::from_millis(100));
    }
    let absorbed = began.elapsed().as_secs_f64();
    let kept = number(client, "SELECT count(*) FROM ip_inventory")?;
    if kept as u64 != count {
        return Err(format!("{kept} of {count} addresses were absorbed").into());
    }
    empty(client)?;
    execute(client, "TRUNCATE scale_event")?;
    execute(client, BARE)?;
    execute(client, "VACUUM (ANALYZE) ip_inventory")?;
    execute(client, "CHECKPOINT")?;
    let filled = backfill(client, count)?.as_secs_f64();
    execute(client, walk::CHANGE)?;
    execute(client, "VACUUM (ANALYZE) ip_inventory")?;
    execute(client, "CHECKPOINT")?;
    let walked = walk::once(client)?;
    let reported = timed(|| number(client, "SELECT length(inventory_report())"))?.0.as_secs_f64();
    Ok([absorbed, filled, walked, reported])
}

/// Bare rows in random order, as observations come, over three months, every third with an answer of GreyNoise.
const BARE: &str = "INSERT INTO ip_inventory (ip_address, first_seen_at, last_seen_at, observation_count, scanner_noise,
         scanner_riot, scanner_classification, scanner_ts, greynoise_status)
     SELECT ip, now() - interval '90 days' * random(), now(), 3, h % 3 = 0, false, CASE WHEN h % 3 = 0 THEN 'malicious' END,
         now(), 'found'
     FROM (SELECT ip, hashtext(host(ip)) & 2147483647 AS h FROM addresses) a";

fn empty(client: &mut Client) -> Outcome<()> {
    execute(
        client,
        "TRUNCATE ip_inventory, ip_observation, ip_sighting, ip_sighting_source, ip_activity, ip_activity_count",
    )
}
