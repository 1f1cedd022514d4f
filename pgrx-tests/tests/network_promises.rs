//! Guarantees for all behaviour of sources: sessions open no socket, and the worker keeps no transaction open, and lets
//! no session wait, while a source is slow.

use crate::network_support::*;
use asn_inventory_tests::cluster::query;
use asn_inventory_tests::prelude::*;
use postgres::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The inodes of the sockets that a process has open now; none, once it is gone.
fn sockets(pid: u32) -> BTreeSet<String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
    targets
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect()
}

/// What kind of socket an inode is. None, if it is gone; a table that changes while it is read may also miss one.
fn kind(inode: &str) -> Option<&'static str> {
    let tables = [("tcp", 9), ("tcp6", 9), ("udp", 9), ("udp6", 9), ("unix", 6)];
    let found = tables.into_iter().find(|(table, column)| {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        text.lines().any(|line| line.split_whitespace().nth(*column) == Some(inode))
    });
    found.map(|(table, _)| table)
}

/// Watched client backends, and their observed sockets.
#[derive(Default)]
struct Watch {
    /// The sockets that each had before it did anything, and how often it was looked at.
    sessions: Mutex<BTreeMap<u32, (BTreeSet<String>, u64)>>,
    ended: AtomicBool,
}

impl Watch {
    /// Opens a session, whose backend is under watch before its first statement on our objects.
    fn session(&self, world: &World) -> Client {
        let mut client = world.cluster.client();
        let pid = first(&mut client, "SELECT pg_backend_pid()").parse().expect("a pid");
        let own = sockets(pid);
        let is_clients_only = |kinds: &Vec<Option<&str>>| **kinds == [Some("unix")];
        wait_for("the client's socket alone", || own.iter().map(|inode| kind(inode)).collect(), is_clients_only);
        self.sessions.lock().expect("a lock").insert(pid, (own, 0));
        client
    }

    /// Looks at all backends and the worker again and again until the end. Returns the kinds of the worker's sockets.
    fn look(&self, worker: u32) -> BTreeSet<&'static str> {
        let mut seen = BTreeSet::new();
        while !self.ended.load(Ordering::Acquire) {
            for (pid, (own, looks)) in self.sessions.lock().expect("a lock").iter_mut() {
                let now = sockets(*pid);
                let more: Vec<_> = now.difference(own).map(|inode| (inode, kind(inode))).collect();
                assert!(more.is_empty(), "backend {pid} opened {more:?} beside {own:?}");
                *looks += u64::from(!now.is_empty());
            }
            seen.extend(sockets(worker).iter().filter_map(|inode| kind(inode)));
            thread::yield_now();
        }
        seen
    }
}

fn first(client: &mut Client, sql: &str) -> String {
    let rows = query(client, sql).unwrap_or_else(|failure| panic!("{sql}: {failure:?}"));
    rows.into_iter().flatten().next().flatten().unwrap_or_default()
}

