//! Databases of released versions under the library of today, and loaders that go on while they are updated.

pub mod catalog;

use crate::ingest_support::{Db, run, value};
use asn_inventory_tests::prelude::*;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// The released versions, from each of which a database is updated in one go.
pub const VERSIONS: [&str; 2] = ["0.1.0", "0.2.0"];

/// How many loaders there are.
pub const LOADERS: u64 = 4;

/// The cluster of these tests, with the small mmdb files.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(start)
}

/// A cluster for databases of before.
pub fn start() -> Cluster {
    let cluster =
        Cluster::builder().conf("asn_inventory.absorb_interval", "20ms").conf("max_worker_processes", "40").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster
}

/// A database that this version made, with an attached table and a worker.
pub fn old_database(version: &str) -> Db {
    old_database_on(cluster(), version)
}

/// The same on another cluster.
pub fn old_database_on(cluster: &'static Cluster, version: &str) -> Db {
    let db = Db::bare(cluster);
    db.sql(&format!(
        "CREATE EXTENSION asn_inventory VERSION '{version}'; CREATE TABLE events (loader int, src_ip inet);
         SELECT attach_ip_source('events', ARRAY['src_ip'])"
    ));
    db.wait("SELECT worker FROM enrichment_status", "running");
    db
}

/// Loaders at work, and how many statements they have done.
#[derive(Default)]
pub struct Load {
    over: AtomicBool,
    done: [AtomicU64; LOADERS as usize],
}

impl Load {
    /// Starts the loaders: single rows, statements of many, COPY, transactions of several, and some that are rolled back.
    pub fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, db: &'scope Db) {
        for (number, done) in self.done.iter().enumerate() {
            scope.spawn(move || {
                let mut session = db.connect();
                for round in 0u64.. {
                    if self.over.load(Ordering::Relaxed) {
                        return;
                    }
                    let one = format!("({number}, '45.155.{number}.{}')", round % 250);
                    let many = format!(
                        "INSERT INTO events SELECT {number}, '34.64.0.0'::inet + (i * 7 + {round}) % 5000 FROM generate_series(1, 100) i"
                    );
                    match round % 5 {
                        0 => run(&mut session, &format!("INSERT INTO events VALUES {one}")),
                        1 => run(&mut session, &many),
                        2 => run(&mut session, &format!("BEGIN; INSERT INTO events VALUES {one}; {many}; ROLLBACK")),
                        3 => run(&mut session, &format!("BEGIN; INSERT INTO events VALUES {one}; {many}; COMMIT")),
                        _ => {
                            let mut copy = session.copy_in("COPY events FROM STDIN").expect("COPY starts");
                            for n in 0..50 {
                                writeln!(copy, "{number}\t45.156.{number}.{}", (round + n) % 250).expect("a row");
                            }
                            copy.finish().expect("COPY ends");
                        }
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }

    /// Waits until each loader has done `more` statements from now on.
    pub fn wait_for_more(&self, more: u64) {
        let now: Vec<u64> = self.done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
        wait_until("all loaders to go on", || {
            self.done.iter().zip(&now).all(|(done, before)| done.load(Ordering::Relaxed) >= before + more)
        });
    }

    /// Lets the loaders end.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Ends the load however the test ends: a loader that goes on would keep a failed test from ending.
impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends the load when a test fails in the middle.
pub struct EndsLoad<'a>(pub &'a Load);

impl Drop for EndsLoad<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Updates the extension, and waits for the tables as long as a busy machine may need.
pub fn update(db: &Db) {
    let mut session = db.connect();
    run(&mut session, "SET lock_timeout = '10min'");
    run(&mut session, "ALTER EXTENSION asn_inventory UPDATE");
}

/// Repeats what updates a database under load, and says since when its tables can have been locked, until that was shorter
/// than loaders wait for the queue: where a machine stands still for longer, they go on without it, and should.
pub fn in_time(mut updated: impl FnMut() -> (Db, Duration)) -> Db {
    for _ in 0..3 {
        let (db, took) = updated();
        if took < Duration::from_secs(2) {
            return db;
        }
        eprintln!("the update took {took:?}: once more");
    }
    panic!("three updates took longer than loaders wait");
}

/// How long that takes.
pub fn timed(what: impl FnOnce()) -> Duration {
    let began = Instant::now();
    what();
    began.elapsed()
}

/// Each address of `events` is counted as often as it stands there, and nothing is pending.
pub fn assert_counted_exactly(db: &Db) {
    db.settle();
    let differ = "SELECT coalesce(e.src_ip, i.ip_address), e.n, i.observation_count FROM ip_inventory i
         FULL JOIN (SELECT src_ip, count(*) AS n FROM events GROUP BY 1) e ON e.src_ip = i.ip_address
         WHERE coalesce(e.n, 0) IS DISTINCT FROM i.observation_count LIMIT 10";
    assert_eq!(db.lines(differ), [""; 0], "counted wrongly: address, events, counted");
    let counted = "SELECT observations = (SELECT count(*) FROM events) FROM ip_source";
    assert_eq!(db.value(counted), "t", "{:?}", db.lines("SELECT * FROM ip_source"));
}

/// The version that the database has.
pub fn version(db: &Db) -> String {
    db.value("SELECT extversion FROM pg_extension WHERE extname = 'asn_inventory'")
}

/// Statements of rows that were not observed, by the extension's own count.
pub fn unobserved(db: &Db) -> String {
    value(&mut db.connect(), "SELECT sum(unobserved) FROM ip_source")
}
