//! A loader: statements of every size, some rolled back, some in savepoints, some prepared and committed later.

use std::sync::atomic::Ordering;
use std::time::Duration;

use postgres::Client;

use crate::rng::Rng;
use crate::{DB, Soak};

/// The tables that are loaded: by a trigger, the same with partitions, by an index, by a trigger for each row.
pub const TABLES: [&str; 4] = ["events", "parted", "by_index", "by_row"];

/// Loads until the time is over. A cut connection is opened again; what was not committed is gone, and what the tables
/// have in the end is what must have been counted.
pub fn run(soak: &Soak, number: u64) {
    let mut rng = Rng::of(number + 1);
    let mut client: Option<Client> = None;
    let mut batch = 0;
    while !soak.is_over() {
        let Some(open) = &mut client else {
            client = soak.cluster.try_connect(DB).ok();
            if client.is_none() {
                soak.pause(Duration::from_millis(50));
            }
            continue;
        };
        batch += 1;
        let done = transaction(&mut rng, number, batch).iter().try_for_each(|part| open.batch_execute(part));
        match done {
            Ok(()) => {
                soak.committed.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) if open.is_closed() => {
                soak.lost_connections.fetch_add(1, Ordering::Relaxed);
                client = None;
            }
            // Such as a prepared transaction whose name is still in use, or one that a signal cancelled.
            Err(_) => drop(open.batch_execute("ROLLBACK")),
        }
        soak.pause(Duration::from_millis(rng.below(40)));
    }
}

/// What is sent, one after the other.
fn transaction(rng: &mut Rng, loader: u64, batch: u64) -> Vec<String> {
    let how = rng.below(20);
    // Until it is committed, a prepared transaction has its keys, and others would wait for them: where its session was lost, for good.
    let insert = insert(rng, how != 2);
    match how {
        0 => vec![format!("BEGIN; {insert}; ROLLBACK")],
        1 => vec![format!("BEGIN; {insert}; SAVEPOINT s; {insert}; ROLLBACK TO s; {insert}; COMMIT")],
        2 => {
            let name = format!("soak_{loader}_{batch}");
            vec![format!("BEGIN; {insert}; PREPARE TRANSACTION '{name}'"), format!("COMMIT PREPARED '{name}'")]
        }
        3 => vec![format!("{insert}; {insert}")],
        _ => vec![insert],
    }
}

/// Half of the addresses are met again and again; some are only Team Cymru's to know, some nobody's, some are none. Where it
/// may have keys, some rows of the observing index's table meet one of theirs that is there: then a row is updated, and is no new one.
fn insert(rng: &mut Rng, with_keys: bool) -> String {
    let rows = *rng.one(&[1, 1, 1, 1, 10, 100, 1000]);
    let base = rng.below(200_000);
    let address = match rng.below(6) {
        0 => format!("'45.0.0.1'::inet + ({base} + g) % 3000 * 256"),
        1 => format!("('2a00:1000:' || to_hex(({base} + g) % 2000) || '::1')::inet"),
        2 => "'34.64.0.0'::inet + g % 500".to_owned(),
        3 => "CASE WHEN g % 3 = 0 THEN NULL ELSE '10.0.0.0'::inet + g % 100 END".to_owned(),
        _ => format!("'34.64.0.0'::inet + {base} + g"),
    };
    match rng.below(8) {
        0 | 1 => format!("INSERT INTO parted SELECT {address}, g FROM generate_series(1, {rows}) g"),
        2 if with_keys => format!(
            "INSERT INTO by_index SELECT {address}, {base} + g FROM generate_series(1, {rows}) g
             ON CONFLICT (n) DO UPDATE SET n = excluded.n"
        ),
        2 | 3 => format!("INSERT INTO by_index (ip) SELECT {address} FROM generate_series(1, {rows}) g"),
        4 => format!("INSERT INTO by_row SELECT {address} FROM generate_series(1, {rows}) g"),
        _ => format!("INSERT INTO events (ip) SELECT {address} FROM generate_series(1, {rows}) g"),
    }
}
