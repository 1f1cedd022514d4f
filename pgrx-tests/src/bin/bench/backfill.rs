//! Backfill of bare rows, MaxMind only, against one UPDATE that writes constants of the same size into a copy of
//! the table, in turns.

use postgres::Client;
use std::time::Duration;

use crate::stage::{Outcome, Stage, execute, median, number, timed, value};
use crate::table::{Row, thousands};

const ROUNDS: usize = 3;
const MIN_PER_SECOND: f64 = 100_000.0;
const MAX_RATIO: f64 = 1.3;

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let mut client = stage.session("backfill, caller");
    let count = stage.count();
    let (mut backfills, mut updates) = (Vec::new(), Vec::new());
    make_copy(&mut client)?;
    let mut sizes = (0.0, 0.0);
    for round in 0..ROUNDS {
        fill(&mut client, "ip_inventory")?;
        backfills.push(backfill(&mut client, count)?.as_secs_f64());
        let update = constants(&mut client)?;
        fill(&mut client, "constant_copy")?;
        updates.push(timed(|| execute(&mut client, &update))?.0.as_secs_f64());
        if round == 0 {
            sizes = (row_size(&mut client, "ip_inventory")?, row_size(&mut client, "constant_copy")?);
        }
    }
    let (backfill, update) = (median(&backfills), median(&updates));
    let rate = count as f64 / backfill;
    execute(&mut client, "DROP TABLE constant_copy")?;
    Ok(vec![
        Row::new(
            format!("backfill of {} bare rows, MaxMind only", thousands(count)),
            format!("{} addresses/s", thousands(rate as u64)),
        )
        .at_least(rate, MIN_PER_SECOND, "/s"),
        Row::new(format!("  the same ({:.0} bytes a row)", sizes.0), format!("{backfill:.2} s"))
            .against(format!("{update:.2} s  one UPDATE of constants ({:.0} bytes a row)", sizes.1))
            .ratio(backfill / update)
            .at_most(backfill / update, MAX_RATIO, " ×"),
    ])
}

/// Makes every address known to the inventory and enriched, if it is not.
pub fn ensure_enriched(stage: &Stage, client: &mut Client) -> Outcome<()> {
    let enriched = "SELECT count(*) FROM ip_inventory WHERE maxmind_ts IS NOT NULL";
    if number(client, enriched)? as u64 != stage.count() {
        fill(client, "ip_inventory")?;
        backfill(client, stage.count())?;
    }
    Ok(())
}

/// Bare rows in random order, as observations come, settled and on disk.
fn fill(client: &mut Client, table: &str) -> Outcome<()> {
    execute(
        client,
        &format!(
            "TRUNCATE {table};
         INSERT INTO {table} (ip_address, first_seen_at, observation_count) SELECT ip, now(), 3 FROM addresses;"
        ),
    )?;
    execute(client, &format!("VACUUM (ANALYZE) {table}"))?;
    execute(client, "CHECKPOINT")?;
    Ok(())
}

/// Backfills the due rows, which must be this many.
pub fn backfill(client: &mut Client, count: u64) -> Outcome<Duration> {
    let (took, processed) = timed(|| number(client, "SELECT processed FROM backfill_inventory()"))?;
    let left = number(client, "SELECT count(*) FROM ip_inventory WHERE maxmind_status = 'pending'")?;
    if (processed as u64, left as u64) != (count, 0) {
        return Err(format!("{processed} of {count} rows were processed, {left} are still pending").into());
    }
    Ok(took)
}

/// `LIKE` copies everything but the storage parameters.
fn make_copy(client: &mut Client) -> Outcome<()> {
    let options =
        value(client, "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = 'ip_inventory'::regclass")?;
    execute(
        client,
        &format!(
            "DROP TABLE IF EXISTS constant_copy;
         CREATE TABLE constant_copy (LIKE ip_inventory INCLUDING ALL) WITH ({options})"
        ),
    )?;
    Ok(())
}

/// The UPDATE: every column that a backfill writes, texts as long as the backfill just ended wrote on average.
fn constants(client: &mut Client) -> Outcome<String> {
    let texts = [
        "ip_class",
        "asn_org",
        "asn_source",
        "country_code",
        "country_source",
        "region",
        "city",
        "time_zone",
        "maxmind_status",
        "cymru_status",
        "greynoise_status",
    ];
    let lengths: Vec<String> =
        texts.iter().map(|text| format!("round(avg(coalesce(octet_length({text}), 0)))::int")).collect();
    let found = value(client, &format!("SELECT concat_ws(' ', {}) FROM ip_inventory", lengths.join(", ")))?;
    let texts = texts.iter().zip(found.split(' '));
    let texts: Vec<String> =
        texts.map(|(text, length)| format!("{text} = '{}'", "x".repeat(length.parse().unwrap_or(0)))).collect();
    Ok(format!(
        "UPDATE constant_copy SET {}, network = '198.51.100.0/24', asn_number = 64496, latitude = 51.5, longitude = -0.1,
             accuracy_radius_km = 20, maxmind_ts = '2026-01-01', enrichment_ts = '2026-01-01'",
        texts.join(", ")
    ))
}

fn row_size(client: &mut Client, table: &str) -> Outcome<f64> {
    number(client, &format!("SELECT avg(pg_column_size(t.*)) FROM {table} t"))
}
