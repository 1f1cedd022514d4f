//! Transactions of one INSERT each, by pgbench, into a table with triggers against one without, in turns.

use std::path::{Path, PathBuf};

use crate::ingest::{attach, make_table, settle};
use crate::stage::{DB, Outcome, Stage, execute, median, number, server_time};
use crate::table::{Row, thousands};

const ROUNDS: usize = 5;
const MIN_RATIO: f64 = 0.95;
const TABLES: [&str; 2] = ["single_plain", "single_attached"];

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let mut client = stage.session("single, housekeeping");
    for table in TABLES {
        make_table(&mut client, table)?;
    }
    attach(&mut client, TABLES[1])?;
    let (mut rates, mut costs, mut drains) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()], Vec::new());
    for _ in 0..ROUNDS {
        for (at, table) in TABLES.iter().enumerate() {
            settle(stage, &mut client, table)?;
            let before = server_time(stage, &mut client)?;
            rates[at].push(pgbench(stage, table)?);
            let drain = stage.drained(&mut client)?.as_secs_f64();
            let events = number(&mut client, &format!("SELECT count(*) FROM {table}"))?;
            costs[at].push((server_time(stage, &mut client)? - before) * 1e6 / events);
            if *table == TABLES[1] {
                drains.push(drain);
                let counted = number(&mut client, "SELECT sum(observation_count) FROM ip_inventory")?;
                if counted != events {
                    return Err(format!("{counted} observations of {events} events").into());
                }
            }
        }
    }
    execute(&mut client, "DROP TABLE single_plain, single_attached")?;
    let (plain, attached, drain) = (median(&rates[0]), median(&rates[1]), median(&drains));
    Ok(vec![
        Row::new(
            "INSERT of one event a transaction, 4 clients (pgbench)",
            format!("{} a second", thousands(attached as u64)),
        )
        .against(format!("{} a second  without triggers", thousands(plain as u64)))
        .ratio(attached / plain)
        .at_least(attached / plain, MIN_RATIO, " ×"),
        Row::new("  processor time of the server for an event", format!("{:.0} µs", median(&costs[1])))
            .against(format!("{:.0} µs  without triggers (absorbing included)", median(&costs[0])))
            .ratio(median(&costs[1]) / median(&costs[0])),
        Row::new("  absorbing: from the last commit to an empty queue", format!("{drain:.2} s"))
            .at_most(drain, 2.0, " s"),
    ])
}

/// Transactions a second.
fn pgbench(stage: &Stage, table: &str) -> Outcome<f64> {
    let script = write_script(stage, table)?;
    let seconds = if stage.quick { "2" } else { "5" };
    let output = stage
        .cluster
        .tool("pgbench")
        .args(["-n", "-M", "prepared", "-c", "4", "-j", "2", "-T", seconds, "-f"])
        .arg(&script)
        .arg(DB)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    match rate {
        Some(rate) if output.status.success() => {
            eprintln!("    {table}: {rate:.0} a second");
            Ok(rate)
        }
        _ => Err(format!("pgbench: {said}{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn write_script(stage: &Stage, table: &str) -> Outcome<PathBuf> {
    let path = Path::new(&stage.cluster.data_dir()).with_file_name(format!("{table}.sql"));
    // A colon before a letter or a digit would be a variable to pgbench.
    let script = format!(
        "\\set n random_zipfian(1, 60000, 1.1)\n\
         INSERT INTO {table} (event_time, payload) VALUES (now(), ('{{\"eventid\": \"cowrie.login.failed\", \
         \"username\": \"root\", \"password\": \"5f4dcc3b5aa765d6\", \"message\": \"login attempt [root/5f4dcc3b] failed\", \
         \"sensor\": \"honeypot-07\", \"src_port\": 41022, \"dst_ip\": \"10.0.0.5\", \"dst_port\": 2222, \
         \"session\": \"a1b2c3d4e5f6\", \"protocol\": \"ssh\", \"hassh\": \"92674389fa1e47a27ddd8d9b63ecd42b\", \
         \"duration\": 12.5, \"src_ip\": \"' || \
         host(inet '20.0.0.0' + :n::bigint * 9973) || '\"}}')::jsonb);\n"
    );
    std::fs::write(&path, script)?;
    Ok(path)
}
