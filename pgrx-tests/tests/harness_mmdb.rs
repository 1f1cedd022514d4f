//! The fixture writer, read back by MaxMind's format's other side: the `maxminddb` crate.

use asn_inventory_tests::mmdb::synthetic::{Edition, Plan};
use asn_inventory_tests::mmdb::{MmdbWriter, Value, fixtures};
use maxminddb::Reader;
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};

type Mmdb = Reader<Vec<u8>>;

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("mmdb.{}.{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).expect("a directory");
        Dir(dir)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> Mmdb {
    let reader = Reader::open_readfile(path).expect("a file in the format");
    reader.verify().expect("a sound file");
    reader
}

fn record(reader: &Mmdb, ip: &str) -> Option<Json> {
    let found = reader.lookup(ip.parse().expect("an address"));
    found.expect("a lookup").decode().expect("a record")
}

fn network(reader: &Mmdb, ip: &str) -> String {
    let found = reader.lookup(ip.parse().expect("an address")).expect("a lookup");
    found.network().expect("a network").to_string()
}

#[test]
fn every_type_and_size_comes_back() {
    let dir = Dir::new("types");
    let long = |n: usize| "é".repeat(n);
    let many: Vec<u32> = (0..1000).collect();
    let wanted = json!({
        "text": ["", "a", long(14), long(15), long(142), long(143), long(40_000), long(150_000)],
        "double": [0.0, -1.5, 51.5142, 1e300],
        "unsigned": [0, 1, 255, 256, 65_535, 4_200_000_001_u32, u64::MAX],
        "signed": [-1, -65_536],
        "bool": [true, false],
        "map": {"a": {"b": {"c": {}}}, "empty": []},
        "long array": many,
        "accuracy_radius": 1000,
    });
    let path = dir.file("types.mmdb");
    MmdbWriter::new("Test-Types", 1_790_000_000).insert("1.2.3.0/24", wanted.clone()).write(&path).expect("written");
    let reader = open(&path);
    assert_eq!(record(&reader, "1.2.3.4"), Some(wanted));
    assert_eq!(record(&reader, "1.2.4.4"), None);
    assert_eq!(reader.metadata().database_type, "Test-Types");
    assert_eq!(reader.metadata().build_epoch, 1_790_000_000);
}

#[test]
fn longer_prefixes_win_in_any_order() {
    let dir = Dir::new("nesting");
    let networks = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "10.1.2.0/24", "0.0.0.0/0", "2a02::/16", "2a02:1::/32"];
    for (name, order) in [("a", networks.to_vec()), ("b", networks.into_iter().rev().collect())] {
        let path = dir.file(name);
        let mut writer = MmdbWriter::new("Test", 1);
        for network in order {
            writer.add(network, json!({ "network": network }));
        }
        writer.write(&path).expect("written");
        let reader = open(&path);
        let says = |ip| record(&reader, ip).map(|r| r["network"].clone());
        assert_eq!(says("10.1.2.3"), Some(json!("10.1.2.3/32")));
        assert_eq!(says("10.1.2.4"), Some(json!("10.1.2.0/24")));
        assert_eq!(says("10.1.3.4"), Some(json!("10.1.0.0/16")));
        assert_eq!(says("10.9.9.9"), Some(json!("10.0.0.0/8")));
        assert_eq!(says("11.0.0.1"), Some(json!("0.0.0.0/0")));
        assert_eq!(says("2a02:1::1"), Some(json!("2a02:1::/32")));
        assert_eq!(says("2a02:2::1"), Some(json!("2a02::/16")));
        assert_eq!(says("2a03::1"), None);
        assert_eq!(network(&reader, "10.1.2.3"), "10.1.2.3/32");
    }
}

#[test]
fn every_record_size_answers_the_same() {
    let dir = Dir::new("sizes");
    for bits in [24, 28, 32] {
        let path = dir.file(&bits.to_string());
        fixtures::small_city(1).record_size(bits).write(&path).expect("written");
        let reader = open(&path);
        assert_eq!(reader.metadata().record_size, bits);
        let london = record(&reader, fixtures::LONDON).expect("a record");
        assert_eq!(london["city"]["names"]["en"], "London");
    }
}

#[test]
fn ipv4_is_found_by_its_ipv6_forms() {
    let dir = Dir::new("aliases");
    let path = dir.file("city.mmdb");
    fixtures::small_city(1).write(&path).expect("written");
    let reader = open(&path);
    let plain = record(&reader, "8.8.8.8");
    assert!(plain.is_some());
    for disguise in ["::808:808", "::ffff:8.8.8.8", "2002:808:808::1", "2001:0:808:808::1"] {
        assert_eq!(record(&reader, disguise), plain, "{disguise}");
    }
}

