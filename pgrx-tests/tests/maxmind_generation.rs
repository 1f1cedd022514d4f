//! Generations that are open, and generations that came to harm.

use crate::maxmind_support::*;
use asn_inventory_tests::prelude::*;
use enrich::maxmind::index::Index;
use enrich::maxmind::store::Outcome;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Two generations: 8.8.8.8 was AS1, and is AS2.
fn two(name: &str) -> Site {
    let site = Site::new(name);
    for number in [1, 2] {
        site.put(ASN, asn_file(number, 0));
        site.installed(ASN);
    }
    site
}

/// A fault, and its effect on a generation's directory.
type Harm = (&'static str, fn(&Path));

/// Ways in which a disk or an administrator can harm a generation.
fn harms() -> Vec<Harm> {
    fn half(file: PathBuf) {
        let file = File::options().write(true).open(file).expect("a file");
        let length = file.metadata().expect("a length").len();
        file.set_len(length / 2).expect("cut");
    }
    vec![
        ("all of it", |dir| fs::remove_dir_all(dir).expect("removed")),
        ("database deleted", |dir| fs::remove_file(dir.join("database.mmdb")).expect("removed")),
        ("index deleted", |dir| fs::remove_file(dir.join("flat-6.idx")).expect("removed")),
        ("database cut", |dir| half(dir.join("database.mmdb"))),
        ("index cut", |dir| half(dir.join("flat-6.idx"))),
        ("database empty", |dir| fs::write(dir.join("database.mmdb"), "").expect("written")),
        ("index empty", |dir| fs::write(dir.join("flat-6.idx"), "").expect("written")),
        ("index of noise", |dir| fs::write(dir.join("flat-6.idx"), [0xa5; 700_000]).expect("written")),
        ("index of another version", |dir| {
            let mut bytes = fs::read(dir.join("flat-6.idx")).expect("an index");
            bytes[7] = b'0';
            fs::write(dir.join("flat-6.idx"), bytes).expect("written");
        }),
    ]
}

#[test]
fn a_damaged_generation_falls_back_to_the_previous_one_and_is_reported() {
    for (what, harm) in harms() {
        let site = two("generation_fallback");
        let first = site.state(ASN).previous.expect("a generation");
        harm(&site.current(ASN));
        let (databases, troubles) = site.open_with_troubles();
        assert_eq!(asn(&databases, "8.8.8.8"), Some(1), "{what}");
        assert_eq!(databases.installed_at(), Some(first.installed_at), "{what}");
        let [(edition, trouble)] = &troubles[..] else { panic!("{what}: {troubles:?}") };
        let directory = site.state(ASN).current.expect("a generation").directory;
        assert_eq!(edition.name(), ASN);
        assert!(trouble.starts_with(&format!("{directory}: ")) && trouble.len() > directory.len() + 10, "{trouble}");
    }
}

#[test]
fn with_both_generations_damaged_the_other_edition_answers() {
    let site = two("generation_both");
    site.put(CITY, fixtures::small_city(1));
    site.installed(CITY);
    for entry in site.on_disk().iter().filter(|name| name.starts_with(ASN)) {
        fs::remove_dir_all(site.generations().join(entry)).expect("removed");
    }
    let (databases, troubles) = site.open_with_troubles();
    assert_eq!(troubles.len(), 2);
    assert_eq!(asn(&databases, "8.8.8.8"), None);
    assert_eq!(country(&databases, "8.8.8.8").as_deref(), Some("US"));
}

/// The operator's file is still there, unchanged: the operator should not have to touch it.
#[test]
fn a_damaged_generation_is_imported_again_from_the_operators_file() {
    for (what, harm) in harms() {
        let site = two("generation_repair");
        let (state, serial) = (site.state(ASN), site.serial());
        assert!(!site.has_news(ASN));
        harm(&site.current(ASN));
        assert!(site.has_news(ASN), "{what}");
        site.installed(ASN);
        assert_eq!(asn(&site.open(), "8.8.8.8"), Some(2), "{what}");
        assert_eq!(site.state(ASN).previous, state.previous, "{what}");
        assert_eq!(site.serial(), serial + 1, "{what}: others must open it again");
        assert!(!site.has_news(ASN), "{what}");
    }
}

#[test]
fn a_damaged_generation_does_not_retry_a_refused_file() {
    let site = two("generation_repair_refused");
    site.put_bytes(ASN, b"garbage");
    site.refused(ASN);
    fs::remove_dir_all(site.current(ASN)).expect("removed");
    assert!(!site.has_news(ASN));
    let (databases, troubles) = site.open_with_troubles();
    assert_eq!((asn(&databases, "8.8.8.8"), troubles.len()), (Some(1), 1));
}

/// The record that is kept cannot be decoded, and the index is to be built again: of 0.2.0, in another language, or gone.
#[test]
fn a_generation_that_cannot_be_indexed_again_gives_way_to_the_operators_files() {
    let site = two("generation_spoilt");
    let spoil = |mut bytes: Vec<u8>| {
        let key = b"autonomous_system_number";
        let at = bytes.windows(key.len()).position(|at| at == key).expect("a record");
        bytes[at - 1] = 0x5f;
        bytes
    };
    let kept = || site.current(ASN).join("database.mmdb");
    let harm = || {
        fs::write(kept(), spoil(fs::read(kept()).expect("a database"))).expect("written");
        fs::remove_file(site.current(ASN).join("flat-6.idx")).expect("removed");
    };
    harm();
    site.installed(ASN);
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(2), "from the file that it was made of");
    // Without one, and with one that is as bad, the one before answers, and the failure is told each time.
    harm();
    let whole = site.bytes(ASN);
    fs::remove_file(site.file(ASN)).expect("removed");
    let import = || {
        let imported = unless_busy(|| site.store.import(&site.source, &[edition(ASN)], false, &|| ()));
        imported.expect("an import that runs")
    };
    let fails = || {
        let imported = import();
        assert_eq!((imported.outcomes.len(), imported.failures.len()), (0, 1), "{imported:?}");
    };
    fails();
    site.put_bytes(ASN, &spoil(whole));
    let imported = import();
    assert!(matches!(&imported.outcomes[..], [(_, Outcome::Refused(_))]), "{imported:?}");
    fails();
    assert_eq!(asn(&site.open_with_troubles().0, "8.8.8.8"), Some(1));
    site.put(ASN, asn_file(3, 0));
    site.installed(ASN);
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(3));
    assert!(!site.has_news(ASN));
}