#[test]
fn sessions_open_no_socket_while_the_worker_does() {
    let world = World::options().conf("greynoise_rate", "100").start();
    world.fakes.rule("45.0.0.0/8", 24, 64500, "DE");
    // A question must keep its socket open for a while.
    world.fakes.fault(DnsFault::Delay(500));
    world.fakes.fault(WhoisFault::Delay(100));
    world.fakes.fault(GreyNoiseFault::Delay(100));
    world.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    let worker = world.cluster.pid_of("asn_inventory worker").expect("a worker");
    let watch = Watch::default();
    // Many statements, each of a session of its own, side by side.
    let work: [Vec<String>; 5] = [
        (0..20).map(|n| format!("SELECT count(lookup_ip('45.9.{n}.0'::inet + i)), count(ip_asn('8.8.8.8')), count(ip_city('81.2.69.142')), count(ip_class('45.9.0.1')) FROM generate_series(1, 200) i")).collect(),
        (0..20).map(|n| format!("INSERT INTO events SELECT '45.1.0.0'::inet + {n} * 2560 + i * 256 FROM generate_series(1, 10) i")).collect(),
        (0..5).map(|n| format!("SELECT cymru_status FROM enrich_ip('45.2.{n}.1', '30s')")).collect(),
        (0..3).map(|_| "SELECT refresh_stale('all', 20)".to_owned()).collect(),
        (0..3).map(|n| format!("SELECT refresh_range('45.1.{n}.0/23', 'cymru')")).collect(),
    ];
    let seen = thread::scope(|scope| {
        let (watch, world) = (&watch, &world);
        let looker = scope.spawn(move || watch.look(worker));
        let workers: Vec<_> = work
            .iter()
            .map(|statements| {
                let mut client = watch.session(world);
                scope.spawn(move || statements.iter().map(|sql| first(&mut client, sql)).collect::<Vec<String>>())
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        watch.ended.store(true, Ordering::Release);
        let seen = looker.join().expect("no socket beside the client's");
        let results: Vec<Vec<String>> = results.into_iter().map(|result| result.expect("answers")).collect();
        assert_eq!(results[2], ["found"; 5], "sessions that waited for the network");
        seen
    });
    for (pid, (_, looks)) in watch.sessions.lock().expect("a lock").iter() {
        assert!(*looks > 0, "backend {pid} was never looked at");
    }
    // The same look finds those of the worker: DNS, and the others.
    assert!(seen.iter().any(|kind| kind.starts_with("udp")), "{seen:?}");
    assert!(seen.iter().any(|kind| kind.starts_with("tcp")), "{seen:?}");
    assert!(world.fakes.count(Service::Dns) > 0 && world.fakes.count(Service::Greynoise) > 0);
}

/// Longer than any of these tests waits for anything.
const HANGING_MS: u64 = 300_000;
/// Answers at once, however long the sources take.
const AT_ONCE: &str = "SET statement_timeout = '20s'";

/// A world with requests to a source under way, whose answers do not come, in database `db`.
fn hanging(service: Service, db: &str) -> World {
    let world = World::options().conf("cymru_timeout", "120s").conf("greynoise_timeout", "120s").start();
    let (source, addresses) = match service {
        Service::Dns => {
            world.fakes.fault(DnsFault::Delay(HANGING_MS));
            ("cymru", 3)
        }
        Service::Whois => {
            world.fakes.fault(WhoisFault::Delay(HANGING_MS));
            ("cymru", 200)
        }
        Service::Greynoise => {
            world.fakes.fault(GreyNoiseFault::Delay(HANGING_MS));
            ("greynoise", 3)
        }
    };
    if db != DB {
        world.sql(&format!("CREATE DATABASE {db}"));
        world.cluster.sql(db, "CREATE EXTENSION asn_inventory");
    }
    world.cluster.wait_value(db, "SELECT worker FROM enrichment_status", "running");
    world.cluster.sql(
        db,
        &format!(
            "INSERT INTO ip_observation (address, seen, first_seen, last_seen)
             SELECT '45.0.0.1'::inet + n * 65536, 1, now(), now() FROM generate_series(1, {addresses}) n;
             SELECT absorb_observations()"
        ),
    );
    world.cluster.wait_value(db, &format!("SELECT in_flight > 0 FROM source_status WHERE source = '{source}'"), "t");
    wait_until("the source to have been asked", || world.fakes.count(service) > 0);
    world
}

#[test]
fn no_transaction_is_open_while_a_source_is_slow() {
    for (service, source) in [(Service::Dns, "cymru"), (Service::Whois, "cymru"), (Service::Greynoise, "greynoise")] {
        let world = hanging(service, DB);
        // One that was held would stand there for as long as the question is out.
        world.wait(
            &format!(
                "SELECT count(*) FROM pg_stat_activity a CROSS JOIN source_status s
                 WHERE a.backend_type = 'asn_inventory worker' AND a.xact_start IS NULL AND a.backend_xmin IS NULL
                 AND s.source = '{source}' AND s.in_flight > 0"
            ),
            "1",
        );
        // And the other work of the worker goes on.
        world.observe(&[("81.2.69.142", 5)]);
        world.sql(
            "INSERT INTO ip_observation (address, seen, first_seen, last_seen) VALUES ('8.8.8.8', 1, now(), now())",
        );
        world.wait_row("8.8.8.8", "asn_source, maxmind_status", "maxmind|found");
        assert_eq!(world.source(source, "in_flight > 0"), "t", "{service:?}");
    }
}

#[test]
fn drop_extension_does_not_wait_for_a_source() {
    for service in [Service::Dns, Service::Whois, Service::Greynoise] {
        let world = hanging(service, DB);
        world.sql(&format!("{AT_ONCE}; DROP EXTENSION asn_inventory CASCADE"));
        wait_until("the worker to be gone", || world.cluster.pids_of("asn_inventory worker").is_empty());
    }
}

#[test]
fn drop_database_does_not_wait_for_a_source() {
    for service in [Service::Dns, Service::Whois, Service::Greynoise] {
        let world = hanging(service, "doomed");
        let mut client = world.cluster.client();
        first(&mut client, AT_ONCE);
        first(&mut client, "DROP DATABASE doomed");
        assert_eq!(world.value("SELECT count(*) FROM pg_database WHERE datname = 'doomed'"), "0");
    }
}

#[test]
fn a_fast_shutdown_does_not_wait_for_a_source() {
    for service in [Service::Dns, Service::Whois, Service::Greynoise] {
        let world = hanging(service, DB);
        // It fails the test where the server does not stop long before the answers come.
        world.cluster.stop_fast();
        assert!(world.cluster.log().contains("database system is shut down"));
        world.cluster.start();
        // Open questions are still due.
        let all = if service == Service::Whois { "200" } else { "3" };
        let status = if service == Service::Greynoise { "greynoise_status" } else { "cymru_status" };
        world.wait(&format!("SELECT count(*) FROM ip_inventory WHERE {status} = 'pending'"), all);
    }
}