#[test]
fn the_small_files_hold_what_their_constants_say() {
    let dir = Dir::new("small");
    fixtures::small_built_at(&dir.0, 1_790_000_000);
    let city = open(&dir.file("GeoLite2-City.mmdb"));
    let asn = open(&dir.file("GeoLite2-ASN.mmdb"));
    assert_eq!(city.metadata().build_epoch, 1_790_000_000);
    let place = |ip| record(&city, ip).unwrap_or_default();
    let number = |ip| record(&asn, ip).map(|r| r["autonomous_system_number"].clone());
    let org = |ip| record(&asn, ip).unwrap_or_default()["autonomous_system_organization"].clone();

    assert_eq!(place(fixtures::LONDON)["country"]["iso_code"], "GB");
    assert_eq!(place(fixtures::LONDON)["location"]["latitude"], 51.5142);
    assert_eq!(number(fixtures::LONDON), None);
    assert_eq!(number(fixtures::GOOGLE_DNS), Some(json!(15169)));
    assert_eq!(org(fixtures::GOOGLE_DNS), "Google LLC");
    assert_eq!(org("1.1.1.1"), "Cloudflare, Inc.");
    assert_eq!(place("1.1.1.1")["country"]["iso_code"], "AU");
    assert_eq!(place(fixtures::CHINA_WITHOUT_ASN)["country"]["iso_code"], "CN");
    assert_eq!(number(fixtures::CHINA_WITHOUT_ASN), None);
    assert_eq!(number(fixtures::LARGE_ASN), Some(json!(4_200_000_001_u32)));
    assert_eq!(number(fixtures::ASN_WITHOUT_ORG), Some(json!(64_496)));
    assert_eq!(org(fixtures::ASN_WITHOUT_ORG), Json::Null);
    let romania = place(fixtures::REGISTERED_ONLY);
    assert_eq!(romania["registered_country"]["iso_code"], "RO");
    assert_eq!(romania["country"], Json::Null);
    assert_eq!(place(fixtures::CONTINENT_ONLY).as_object().map(|r| r.len()), Some(1));
    assert!(place(fixtures::WRONG_TYPES)["city"]["names"].is_array());
    assert!(place(fixtures::WRONG_TYPES)["location"]["latitude"].is_string());
    assert_eq!(org(fixtures::CONTROL_ORG), "Evil\0Corp\u{7}\n\u{1b}[31mRed");
    assert_eq!(org(fixtures::LONG_ORG).as_str().map(str::len), Some(300_000));
    assert_eq!(record(&city, fixtures::UNKNOWN), None);
    assert_eq!(number(fixtures::UNKNOWN), None);
    assert_eq!(number(fixtures::GOOGLE_IPV6), Some(json!(15169)));
}

#[test]
fn random_files_are_valid_and_answer_as_planned() {
    let dir = Dir::new("random");
    for plan in [Plan::full_city(7, 1), Plan::full_asn(7, 1)] {
        let plan = plan.smaller(40);
        let path = dir.file("random.mmdb");
        let made = plan.write(&path).expect("written");
        let reader = open(&path);
        assert!(made.ipv4.abs_diff(plan.ipv4) < plan.ipv4 / 2, "{} networks", made.ipv4);
        assert!(made.samples.len() > 1000);
        for sample in &made.samples {
            let found = reader.lookup(sample.ip).expect("a lookup");
            let decoded: Option<Json> = found.decode().expect("a record");
            let decoded = decoded.map(Value::from).map(sorted);
            assert_eq!(decoded, Some(sorted(sample.record.clone())), "{}", sample.ip);
            assert_eq!(found.network().expect("a network").prefix(), sample.prefix);
        }
        let again = dir.file("again.mmdb");
        plan.write(&again).expect("written");
        assert!(std::fs::read(&path).ok() == std::fs::read(&again).ok(), "same seed, same file");
        let other = Plan { seed: 8, ..plan.clone() };
        other.write(&again).expect("written");
        assert!(std::fs::read(&path).ok() != std::fs::read(&again).ok(), "another seed");
        assert_eq!(plan.edition == Edition::City, reader.metadata().database_type == "GeoLite2-City");
    }
}

/// Keys in order: JSON sorts them, files keep MaxMind's order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Map(mut pairs) => {
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Map(pairs.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(all) => Value::Array(all.into_iter().map(sorted).collect()),
        other => other,
    }
}