/// The promise behind the whole design: a truncated mapped file would end the server with SIGBUS.
#[test]
fn the_operators_file_truncated_in_place_changes_no_answer() {
    let site = Site::small("generation_truncated");
    let databases = site.open();
    for edition in [CITY, ASN] {
        let file = File::options().write(true).open(site.file(edition)).expect("a file");
        file.set_len(0).expect("cut");
    }
    let mut random = Random(3);
    for _ in 0..10_000 {
        databases.answer(random.v4());
        databases.answer(random.v6());
    }
    assert_eq!(asn(&databases, fixtures::GOOGLE_IPV6), Some(15169));
    assert_eq!(country(&databases, fixtures::LONDON).as_deref(), Some("GB"));
    for edition in [CITY, ASN] {
        age(&site.file(edition));
        site.refused(edition);
    }
    assert_eq!(asn(&site.open(), fixtures::GOOGLE_DNS), Some(15169));
}

#[test]
fn open_files_answer_after_their_generation_was_removed() {
    let site = two("generation_removed");
    let open = site.open();
    let directory = site.current(ASN);
    for number in [3, 4] {
        site.put(ASN, asn_file(number, 0));
        site.installed(ASN);
    }
    assert!(!directory.exists());
    assert_eq!(asn(&open, "8.8.8.8"), Some(2));
    let record = open.generations()[0].record(ip("8.8.8.8")).expect("a record");
    assert_eq!(record, Some(json!({ "autonomous_system_number": 2 })));
    assert_eq!(asn(&site.open(), "8.8.8.8"), Some(4));
    fs::remove_dir_all(&site.root).expect("removed");
    assert_eq!(asn(&open, "8.8.8.8"), Some(2));
}

