//! INSERTs of one event: each a transaction, by pgbench, and a thousand in one. Into a table that is not observed, one with
//! triggers, one with an index that observes, in turns.

use postgres::Client;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::ingest::{attach, attach_by_index, make_table, settle};
use crate::stage::{DB, Outcome, Stage, execute, median, number, server_time};
use crate::table::{Row, thousands};

const ROUNDS: usize = 7;
const MIN_RATIO: f64 = 0.95;
const MIN_INDEX_RATIO: f64 = 0.98;
const TABLES: [&str; 3] = ["single_plain", "single_attached", "single_index"];
/// Transactions of a thousand INSERTs in a round.
const BURSTS: usize = 20;
const BURST: usize = 1_000;
const MAX_BURST_RATIO: f64 = 1.03;

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let mut client = stage.session("single, housekeeping");
    for table in TABLES {
        make_table(&mut client, table)?;
    }
    attach(&mut client, TABLES[1])?;
    attach_by_index(&mut client, TABLES[2])?;
    let mut rates: [Vec<f64>; 3] = Default::default();
    let mut costs: [Vec<f64>; 3] = Default::default();
    let mut bursts: Times = Default::default();
    let mut loops: Times = Default::default();
    let mut drains = Vec::new();
    for round in 0..ROUNDS {
        for at in 0..TABLES.len() {
            let at = (at + round) % TABLES.len();
            let table = TABLES[at];
            settle(stage, &mut client, table)?;
            let before = server_time(stage, &mut client)?;
            rates[at].push(pgbench(stage, table)?);
            let drain = stage.drained(&mut client)?.as_secs_f64();
            let events = number(&mut client, &format!("SELECT count(*) FROM {table}"))?;
            costs[at].push((server_time(stage, &mut client)? - before) * 1e6 / events);
            if at > 0 {
                drains.push(drain);
                let counted = number(&mut client, "SELECT sum(observation_count) FROM ip_inventory")?;
                if counted != events {
                    return Err(format!("{counted} observations of {events} events").into());
                }
            }
        }
        settle(stage, &mut client, TABLES[0])?;
        side_by_side(stage, round, &mut bursts, &mut loops)?;
        stage.drained(&mut client)?;
    }
    execute(&mut client, &format!("DROP TABLE {}", TABLES.join(", ")))?;
    let ratio = |of: &[Vec<f64>; 3], at: usize| {
        median(&of[at].iter().zip(&of[0]).map(|(own, plain)| own / plain).collect::<Vec<f64>>())
    };
    let mut rows = Vec::new();
    for (at, name, least) in [(1, "trigger", MIN_RATIO), (2, "index", MIN_INDEX_RATIO)] {
        let what = format!("INSERT of one event a transaction, 4 clients (pgbench), by {name}");
        rows.push(
            Row::new(what, format!("{} a second", thousands(median(&rates[at]) as u64)))
                .against(format!("{} a second  not observed", thousands(median(&rates[0]) as u64)))
                .ratio(ratio(&rates, at))
                .at_least(ratio(&rates, at), least, " ×"),
        );
        rows.push(
            Row::new("  processor time of the server for an event", format!("{:.0} µs", median(&costs[at])))
                .against(format!("{:.0} µs  not observed (absorbing included)", median(&costs[0])))
                .ratio(ratio(&costs, at)),
        );
    }
    rows.push(
        Row::new("  absorbing: from the last commit to an empty queue", format!("{:.2} s", median(&drains))).at_most(
            median(&drains),
            2.0,
            " s",
        ),
    );
    for (at, name, most) in [(1, "trigger", None), (2, "index", Some(MAX_BURST_RATIO))] {
        let row = |what: String, of: &[Vec<f64>; 3]| {
            Row::new(what, format!("{:.1} ms", median(&of[at]) * 1e3))
                .against(format!("{:.1} ms  not observed", median(&of[0]) * 1e3))
                .ratio(ratio(of, at))
        };
        let wall = row(format!("transaction of {BURST} INSERTs of one event, by {name}"), &bursts);
        rows.push(match most {
            Some(most) => wall.at_most(ratio(&bursts, at), most, " ×"),
            None => wall,
        });
        rows.push(row("  as many in a loop of a function".to_owned(), &loops));
    }
    Ok(rows)
}

const EVENT: &str =
    r#"{"eventid": "cowrie.login.failed", "username": "root", "sensor": "honeypot-07", "src_ip": "20.0.%.7"}"#;

/// Transactions of many INSERTs, into each table one right after the other: two runs of the same differ by a fifth where
/// others use the machine. The times from the client, and the time on a processor in a function.
fn side_by_side(stage: &Stage, round: usize, bursts: &mut Times, loops: &mut Times) -> Outcome<()> {
    let events: Vec<String> = (0..251).map(|i| EVENT.replace('%', &i.to_string())).collect();
    let mut writers = TABLES.map(|table| Writer { session: stage.session(table), table });
    for turn in 0..BURSTS {
        for at in 0..TABLES.len() {
            let at = (at + round + turn) % TABLES.len();
            bursts[at].push(writers[at].burst(&events)?);
            loops[at].push(writers[at].in_a_loop()?);
        }
    }
    Ok(())
}

type Times = [Vec<f64>; 3];

/// A session that writes to one table.
struct Writer {
    session: Client,
    table: &'static str,
}

impl Writer {
    /// The time of a transaction of many prepared INSERTs, each from the client.
    fn burst(&mut self, events: &[String]) -> Outcome<f64> {
        let text = format!("INSERT INTO {} (event_time, payload) VALUES (now(), $1::text::jsonb)", self.table);
        let insert = self.session.prepare(&text)?;
        let start = Instant::now();
        let mut transaction = self.session.transaction()?;
        for event in events.iter().cycle().take(BURST) {
            transaction.execute(&insert, &[event])?;
        }
        transaction.commit()?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// The time of as many in a function: nothing goes over the wire.
    fn in_a_loop(&mut self) -> Outcome<f64> {
        let table = self.table;
        let call = format!(
            "DO $$ BEGIN
                 FOR i IN 1..{BURST} LOOP
                     INSERT INTO {table} (event_time, payload) VALUES (now(), replace('{EVENT}', '%', (i % 251)::text)::jsonb);
                 END LOOP;
             END $$"
        );
        let start = Instant::now();
        execute(&mut self.session, &call)?;
        Ok(start.elapsed().as_secs_f64())
    }
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
