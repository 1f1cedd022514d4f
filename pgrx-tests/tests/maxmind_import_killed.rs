//! `kill -9` in the middle of an import: when the server is back, the old files answer at once, the new ones are
//! installed by themselves, and nothing of the interrupted import stays.
//!
//! Nothing is staged: the half-made generation is seen on disk before the kill and after it. An import that was through
//! before the kill proves nothing, so it is tried again with another build.

use asn_inventory_tests::prelude::*;
use enrich::maxmind::{Manifest, Store};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const DB: &str = "postgres";
const CITY: &str = "GeoLite2-City";
const ASN: &str = "GeoLite2-ASN";
/// One statement, both editions.
const ANSWER: &str = "SELECT (l).city, (l).asn_org, (l).maxmind_status FROM lookup_ip('34.64.0.1') l";
/// Builds that may be installed before the kill reaches them.
const TRIES: u32 = 6;
/// Bytes of a City file that takes a while to copy, and networks that take a while to index.
const PADDING: usize = 96 << 20;
const NETWORKS: u32 = 150_000;
/// The record of the large file for the number of its build.
const BUILD: &[u8] = b"build 0000";

/// How far an import has come when it is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// A part of the operator's file is copied.
    Copying,
    /// All of it is, and the index has been begun.
    Indexing,
}

/// The killed process.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// The process that imports; the postmaster then restarts all the others.
    Launcher,
    /// Everything, at once.
    Server,
}

struct Site {
    cluster: Cluster,
    workshop: PathBuf,
    template: Vec<u8>,
    /// Where [`BUILD`] is in it.
    mark: usize,
}

impl Site {
    /// With build 1 of both editions installed.
    fn start() -> Site {
        let cluster = Cluster::builder().start();
        // Where files are made before they are moved to where the server looks.
        let workshop = cluster.data_dir().with_file_name("workshop");
        fs::create_dir(&workshop).expect("a directory");
        let template = large_city(&workshop);
        let mark = template.windows(BUILD.len()).position(|bytes| bytes == BUILD).expect("the number of the build");
        let site = Site { cluster, workshop, template, mark };
        small_city(1).write(&site.workshop.join("city")).expect("a file");
        small_asn(1).write(&site.workshop.join("asn")).expect("a file");
        site.hand_in();
        site.cluster.sql(DB, "CREATE EXTENSION asn_inventory");
        site.cluster.wait_value(DB, ANSWER, "build 0001");
        assert_eq!(site.answer(), answer(1, 1));
        site
    }

    /// Moves the files of a new build to where the server looks; City is large.
    fn deliver(&self, build: u32) {
        let mut bytes = self.template.clone();
        bytes[self.mark..][..BUILD.len()].copy_from_slice(name(build).as_bytes());
        fs::write(self.workshop.join("city"), bytes).expect("written");
        small_asn(build).write(&self.workshop.join("asn")).expect("a file");
        self.hand_in();
    }

    fn hand_in(&self) {
        // City first, in the order of import: a reader that sees only one sees City.
        for (from, edition) in [("city", CITY), ("asn", ASN)] {
            let from = self.workshop.join(from);
            age(&from);
            fs::rename(&from, self.cluster.maxmind_dir().join(format!("{edition}.mmdb"))).expect("moved");
        }
    }

    fn answer(&self) -> String {
        self.cluster.lines(DB, ANSWER).join("\n")
    }

    fn root(&self) -> PathBuf {
        self.cluster.data_dir().join("asn_inventory")
    }

    fn manifest(&self) -> Manifest {
        Store::new(self.root()).manifest().expect("a manifest")
    }

    /// Whether an import by process `launcher` has come to `moment`; `None`: it is not under way.
    fn reached(&self, launcher: u32, moment: Moment) -> Option<bool> {
        let draft = self.root().join(format!("generations/tmp-{launcher}"));
        let copied = fs::metadata(draft.join("database.mmdb")).ok()?.len() as usize;
        let indexing = draft.join("flat-6.idx").exists();
        Some(match moment {
            Moment::Copying => 0 < copied && copied < self.template.len(),
            Moment::Indexing => indexing,
        })
    }

    /// Waits for `moment`; `false` if the import ended before it was seen.
    fn catch(&self, launcher: u32, moment: Moment, serial: u64) -> bool {
        let started = Instant::now();
        loop {
            match self.reached(launcher, moment) {
                Some(true) => return true,
                None if self.manifest().serial != serial => return false,
                _ => assert!(started.elapsed() < Duration::from_secs(60), "no import in a minute"),
            }
            std::thread::yield_now();
        }
    }