/// The index of an installed generation, the length of its database, and its bytes.
fn index_of(site: &Site, edition: &str) -> (Vec<u8>, u64) {
    let dir = site.current(edition);
    let database = fs::metadata(dir.join("database.mmdb")).expect("a database").len();
    (fs::read(dir.join("flat-6.idx")).expect("an index"), database)
}

#[test]
fn a_truncated_index_is_invalid_at_every_length() {
    let site = Site::small("generation_index_cut");
    for edition in [CITY, ASN] {
        let (bytes, database) = index_of(&site, edition);
        assert!(Index::open(&bytes, database).is_some());
        let step = bytes.len() / 997;
        let edges = (0..70).chain((70..bytes.len()).step_by(step));
        for length in edges.chain(bytes.len() - 20..bytes.len()) {
            assert!(Index::open(&bytes[..length], database).is_none(), "{edition} cut to {length}");
        }
    }
}

#[test]
fn an_index_of_another_version_or_database_is_invalid() {
    let site = Site::small("generation_index_other");
    let (bytes, database) = index_of(&site, ASN);
    let opens = |bytes: &[u8], database| Index::open(bytes, database).is_some();
    assert!(opens(&bytes, database));
    assert!(!opens(&bytes, database + 1));
    assert!(!opens(&bytes, 0));
    for at in 0..8 {
        let mut other = bytes.clone();
        other[at] ^= 1;
        assert!(!opens(&other, database), "byte {at} of the magic");
    }
    // Sizes that overflow when they are multiplied, or added up.
    for word in [2, 3, 4] {
        for size in [u64::MAX, u64::MAX / 2, u64::MAX / 4 + 1, 1 << 32, bytes.len() as u64] {
            let mut other = bytes.clone();
            other[word * 8..word * 8 + 8].copy_from_slice(&size.to_le_bytes());
            assert!(!opens(&other, database), "word {word} says {size}");
        }
    }
}

#[test]
fn a_record_is_not_read_beyond_the_index() {
    let site = Site::new("generation_index_end");
    site.put(ASN, asn_file(7, 0));
    site.installed(ASN);
    let (mut bytes, database) = index_of(&site, ASN);
    let index = Index::open(&bytes, database).expect("an index");
    let (position, prefix) = index.find_v4(&bytes, 0x0808_0808).expect("a record");
    let asn = |bytes: &[u8]| index.record(bytes, position).and_then(|record| record.origin).and_then(|o| o.asn);
    let point = |bytes: &[u8]| {
        index.record(bytes, position).and_then(|record| record.place).map(|place| (place.latitude, place.longitude))
    };
    assert_eq!((asn(&bytes), index.asn(&bytes, position), prefix), (Some(7), Some(7), 24));
    // It is the last one, of a head alone: no room for a point, nor for an organization of 255 bytes.
    assert_eq!(point(&bytes), None);
    let record = bytes.len() - 24;
    for length in [7, 255] {
        bytes[record + 12] = length;
        assert_eq!(
            index.record(&bytes, position).and_then(|record| record.origin).map(|o| o.org),
            Some(None),
            "{length}"
        );
    }
    bytes[record + 17] = 7;
    assert_eq!(point(&bytes), Some((None, None)), "cut short");
    assert_eq!(asn(&bytes), Some(7));
}

