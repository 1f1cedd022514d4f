//! An operator's directory that other users may write, too: files that turn into pipes, large files without content,
//! files with odd metadata.

use crate::maxmind_support::*;
use asn_inventory_tests::mmdb::Value;
use asn_inventory_tests::prelude::*;
use enrich::maxmind::store::{Outcome, StoreError};
use std::cell::Cell;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DB: &str = "postgres";

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no NUL")
}

fn make_fifo(path: &Path) {
    let path = c_path(path);
    // SAFETY: makes a pipe at a path of this test.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o666) }, 0);
}

fn exchange(a: &Path, b: &Path) {
    let (a, b) = (c_path(a), c_path(b));
    let here = libc::AT_FDCWD;
    // SAFETY: swaps two paths of this test.
    unsafe { libc::renameat2(here, a.as_ptr(), here, b.as_ptr(), libc::RENAME_EXCHANGE) };
}

/// Runs `f` while another thread swaps the operator's file for something else, as fast as it can.
fn while_swapped<T>(site: &Site, other: &Path, f: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let file = site.file(ASN);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                exchange(&file, other);
            }
        });
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        done.store(true, Ordering::Relaxed);
        swapper.join().expect("swapped");
        found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn a_file_that_turns_into_a_pipe_or_a_directory_does_not_block() {
    let site = Site::new("hostile_swap");
    site.put(ASN, asn_file(1, 0));
    site.installed(ASN);
    let others = [site.source.join("pipe"), site.source.join("directory"), site.source.join("device")];
    make_fifo(&others[0]);
    fs::create_dir(&others[1]).expect("a directory");
    std::os::unix::fs::symlink("/dev/ptmx", &others[2]).expect("a link");
    for (round, other) in others.iter().enumerate() {
        let began = Instant::now();
        while_swapped(&site, other, || {
            for build in 0..60 {
                site.has_news(ASN);
                // For any state at that moment.
                let _ = site.import_with(ASN, true);
                if build % 20 == 0 {
                    let ready = site.source.join(format!("ready.{round}.{build}"));
                    asn_file(10 + build + round as u32, 0).write(&ready).expect("written");
                    age(&ready);
                    exchange(&ready, &site.file(ASN));
                }
            }
        });
        assert!(began.elapsed() < Duration::from_secs(60), "{other:?}");
        // No process keeps the lock.
        let told = site.store.import(&site.source, &editions(), false, &|| ());
        assert!(!matches!(told, Err(StoreError::Busy)), "{told:?}");
        assert!(asn(&site.open(), "8.8.8.8").is_some(), "what answered goes on");
        let _ = (fs::remove_dir_all(site.file(ASN)), fs::remove_file(site.file(ASN)));
        site.put(ASN, asn_file(2, 0));
    }
}

/// Sparse, of 1.5 GB. `end` stands at its end.
fn sparse(site: &Site, end: &[u8]) {
    let size = 1_500_000_000;
    let _ = fs::remove_file(site.file(ASN));
    let file = File::create(site.file(ASN)).expect("a file");
    file.set_len(size).expect("a sparse file");
    file.write_all_at(end, size - end.len() as u64).expect("written");
    age(&site.file(ASN));
}

#[test]
fn a_large_sparse_file_is_refused_before_it_is_copied() {
    let site = Site::small("hostile_sparse");
    let whole = site.bytes(CITY);
    let metadata = whole.windows(14).rposition(|at| at == b"\xab\xcd\xefMaxMind.com").expect("metadata");
    for (end, why) in [(&b""[..], "could not find MaxMind DB metadata"), (&whole[metadata..], "wrong edition")] {
        sparse(&site, end);
        let breaths = Cell::new(0);
        let breathe = || breaths.set(breaths.get() + 1);
        let imported =
            unless_busy(|| site.store.import(&site.source, &[edition(ASN)], false, &breathe)).expect("an import");
        let [(_, Outcome::Refused(refusal))] = &imported.outcomes[..] else { panic!("{imported:?}") };
        assert!(refusal.reason.contains(why), "{refusal:?}");
        assert_eq!(breaths.get(), 0, "a copy looks for interrupts: there was none");
        assert_eq!(asn(&site.open(), "8.8.8.8"), Some(15169));
    }
}

