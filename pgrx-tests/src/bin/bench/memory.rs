//! Private memory of a backend after look-ups, above that of one that made none.

use postgres::Client;

use crate::stage::{Outcome, Stage, execute, number, value};
use crate::table::{Row, thousands};

const LIMIT_MB: f64 = 16.0;

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let look_up = "SELECT count(lookup_ip(ip)) FROM addresses";
    let mut none = session(stage, "memory, no look-ups", "SELECT count(ip) FROM addresses")?;
    let mut first = session(stage, "memory, alone", look_up)?;
    let base = private(&mut none)?;
    // Pages of a mapped file that only one process has touched count as its own until another one does.
    let alone = private(&mut first)? - base;
    let mut second = session(stage, "memory, beside another", look_up)?;
    let shared = private(&mut second)? - base;
    let many = thousands(stage.count());
    Ok(vec![
        Row::new(format!("private memory after {many} look-ups"), format!("+{shared:.1} MB"))
            .against(format!("{base:.1} MB  a backend without look-ups"))
            .at_most(shared, LIMIT_MB, " MB"),
        Row::new("  the same while nobody else has the files mapped", format!("+{alone:.1} MB"))
            .against("their pages, which all backends share, included"),
    ])
}

fn session(stage: &Stage, what: &str, sql: &str) -> Outcome<Client> {
    let mut client = stage.session(what);
    execute(&mut client, "SET max_parallel_workers_per_gather = 0")?;
    value(&mut client, sql)?;
    Ok(client)
}

/// `Private_Clean` and `Private_Dirty` of the session's process, in MB.
fn private(client: &mut Client) -> Outcome<f64> {
    let pid = number(client, "SELECT pg_backend_pid()")?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kilobytes = text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        ["Private_Clean", "Private_Dirty"].contains(&name).then_some(())?;
        rest.trim().strip_suffix(" kB")?.parse::<f64>().ok()
    });
    Ok(kilobytes.sum::<f64>() / 1024.0)
}
