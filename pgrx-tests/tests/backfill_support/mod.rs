//! Common code of the backfill tests: a database with bare rows, a gate that holds a job at a row, and a call in its
//! own session.

use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use postgres::{CancelToken, Client, NoTls};
use std::thread::JoinHandle;

pub const HELPER: &str = "asn_inventory backfill";
pub const WORKER: &str = "asn_inventory worker";

/// Rows as statements give them.
pub type Rows = Vec<Vec<Option<String>>>;

/// A cluster for many databases, each with a worker and helpers.
pub fn cluster_of_many() -> Cluster {
    let cluster =
        Cluster::builder().conf("asn_inventory.absorb_interval", "50ms").conf("max_worker_processes", "64").start();
    fixtures::small(&cluster.maxmind_dir());
    cluster
}

/// A database of the test's own, with a worker.
pub fn database<'a>(cluster: &Cluster, name: &'a str) -> &'a str {
    cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
    cluster.sql(name, "CREATE EXTENSION asn_inventory");
    cluster.wait_walked(name);
    name
}

/// Bare rows, as people insert them by hand: `count` addresses from `first` on.
pub fn bare(cluster: &Cluster, db: &str, first: &str, count: u32) {
    cluster.sql(
        db,
        &format!(
            "INSERT INTO ip_inventory (ip_address, first_seen_at, observation_count)
             SELECT '{first}'::inet + n, '2026-01-01Z', 1 + n FROM generate_series(0, {count} - 1) AS n"
        ),
    );
}

/// How many rows are enriched.
pub const ENRICHED: &str = "SELECT count(*) FROM ip_inventory WHERE maxmind_ts IS NOT NULL";
/// How many are not.
pub const DUE: &str = "SELECT count(*) FROM ip_inventory WHERE maxmind_status = 'pending'";
/// Rows that differ from a look-up of their address.
pub const WRONG: &str = "SELECT i.ip_address FROM ip_inventory i, lookup_ip(i.ip_address) l
    WHERE (i.ip_class, i.network, i.asn_number, i.asn_org, i.asn_source, i.country_code, i.country_source, i.region,
           i.city, i.latitude, i.longitude, i.accuracy_radius_km, i.time_zone, i.maxmind_status)
       IS DISTINCT FROM
          (l.ip_class, l.network, l.asn_number, l.asn_org, l.asn_source, l.country_code, l.country_source, l.region,
           l.city, l.latitude, l.longitude, l.accuracy_radius_km, l.time_zone, l.maxmind_status)
       OR i.enrichment_ts IS DISTINCT FROM i.maxmind_ts OR i.maxmind_ts IS NULL";

/// The numbers of an `enrichment_summary`, or of a row of `enrichment_run`, in one line.
pub const NUMBERS: &str =
    "processed, enriched, cache_hits, maxmind_asn, cymru_asn, greynoise_scanners, not_found, skipped, errors";

/// How many sessions wait to have the inventory to themselves.
pub const LOCKERS: &str = "SELECT count(*) FROM pg_locks
    WHERE relation = 'ip_inventory'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted";

/// Holds writers of certain rows until it is opened.
pub struct Gate(Client);

impl Gate {
    /// Before the writing of each row of which `condition` (on `NEW`) holds.
    pub fn shut(cluster: &Cluster, db: &str, condition: &str) -> Gate {
        let gate = Gate::shut_again(cluster, db);
        // No lock is waited for: the extension's own time-out for locks must not end the wait.
        cluster.sql(
            db,
            &format!(
                "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     WHILE NOT pg_try_advisory_xact_lock_shared(42) LOOP PERFORM pg_sleep(0.005); END LOOP;
                     RETURN NEW; END $$;
                 CREATE TRIGGER gate BEFORE UPDATE ON ip_inventory FOR EACH ROW WHEN ({condition})
                     EXECUTE FUNCTION gate();
                 ALTER TABLE ip_inventory ENABLE ALWAYS TRIGGER gate"
            ),
        );
        gate
    }

    /// The same gate, after it was opened.
    pub fn shut_again(cluster: &Cluster, db: &str) -> Gate {
        let mut client = cluster.connect(db);
        query(&mut client, "SELECT pg_advisory_lock(42)").expect("the gate's lock");
        Gate(client)
    }

    /// Waits until a process of this kind stands at a gate.
    pub fn wait_for(cluster: &Cluster, db: &str, kind: &str) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND backend_type = '{kind}' AND wait_event = 'PgSleep'"
        );
        cluster.wait_value(db, &sql, "1");
    }

    /// Opens the gate when a session waits for the whole table. It gets the table once what stands at the gate is committed,
    /// and keeps it until its transaction ends.
    pub fn open_to_locker(self, cluster: &Cluster, db: &str) -> Client {
        let mut locker = cluster.connect(db);
        let locking = std::thread::spawn(move || {
            query(&mut locker, "BEGIN; LOCK TABLE ip_inventory IN ACCESS EXCLUSIVE MODE").map(|_| locker)
        });
        cluster.wait_value(db, LOCKERS, "1");
        self.open();
        locking.join().expect("the thread").expect("the lock")
    }

    /// Opens the gate.
    pub fn open(mut self) {
        query(&mut self.0, "SELECT pg_advisory_unlock(42)").expect("the gate's lock");
    }
}

/// A call in a session of its own.
pub struct Call {
    pub pid: String,
    pub token: CancelToken,
    pub notices: asn_inventory_tests::cluster::Notices,
    session: JoinHandle<Result<Rows, SqlFailure>>,
}

impl Call {
    pub fn start(cluster: &Cluster, db: &str, sql: &str) -> Call {
        let (mut client, notices) = cluster.connect_with_notices(db);
        let pid = query(&mut client, "SELECT pg_backend_pid()").expect("a process id");
        let (token, sql) = (client.cancel_token(), sql.to_owned());
        let session = std::thread::spawn(move || query(&mut client, &sql));
        Call { pid: pid[0][0].clone().expect("a process id"), token, notices, session }
    }

    /// The effect of a user's Ctrl-C.
    pub fn cancel(&self) {
        self.token.cancel_query(NoTls).expect("a cancel request");
    }

    /// How it ended.
    pub fn end(self) -> Result<Rows, SqlFailure> {
        self.session.join().expect("the session's thread")
    }

    /// Its last row as one line.
    pub fn line(self) -> String {
        let rows = self.end().unwrap_or_else(|failure| panic!("the call failed: {failure:?}"));
        let row = rows.into_iter().last().expect("a row");
        row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|")
    }
}

/// Waits until a job runs in `db`, and returns its number.
pub fn running_job(cluster: &Cluster, db: &str) -> String {
    let running = "SELECT job_id FROM enrichment_progress WHERE state = 'running' AND helpers > 0";
    wait_for("a running job", || cluster.value(db, running), |id| !id.is_empty())
}

/// Waits until no job runs in `db`, and returns how the last one ended.
pub fn ended_job(cluster: &Cluster, db: &str) -> String {
    cluster.wait_value(db, "SELECT count(*) FROM enrichment_progress", "0");
    cluster.value(db, "SELECT outcome FROM enrichment_run ORDER BY job_id DESC LIMIT 1")
}