/// A walk over such a file would outlast the machine, and looks for no interrupt.
#[test]
fn a_file_whose_branches_meet_again_is_refused_and_the_server_starts_with_it() {
    let site = Site::small("hostile_crowded");
    for doublings in [20, 60, 126] {
        site.put_bytes(ASN, &raw::crowded(ASN, doublings));
        let bytes = fs::metadata(site.file(ASN)).expect("a file").len();
        assert!(bytes < 2500, "{bytes}");
        // It is smaller than the installed one, too.
        let Outcome::Refused(refusal) = site.import_with(ASN, true) else { panic!("{doublings}") };
        assert_eq!(
            refusal.reason, "invalid database: its search tree leads to more networks than its nodes can hold",
            "{doublings}"
        );
        assert_eq!(asn(&site.open(), "8.8.8.8"), Some(15169));
        assert!(!site.has_news(ASN));
    }
    let good = site.source.join("good");
    asn_file(7, 0).write(&good).expect("written");
    let cluster = Cluster::builder().start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.install_mmdb_as(&site.file(ASN), "GeoLite2-ASN.mmdb");
    cluster.wait_log("asn_inventory: refused GeoLite2-ASN: invalid database: its search tree leads to more networks");
    cluster.restart();
    cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
    // The next file is taken.
    cluster.install_mmdb_as(&good, "GeoLite2-ASN.mmdb");
    cluster.wait_value(DB, "SELECT ip_asn('8.8.8.8')", "7");
}

/// The processor's time that this thread has had: a busy machine adds nothing to it.
fn worked() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to the time alone.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    let seconds = u64::try_from(time.tv_sec).expect("a time");
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).expect("a time"))
}

#[test]
fn an_import_can_be_interrupted_at_every_step() {
    let site = Site::small("hostile_interrupted");
    let metadata = site.bytes(ASN);
    let metadata =
        &metadata[metadata.windows(14).rposition(|at| at == b"\xab\xcd\xefMaxMind.com").expect("metadata")..];
    // Copied for long.
    sparse(&site, metadata);
    let last = Cell::new(Duration::ZERO);
    let longest = Cell::new(Duration::ZERO);
    let count = Cell::new(0);
    let breathe = || {
        let now = worked();
        longest.set(longest.get().max(now.saturating_sub(last.replace(now))));
        count.set(count.get() + 1);
        if count.get() > 100 {
            std::panic::panic_any("told to stop");
        }
    };
    let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        last.set(worked());
        site.store.import(&site.source, &[edition(ASN)], false, &breathe)
    }));
    assert!(left.is_err(), "{left:?}");
    // A piece takes milliseconds.
    assert!(longest.get() < Duration::from_secs(3), "{longest:?}");
    // Neither the lock nor half a copy is left.
    assert!(site.on_disk().iter().all(|name| !name.starts_with("tmp-")), "{:?}", site.on_disk());
    fixtures::small_asn(1).write(&site.file(ASN)).expect("written");
    age(&site.file(ASN));
    assert_eq!(site.import(ASN), Outcome::Unchanged);
}

#[test]
fn file_metadata_is_shown_without_control_characters() {
    let site = Site::new("hostile_texts");
    let odd = "GeoLite2-ASN\u{1b}[31m\nFATAL:  all is lost\u{202e}\0";
    site.put(ASN, MmdbWriter::new(odd, 1).insert("8.8.8.0/24", json!({ "autonomous_system_number": 1 })));
    let clean = "GeoLite2-ASN[31m FATAL: all is lost";
    assert_eq!(site.installed(ASN).database_type, clean);
    let refused = site.site_refused_city(odd);
    assert_eq!(refused, format!("wrong edition: the file holds \"{clean}\""));
    // One that an earlier version kept as it was.
    let path = site.store.manifest_path();
    let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("a manifest")).expect("JSON");
    manifest["editions"][ASN]["current"]["database_type"] = json!(odd);
    manifest["editions"][CITY]["refused"]["reason"] = json!(odd);
    fs::write(&path, manifest.to_string()).expect("written");
    assert_eq!(site.state(ASN).current.expect("a generation").database_type, clean);
    assert_eq!(site.state(CITY).refused.expect("a refusal").reason, clean);
    // Keys of its records, in the decoder's message.
    site.put(CITY, MmdbWriter::new(CITY, 1).insert("8.8.8.0/24", json!({ "\u{1b}[31m\n": { "\n": 1 } })));
    assert!(site.refused(CITY).chars().all(|c| !c.is_control()));
}

impl Site {
    fn site_refused_city(&self, database_type: &str) -> String {
        self.put(CITY, MmdbWriter::new(database_type, 1).insert("8.8.8.0/24", json!({})));
        self.refused(CITY)
    }
}