/// A disk may return anything: wrong answers are possible then, a crash of the server is not.
#[test]
fn no_flipped_bit_in_an_index_causes_a_panic() {
    let site = Site::small("generation_index_flips");
    for edition in [CITY, ASN] {
        let (sound, database) = index_of(&site, edition);
        let known = [ip(fixtures::GOOGLE_DNS), ip(fixtures::LARGE_ASN), ip("255.255.255.255")];
        let mut random = Random(17);
        let mut answers = 0;
        let mut bytes = sound.clone();
        for round in 0..400 {
            // The header and the few kilobytes of records are small targets: every third round is theirs.
            let near = match round % 3 {
                0 => 0..128,
                1 => sound.len() - 2000..sound.len(),
                _ => 0..sound.len(),
            };
            let mut flipped = Vec::new();
            for _ in 0..1 + random.below(40) {
                let at = near.start + random.below(near.len());
                bytes[at] ^= 1 << random.below(8);
                flipped.push(at);
            }
            if let Some(index) = Index::open(&bytes, database) {
                let strange = (0..100).map(|_| random.v4());
                for ip in strange.chain(known) {
                    let std::net::IpAddr::V4(v4) = ip else { unreachable!() };
                    let found = index.find_v4(&bytes, v4.to_bits());
                    let Some((position, _)) = found else { continue };
                    answers +=
                        usize::from(index.record(&bytes, position).is_some_and(|record| record != Default::default()));
                    answers += usize::from(index.asn(&bytes, position).is_some());
                }
                for _ in 0..20 {
                    let Some(position) = index.find_offset(&bytes, random.below(4000) as u32) else {
                        continue;
                    };
                    index.record(&bytes, position);
                    index.asn(&bytes, position);
                }
            }
            for at in flipped {
                bytes[at] = sound[at];
            }
        }
        assert!(answers > 100, "{answers}");
    }
}

/// The same through a generation: a bad index beside a sound database, and the other way round.
#[test]
fn no_flipped_bit_in_a_generation_causes_a_panic() {
    let site = Site::small("generation_flips");
    let mut random = Random(29);
    for name in ["flat-6.idx", "database.mmdb"] {
        let path = site.current(CITY).join(name);
        let sound = fs::read(&path).expect("a file");
        for _ in 0..60 {
            let mut bytes = sound.clone();
            for _ in 0..1 + random.below(60) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            // Replaced, not overwritten: a file that is mapped must not change.
            let part = path.with_extension("part");
            fs::write(&part, bytes).and_then(|()| fs::rename(&part, &path)).expect("written");
            let (databases, _) = site.open_with_troubles();
            let known = [fixtures::GOOGLE_IPV6, fixtures::LONDON, "2a02:4780::1", "240e::1"].map(ip);
            let strange = (0..50).flat_map(|_| [random.v4(), random.v6()]).collect::<Vec<_>>();
            for ip in strange.into_iter().chain(known) {
                databases.answer(ip);
            }
        }
        fs::write(&path, sound).expect("written");
    }
    assert_eq!(country(&site.open(), fixtures::LONDON).as_deref(), Some("GB"));
}

/// What a session cannot open at the moment when others get new files, it opens later, without a further import.
#[test]
fn a_session_that_could_not_open_new_files_opens_them_later() {
    const DB: &str = "postgres";
    let cluster = Cluster::builder().start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let put = |number| {
        let draft = asn_inventory_tests::cluster::private_dir().join("draft");
        asn_file(number, 0).write(&draft).expect("a file");
        cluster.install_mmdb_as(&draft, "GeoLite2-ASN.mmdb");
        cluster.wait_value(DB, "SELECT ip_asn('8.8.8.8')", &number.to_string());
    };
    let mut session = cluster.connect(DB);
    let mut answer = || {
        let row = session.query_one("SELECT ip_asn('8.8.8.8')::text", &[]).expect("a row");
        row.get::<_, Option<String>>(0)
    };
    put(64500);
    wait_for("the first file", &mut answer, |asn| asn.as_deref() == Some("64500"));
    put(64501);
    let manifest = cluster.data_dir().join("asn_inventory/current.json");
    let sound = fs::read(&manifest).expect("a manifest");
    fs::write(&manifest, "{").expect("written");
    assert_eq!(answer().as_deref(), Some("64500"), "the open files answer");
    fs::write(&manifest, sound).expect("written");
    wait_for("the new file", &mut answer, |asn| asn.as_deref() == Some("64501"));
}
