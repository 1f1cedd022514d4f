//! CREATE TABLE beside attached tables with many partitions and a deep inheritance, against a database with the same
//! tables and without the extension: the event trigger looks only at the command's own tables.

use asn_inventory_tests::cluster::Cluster;
use postgres::Client;

use crate::stage::{Outcome, Stage, execute, median, timed};
use crate::table::Row;

const WITH: &str = "ddl_with";
const WITHOUT: &str = "ddl_without";
const PARTITIONS: u32 = 1_500;
/// Each level has two tables that inherit from both of the level above: 2²⁰ ways from the last to the first.
const LEVELS: u32 = 20;
const ROUNDS: usize = 200;
const MOST_MS: f64 = 2.0;

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let cluster = &stage.cluster;
    let partitions = if stage.quick { PARTITIONS / 10 } else { PARTITIONS };
    let mut clients = [prepare(cluster, WITHOUT, partitions, false)?, prepare(cluster, WITH, partitions, true)?];
    let mut rows = Vec::new();
    for (what, command) in [
        ("CREATE TABLE", "CREATE TABLE made (i int)"),
        ("CREATE TEMP TABLE", "CREATE TEMP TABLE made (i int)"),
        ("CREATE TABLE … PARTITION OF the attached root", "CREATE TABLE made PARTITION OF root FOR VALUES IN (-1)"),
    ] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (client, times) in clients.iter_mut().zip(&mut times) {
                times.push(timed(|| execute(client, command))?.0.as_secs_f64() * 1e3);
                execute(client, "DROP TABLE made")?;
            }
        }
        let (without, with) = (median(&times[0]), median(&times[1]));
        let row = Row::new(format!("{what} beside {partitions} partitions, {LEVELS} levels"), format!("{with:.2} ms"))
            .against(format!("{without:.2} ms  without the extension"))
            .ratio(with / without);
        rows.push(if command.contains("PARTITION") { row } else { row.at_most(with - without, MOST_MS, " ms more") });
    }
    drop(clients);
    for database in [WITH, WITHOUT] {
        cluster.sql("postgres", &format!("DROP DATABASE {database}"));
    }
    Ok(rows)
}

fn prepare(cluster: &Cluster, database: &str, partitions: u32, with: bool) -> Outcome<Client> {
    cluster.sql("postgres", &format!("CREATE DATABASE {database}"));
    let mut client = cluster.connect(database);
    if with {
        execute(&mut client, "CREATE EXTENSION asn_inventory")?;
    }
    execute(&mut client, "CREATE TABLE root (ip inet, n int) PARTITION BY LIST (n)")?;
    // Not in one transaction: each takes locks.
    for n in 0..partitions {
        execute(&mut client, &format!("CREATE TABLE part_{n} PARTITION OF root FOR VALUES IN ({n})"))?;
    }
    execute(&mut client, "CREATE TABLE level_0_a (ip inet); CREATE TABLE level_0_b (ip inet)")?;
    for level in 1..LEVELS {
        for side in ["a", "b"] {
            let above = level - 1;
            execute(
                &mut client,
                &format!("CREATE TABLE level_{level}_{side} () INHERITS (level_{above}_a, level_{above}_b)"),
            )?;
        }
    }
    if with {
        execute(&mut client, "SELECT attach_ip_source(t, '{ip}') FROM unnest('{root, level_0_a}'::regclass[]) t")?;
    }
    Ok(client)
}