/// The specification leaves `description` and `languages` to the vendor.
#[test]
fn optional_metadata_may_be_missing() {
    let site = Site::new("hostile_optional");
    let map = |pairs: &[(&str, Value)]| {
        Value::Map(pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    };
    let languages = ("languages", Value::Array(vec![Value::text("en")]));
    let described = ("description", map(&[("en", Value::text("a file"))]));
    let cases: [&[(&str, Value)]; 8] = [
        &[],
        std::slice::from_ref(&languages),
        std::slice::from_ref(&described),
        &[("description", map(&[])), languages.clone()],
        &[("description", map(&[("en", Value::U32(7))])), languages.clone()],
        &[("description", Value::text("a text")), ("languages", Value::text("en"))],
        &[described.clone(), ("languages", Value::Array(vec![Value::U16(1)]))],
        &[described.clone(), languages.clone(), ("vendor", map(&[("x", Value::Bool(true))]))],
    ];
    for (number, optional) in cases.iter().enumerate() {
        let number = number as u32 + 1;
        site.put(ASN, asn_file(number, 3).optional_metadata(optional));
        let info = site.installed(ASN);
        assert_eq!((info.database_type.as_str(), info.build_epoch), (ASN, 1), "{optional:?}");
        let databases = site.open();
        assert_eq!(asn(&databases, "8.8.8.8"), Some(number), "{optional:?}");
        assert_eq!(asn(&databases, "11.0.2.1"), Some(100_002), "{optional:?}");
        assert_eq!(databases.generations()[0].metadata().node_count, info.node_count);
        assert!(!site.has_news(ASN));
    }
}

#[test]
fn a_file_without_known_fields_is_refused_unless_it_serves_whole_records() {
    let site = Site::new("hostile_nothing");
    site.put(ASN, asn_file(15169, 0));
    site.installed(ASN);
    let nothing = json!({ "name": "Google LLC", "as_domain": "google.com", "country": "United States" });
    for (name, why) in [(ASN, "no record has an ASN"), (CITY, "no record has a country")] {
        site.put(name, MmdbWriter::new(name, 2).insert("8.8.8.0/24", nothing.clone()).insert("9.0.0.0/8", json!({})));
        let reason = site.refused(name);
        assert!(reason.contains(why), "{reason}");
        assert_eq!(asn(&site.open(), "8.8.8.8"), Some(15169), "what answered goes on");
    }
    let placeholders = json!({ "autonomous_system_number": 0, "autonomous_system_organization": "Not routed" });
    site.put(ASN, MmdbWriter::new(ASN, 2).insert("8.8.8.0/24", placeholders));
    site.refused(ASN);
    let neutral = "Custom-Thing";
    site.put(neutral, MmdbWriter::new(neutral, 2).insert("8.8.8.0/24", nothing.clone()));
    let reason = site.refused(neutral);
    assert!(reason.starts_with("no record has a place, an ASN or a flag in the expected fields"), "{reason}");
    // Listed with that role, it is looked at again.
    let listed = "Custom-Thing=other";
    assert!(site.has_news(listed));
    site.installed(listed);
    let (_, databases, _) = site.store.open(&[edition(listed)]).expect("a manifest");
    assert!(databases.is_empty());
    assert_eq!(databases.generations()[0].record(ip("8.8.8.8")).expect("a record"), Some(nothing));
}

/// MaxMind's decoder test file has one of each type; this has the same and their odd values.
#[test]
fn every_type_of_the_format_has_a_json_form() {
    let site = Site::new("hostile_types");
    let name = "Custom-Thing";
    let record = vec![
        ("bytes".to_owned(), Value::bytes(&[0, 0, 0, 42])),
        ("float".to_owned(), Value::float(1.1)),
        ("float_nan".to_owned(), Value::float(f32::NAN)),
        ("double_inf".to_owned(), Value::double(f64::INFINITY)),
        ("double_nan".to_owned(), Value::double(f64::NAN)),
        ("int32".to_owned(), Value::I32(-268_435_456)),
        ("uint64".to_owned(), Value::U64(u64::MAX)),
        ("uint128".to_owned(), Value::u128(1 << 120)),
        ("uint128_small".to_owned(), Value::u128(7)),
        ("empty".to_owned(), Value::Map(Vec::new())),
        ("nested".to_owned(), Value::Array(vec![Value::bytes(b""), Value::Array(Vec::new()), Value::Bool(false)])),
    ];
    site.put(name, MmdbWriter::new(name, 1).insert("8.8.8.0/24", Value::Map(record)));
    site.installed("Custom-Thing=other");
    let (_, databases, _) = site.store.open(&[edition(name)]).expect("a manifest");
    let generation = &databases.generations()[0];
    let expected = json!({
        "bytes": "AAAAKg==", "float": 1.1, "float_nan": null, "double_inf": null, "double_nan": null,
        "int32": -268_435_456, "uint64": u64::MAX, "uint128": "1329227995784915872903807060280344576",
        "uint128_small": 7, "empty": {}, "nested": ["", [], false],
    });
    assert_eq!(generation.record(ip("8.8.8.8")).expect("a record").as_ref(), Some(&expected));
    let mut walk = generation.networks(None);
    assert_eq!(walk.next(generation).expect("a network").expect("a record").1, expected);
}
