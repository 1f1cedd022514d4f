//! The walk through the inventory after a newer build in which one address in a hundred changed, against one pass that
//! only counts the rows.

use postgres::Client;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::backfill::ensure_enriched;
use crate::stage::{Outcome, Stage, execute, median, number, timed};
use crate::table::{Row, thousands};

const ROUNDS: usize = 3;
const MIN_PER_SECOND: f64 = 300_000.0;
/// Rows written for each that changed, and dead rows left behind in per cent of all.
const MAX_DEAD_PERCENT: f64 = 1.2;
const PATIENCE: Duration = Duration::from_secs(1_800);

/// To the worker it is the same whether the file changed or the rows did: they differ. It looks when settings are read.
pub const CHANGE: &str = "UPDATE ip_inventory SET region = 'as of the build before'
    WHERE (hashtext(host(ip_address)) & 2147483647) % 100 = 0 AND maxmind_status = 'found'";
const WALKED: &str = "SELECT count(*) FROM enrichment_run WHERE kind = 'walk' AND outcome = 'done'";
const LAST: &str = "FROM enrichment_run WHERE kind = 'walk' AND outcome = 'done' ORDER BY job_id DESC LIMIT 1";

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let mut client = stage.session("walk");
    ensure_enriched(stage, &mut client)?;
    let (mut walks, mut floors, mut dead) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        execute(&mut client, CHANGE)?;
        execute(&mut client, "VACUUM (ANALYZE) ip_inventory")?;
        execute(&mut client, "CHECKPOINT")?;
        floors.push(timed(|| number(&mut client, "SELECT count(maxmind_status) FROM ip_inventory"))?.0.as_secs_f64());
        let walk = once(&mut client)?;
        let compared = number(&mut client, &format!("SELECT processed {LAST}"))?;
        if compared as u64 != stage.count() {
            return Err(format!("{compared} of {} rows were compared", stage.count()).into());
        }
        walks.push(walk);
        let written = number(&mut client, &format!("SELECT enriched + not_found + skipped {LAST}"))?;
        dead.push(written * 100.0 / stage.count() as f64);
    }
    let (walk, floor) = (median(&walks), median(&floors));
    let rate = stage.count() as f64 / walk;
    let dead = median(&dead);
    Ok(vec![
        Row::new(
            format!("walk of {} rows after a newer build, 1 % changed", thousands(stage.count())),
            format!("{} rows/s", thousands(rate as u64)),
        )
        .against(format!("{floor:.2} s  SELECT count(…)"))
        .ratio(walk / floor)
        .at_least(rate, MIN_PER_SECOND, "/s"),
        Row::new("  rows written, so dead".to_owned(), format!("{dead:.2} %")).at_most(dead, MAX_DEAD_PERCENT, " %"),
    ])
}

/// Has the worker walk, and returns how many seconds that took.
pub fn once(client: &mut Client) -> Outcome<f64> {
    let before = number(client, WALKED)?;
    execute(client, "DELETE FROM maxmind_walk")?;
    execute(client, "SELECT pg_reload_conf()")?;
    let began = Instant::now();
    while number(client, WALKED)? <= before {
        if began.elapsed() > PATIENCE {
            return Err("no walk ended".into());
        }
        sleep(Duration::from_millis(20));
    }
    number(client, &format!("SELECT extract(epoch FROM ended_at - started_at)::float8 {LAST}"))
}
