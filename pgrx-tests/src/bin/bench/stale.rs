//! No plan that statistics can spoil: backfill, absorb and walk over an inventory that was never analyzed, over one that was
//! when it was small and all answered, and over one that has just been.

use postgres::Client;

use crate::backfill::backfill;
use crate::stage::{Outcome, Stage, execute, timed};
use crate::table::{Row, thousands};
use crate::walk;

/// Rows of the inventory when it was analyzed, in the second case.
const SMALL: u64 = 1000;
/// How much longer it may take than with present statistics. A bad plan would take thousands of times longer.
const MAX_RATIO: f64 = 2.0;

/// The planner's statistics.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Statistics {
    Never,
    Small,
    Now,
}

const CASES: [Statistics; 3] = [Statistics::Never, Statistics::Small, Statistics::Now];
const WORKS: [&str; 3] = ["backfill", "absorb of known addresses", "walk, 1 % changed"];

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let mut client = stage.session("stale");
    execute(&mut client, "ALTER TABLE ip_inventory SET (autovacuum_enabled = off)")?;
    execute(&mut client, "CREATE TABLE stale_event (ip inet)")?;
    execute(&mut client, "SELECT attach_ip_source('stale_event', '{ip}')")?;
    let mut took = [[0.0; CASES.len()]; WORKS.len()];
    for (case, statistics) in CASES.into_iter().enumerate() {
        let bare = fill(&mut client, stage, statistics)?;
        took[0][case] = backfill(&mut client, bare)?.as_secs_f64();
        settle(&mut client, statistics)?;
        let absorb = timed(|| {
            execute(&mut client, "INSERT INTO stale_event SELECT ip FROM addresses")?;
            stage.drained(&mut client)
        });
        took[1][case] = absorb?.0.as_secs_f64();
        execute(&mut client, walk::CHANGE)?;
        settle(&mut client, statistics)?;
        took[2][case] = walk::once(&mut client)?;
    }
    execute(&mut client, "DROP TABLE stale_event; ALTER TABLE ip_inventory RESET (autovacuum_enabled)")?;
    execute(&mut client, "TRUNCATE ip_inventory, ip_observation")?;
    let title = format!("statistics of {} rows: never, when they were {SMALL}, now", thousands(stage.count()));
    let rows = WORKS.iter().zip(took).map(|(work, [never, small, now])| {
        let ratio = never.max(small) / now;
        Row::new(format!("  {work}"), format!("{never:.2} s, {small:.2} s"))
            .against(format!("{now:.2} s  with statistics of now"))
            .ratio(ratio)
            .at_most(ratio, MAX_RATIO, " ×")
    });
    Ok(std::iter::once(Row::new(title, "")).chain(rows).collect())
}

/// Bare rows, with the statistics that the test sets. Returns the number of bare rows.
fn fill(client: &mut Client, stage: &Stage, statistics: Statistics) -> Outcome<u64> {
    let insert = |limit: &str| {
        format!(
            "INSERT INTO ip_inventory (ip_address, first_seen_at, observation_count)
             SELECT ip, now(), 3 FROM addresses {limit} ON CONFLICT DO NOTHING"
        )
    };
    execute(client, "TRUNCATE ip_inventory, ip_observation")?;
    execute(client, "DELETE FROM pg_statistic WHERE starelid = 'ip_inventory'::regclass")?;
    let mut bare = stage.count();
    if statistics == Statistics::Small {
        execute(client, &insert(&format!("LIMIT {SMALL}")))?;
        backfill(client, SMALL)?;
        execute(client, "ANALYZE ip_inventory")?;
        bare -= SMALL;
    }
    execute(client, &insert(""))?;
    settle(client, statistics)?;
    Ok(bare)
}

/// Before each work: writes are on disk, and statistics are as set.
fn settle(client: &mut Client, statistics: Statistics) -> Outcome<()> {
    if statistics == Statistics::Now {
        execute(client, "ANALYZE ip_inventory")?;
    }
    execute(client, "CHECKPOINT")
}
