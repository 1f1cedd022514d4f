//! Replicated rows, into a table that is observed row by row against one that is not, in turns: how long the subscriber
//! takes to apply the same transactions.

use asn_inventory_tests::cluster::Cluster;
use postgres::Client;
use std::time::{Duration, Instant};

use crate::stage::{Outcome, Stage, execute, median, number, value};
use crate::table::{Row, thousands};

const DB: &str = "postgres";
const ROUNDS: usize = 7;
const PLAIN: &str = "applied_plain";
const OBSERVED: &str = "applied_row";
/// Rows of a transaction.
const BATCH: u64 = 100;

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let rows: u64 = if stage.quick { 20_000 } else { 200_000 };
    let server = || {
        Cluster::builder()
            .conf("wal_level", "logical")
            .conf("max_wal_size", "8GB")
            .conf("wal_retrieve_retry_interval", "10ms")
            .start()
    };
    let (publisher, subscriber) = (server(), server());
    let mut clients = [publisher.connect(DB), subscriber.connect(DB)];
    for client in &mut clients {
        for table in [PLAIN, OBSERVED] {
            execute(
                client,
                &format!("CREATE TABLE {table} (id bigint PRIMARY KEY, at timestamptz, src inet, note text)"),
            )?;
        }
    }
    let [from, to] = &mut clients;
    execute(to, "CREATE EXTENSION asn_inventory")?;
    execute(to, &format!("SELECT attach_ip_source('{OBSERVED}', '{{src}}', 'at', method => 'row')"))?;
    execute(from, &format!("CREATE PUBLICATION p FOR TABLE {PLAIN}, {OBSERVED}"))?;
    let host = publisher.socket_dir().display();
    execute(
        to,
        &format!("CREATE SUBSCRIPTION s CONNECTION 'host={host} port=5432 user=postgres dbname={DB}' PUBLICATION p"),
    )?;
    wait(to, "SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate <> 'r'")?;
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS as u64 {
        for (table, times) in [PLAIN, OBSERVED].iter().zip(&mut times) {
            times.push(apply(from, to, table, round * rows, rows)?);
        }
    }
    wait(to, "SELECT count(*) = 0 FROM ip_observation")?;
    let (counted, brought) = (number(to, "SELECT sum(observation_count) FROM ip_inventory")?, rows * ROUNDS as u64);
    if counted != brought as f64 {
        return Err(format!("{counted} observations of {brought} rows").into());
    }
    let (plain, observed) = (median(&times[0]), median(&times[1]));
    let rate = |seconds: f64| thousands((rows as f64 / seconds) as u64);
    let what = format!("applying {} rows of a subscription, {BATCH} a transaction, method => 'row'", thousands(rows));
    Ok(vec![
        Row::new(what, format!("{} a second", rate(observed)))
            .against(format!("{} a second  not observed", rate(plain)))
            .ratio(observed / plain),
    ])
}

/// Seconds from the subscription's start until it has brought new rows.
fn apply(from: &mut Client, to: &mut Client, table: &str, first: u64, rows: u64) -> Outcome<f64> {
    execute(to, "ALTER SUBSCRIPTION s DISABLE")?;
    wait(from, "SELECT NOT bool_or(active) FROM pg_replication_slots")?;
    execute(
        from,
        &format!(
            "DO $$ BEGIN
                 FOR batch IN 0..{} LOOP
                     INSERT INTO {table} SELECT {first} + batch * {BATCH} + i, now(), '64.0.0.0'::inet + (batch * {BATCH} + i) % 50000, repeat('x', 200)
                     FROM generate_series(1, {BATCH}) i;
                     COMMIT;
                 END LOOP;
             END $$",
            rows / BATCH - 1
        ),
    )?;
    // The inserted rows are on disk: the publisher sends only these.
    execute(from, "CHECKPOINT")?;
    let wanted = first + rows;
    let start = Instant::now();
    execute(to, "ALTER SUBSCRIPTION s ENABLE")?;
    wait(to, &format!("SELECT max(id) = {wanted} FROM {table}"))?;
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("    {table}: {seconds:.2} s");
    Ok(seconds)
}

fn wait(client: &mut Client, condition: &str) -> Outcome<()> {
    let start = Instant::now();
    while value(client, condition)? != "t" {
        if start.elapsed() > Duration::from_secs(300) {
            return Err(format!("not within 300 s: {condition}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
