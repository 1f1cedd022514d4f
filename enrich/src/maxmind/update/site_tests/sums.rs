//! SHA-256 sums beside files.

use sha2::{Digest, Sha256};

use super::*;

#[test]
fn a_sum_beside_the_file_is_compared_and_spares_downloads() {
    let sum = Arc::new(Mutex::new(String::new()));
    let served = sum.clone();
    let fake = Fake::start(move |seen| match seen.target.as_str() {
        "/x.gz.sha256?q" => Reply::new(200, &[], format!("{}  x.gz\n", served.lock())),
        _ => Reply::new(200, &[], gz(&database("x"))),
    });
    let bench = Bench::new(&fake);
    let sites = format!("a={}/x.gz?q#sha256", fake.url("localhost"));
    *sum.lock() = "0".repeat(64);
    assert_eq!(bench.run(&sites, NOON), "the archive does not match its SHA-256 sum; Some(10)");
    assert_eq!(bench.file("a"), None);
    *sum.lock() = Sha256::digest(gz(&database("x"))).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(bench.run(&sites, NOON + HOUR), "Downloaded");
    let before = fake.seen().len();
    assert_eq!(bench.run(&sites, NOON + 2 * HOUR), "Unchanged");
    assert_eq!(fake.seen().len(), before + 1, "only the sum");
    *sum.lock() = "no sum".to_owned();
    assert!(bench.run(&sites, NOON + 3 * HOUR).starts_with("not an archive: the answer is not a SHA-256 sum"));
}

#[test]
fn a_sum_stands_where_maxmind_has_it_and_its_absence_is_told() {
    let sum: String = Sha256::digest(gz(&database("x"))).iter().map(|byte| format!("{byte:02x}")).collect();
    let fake = Fake::start(move |seen| match seen.target.as_str() {
        "/a/download?suffix=tar.gz.sha256" => Reply::new(200, &[], format!("{sum}  a.tar.gz\n")),
        "/a/download?suffix=tar.gz" | "/b.gz" => Reply::new(200, &[], gz(&database("x"))),
        _ => Reply::new(404, &[], ""),
    });
    let bench = Bench::new(&fake);
    let url = fake.url("localhost");
    assert_eq!(bench.run(&format!("a={url}/a/download?suffix=tar.gz#sha256"), NOON), "Downloaded");
    let without = format!("b={url}/b.gz#sha256");
    let told = "the server answers with status 404 for the SHA-256 sum beside the file; Some(1440)";
    assert_eq!(bench.run(&without, NOON), told);
    assert_eq!(bench.run(&without, NOON + 1), "NoSum");
    assert_eq!(bench.file("b"), None);
}