    /// Kills at `moment` of an import and waits for the new build; `false` when the kill, or the first question after
    /// it, came too late to prove anything.
    fn kill_an_import(&self, build: u32, moment: Moment, victim: Victim) -> bool {
        let launcher = wait_for("a launcher", || self.cluster.pid_of("asn_inventory launcher"), Option::is_some);
        let launcher = launcher.expect("a process");
        let before = self.manifest();
        let (root, old) = (names(&self.root()), self.answer());
        let log = self.cluster.log().len();
        self.deliver(build);
        if !self.catch(launcher, moment, before.serial) {
            return false;
        }
        match victim {
            Victim::Launcher => self.cluster.kill9(launcher),
            Victim::Server => self.cluster.kill9_all(),
        }
        wait_until("the end of the launcher", || !fs::exists(format!("/proc/{launcher}")).unwrap_or(true));
        // The next launcher has another number; the first thing it does is to remove this.
        let half = self.reached(launcher, moment) == Some(true) && self.manifest() == before;
        match victim {
            Victim::Launcher => self.cluster.wait_ready(),
            Victim::Server => self.cluster.start(),
        }
        let first = self.answer();
        if !half || first.starts_with(&name(build)) {
            return false;
        }
        assert_eq!(first, old, "what answers right after the crash");
        self.watch(&old, build);
        self.assert_tidy(&root);
        let log = &self.cluster.log()[log..];
        for trouble in ["cannot be", "refused", "panicked"] {
            assert!(!log.contains(trouble), "{trouble}");
        }
        assert_eq!(log.matches(&format!("installed {CITY}")).count(), 1, "installations of the new build");
        true
    }

    /// Sessions of all kinds go from the old answer to the new one: nothing else is ever answered, and none goes back.
    fn watch(&self, old: &str, build: u32) {
        let mut open = self.cluster.connect(DB);
        let mut ranks = [0; 2];
        // Editions are installed one after the other, and a session may begin in between.
        let stages = [old.to_owned(), format!("{}|{}", name(build), &old[BUILD.len() + 1..]), answer(build, build)];
        wait_until("the new build to answer", || {
            let rows = asn_inventory_tests::cluster::query(&mut open, ANSWER).expect("an answer");
            let row: Vec<String> = rows.into_iter().flatten().map(Option::unwrap_or_default).collect();
            for (rank, said) in ranks.iter_mut().zip([row.join("|"), self.answer()]) {
                let now = stages.iter().position(|stage| *stage == said);
                let now = now.unwrap_or_else(|| panic!("{said:?} is none of {stages:?}"));
                assert!(*rank <= now, "back to {said:?}");
                *rank = now;
            }
            ranks == [2, 2]
        });
    }

    /// Of each edition the generation that answers and the one before, both whole, and nothing else anywhere.
    fn assert_tidy(&self, root: &[String]) {
        let states = self.manifest().editions;
        let infos = states.values().flat_map(|state| state.current.iter().chain(&state.previous));
        let mut kept: Vec<String> = infos.map(|info| info.directory.clone()).collect();
        kept.sort();
        assert_eq!(kept.len(), 4, "{states:?}");
        let generations = self.root().join("generations");
        wait_for("no litter among the generations", || names(&generations), |found| *found == kept);
        for generation in kept {
            assert_eq!(names(&generations.join(&generation)), ["database.mmdb", "flat-6.idx"], "{generation}");
        }
        assert_eq!(names(&self.root()), root);
        assert_eq!(names(&self.cluster.maxmind_dir()), [format!("{ASN}.mmdb"), format!("{CITY}.mmdb")]);
    }
}

fn name(build: u32) -> String {
    format!("build {build:04}")
}

fn answer(city: u32, asn: u32) -> String {
    format!("{}|{}|found", name(city), name(asn))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn small_city(build: u32) -> MmdbWriter {
    let record = json!({ "city": { "names": { "en": name(build) } }, "country": { "iso_code": "US" } });
    fixtures::small_city(fixtures::days_ago(1)).insert("34.64.0.0/12", record)
}

fn small_asn(build: u32) -> MmdbWriter {
    let record = json!({ "autonomous_system_number": 64500, "autonomous_system_organization": name(build) });
    fixtures::small_asn(fixtures::days_ago(1)).insert("34.64.0.0/12", record)
}

/// A City file of some 100 MB.
fn large_city(dir: &Path) -> Vec<u8> {
    let mut city = small_city(0);
    let part = 1 << 20;
    for index in 0..PADDING / part {
        let padding = format!("{index:08}").repeat(part / 8);
        city.add(&format!("11.0.{index}.0/24"), json!({ "country": { "iso_code": "US" }, "padding": padding }));
    }
    for index in 0..NETWORKS {
        let network = format!("{}.{}.{}.0/24", 12 + (index >> 16), index >> 8 & 255, index & 255);
        let country = ["DE", "FR", "NL"][index as usize % 3];
        city.add(&network, json!({ "country": { "iso_code": country } }));
    }
    let path = dir.join("template");
    city.write(&path).expect("a file");
    let bytes = fs::read(&path).expect("a file");
    fs::remove_file(path).expect("removed");
    bytes
}

/// Kills until both moments were hit, of one build each.
fn kill_imports(victim: Victim) {
    let site = Site::start();
    let mut build = 1;
    for moment in [Moment::Copying, Moment::Indexing] {
        let hit = (0..TRIES).any(|_| {
            build += 1;
            let hit = site.kill_an_import(build, moment, victim);
            eprintln!("{victim:?}, {moment:?}, build {build}: {}", if hit { "hit" } else { "too late" });
            wait_until("the new build", || site.answer() == answer(build, build));
            hit
        });
        assert!(hit, "{TRIES} imports were through before they were killed: {victim:?}, {moment:?}");
    }
}

#[test]
fn a_launcher_killed_during_an_import_leaves_the_old_files() {
    kill_imports(Victim::Launcher);
}

#[test]
fn a_server_killed_during_an_import_leaves_the_old_files() {
    kill_imports(Victim::Server);
}
