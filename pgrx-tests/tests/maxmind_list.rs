//! The list of editions is a setting like any other: from the reload on it counts, in every process, without an import.

use asn_inventory_tests::prelude::*;

const DB: &str = "postgres";
const A: &str = "Alpha-ASN";
const B: &str = "Beta-ASN";

fn asn_file(edition: &str, number: u32) -> MmdbWriter {
    let record = json!({ "autonomous_system_number": number, "autonomous_system_organization": edition });
    MmdbWriter::new(edition, fixtures::days_ago(1)).insert("8.0.0.0/8", record)
}

fn put_files(cluster: &Cluster) {
    for (edition, number) in [(A, 64500), (B, 64600)] {
        asn_file(edition, number).write(&cluster.maxmind_dir().join(format!("{edition}.mmdb"))).expect("a file");
    }
}

fn set_list(cluster: &Cluster, list: &str) {
    cluster.sql(DB, &format!("ALTER SYSTEM SET asn_inventory.maxmind_editions = '{list}'"));
    cluster.sql(DB, "SELECT pg_reload_conf()");
}

const ASKED: &str = "SELECT ip_asn('8.8.8.8')::text";

#[test]
fn a_change_of_the_list_counts_in_every_process_and_the_inventory_follows() {
    let list = format!("{A},{B}");
    let cluster = Cluster::builder()
        .conf("asn_inventory.maxmind_editions", &list)
        .conf("asn_inventory.absorb_interval", "50ms")
        .conf("asn_inventory.cymru", "off")
        .start();
    put_files(&cluster);
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL", "2");
    cluster.sql(DB, "INSERT INTO ip_inventory (ip_address) SELECT '8.8.0.0'::inet + n FROM generate_series(1, 500) n");
    cluster.sql(DB, "SELECT backfill_inventory()");
    let stored = "SELECT string_agg(DISTINCT coalesce(asn_number::text, 'none'), ' ') FROM ip_inventory";
    assert_eq!(cluster.value(DB, stored), "64500");
    let imports =
        cluster.value(DB, "SELECT string_agg(generation || installed_at, ' ' ORDER BY edition) FROM mmdb_editions()");

    let mut open = cluster.connect(DB);
    let mut ask = || -> Option<String> { open.query_one(ASKED, &[]).expect("an answer").get(0) };
    assert_eq!(ask().as_deref(), Some("64500"));
    for (list, answer) in [
        (format!("{B},{A}"), Some("64600")),
        (format!("{A},{B}"), Some("64500")),
        (B.to_owned(), Some("64600")),
        (format!("{A},{B}"), Some("64500")),
    ] {
        set_list(&cluster, &list);
        wait_until(&format!("an open session answers by {list}"), || ask().as_deref() == answer);
        assert_eq!(cluster.value(DB, ASKED), answer.unwrap_or_default());
        cluster.wait_value(DB, stored, answer.unwrap_or("none"));
        // The worker's new rows have the same answers.
        let fresh = format!("8.9.{}.1", list.len());
        cluster.sql(DB, &format!("SELECT enrich_ip('{fresh}')"));
        let of_fresh = format!("SELECT asn_number::text FROM ip_inventory WHERE ip_address = '{fresh}'");
        cluster.wait_value(DB, &of_fresh, answer.unwrap_or_default());
        let fresh_again = format!("SELECT (enrich_ip('{fresh}')).asn_number::text");
        cluster.wait_value(DB, &fresh_again, answer.unwrap_or_default());
    }
    let now = "SELECT string_agg(generation || installed_at, ' ' ORDER BY edition) FROM mmdb_editions()";
    assert_eq!(cluster.value(DB, now), imports, "nothing was imported");
    // A new order without changed answers does not start a walk.
    let walks = "SELECT count(*) FROM enrichment_run WHERE kind = 'walk'";
    cluster.wait_value(DB, "SELECT count(*) FROM maxmind_walk", "1");
    let before = cluster.value(DB, walks);
    set_list(&cluster, &format!("Not-There,{A},{B}"));
    wait_until("the list is noted", || {
        std::fs::read_to_string(cluster.data_dir().join("asn_inventory/current.json"))
            .is_ok_and(|manifest| manifest.contains("Not-There"))
    });
    cluster.sql(DB, "SELECT enrich_ip('8.10.0.1')");
    cluster.wait_value(DB, "SELECT count(*) FROM ip_inventory WHERE ip_address = '8.10.0.1'", "1");
    assert_eq!(cluster.value(DB, walks), before);
}

#[test]
fn without_a_launcher_a_change_of_the_list_counts_as_well() {
    let cluster = Cluster::builder().preload(false).conf("asn_inventory.maxmind_editions", &format!("{A},{B}")).start();
    put_files(&cluster);
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let mut open = cluster.connect(DB);
    let mut ask = || -> Option<String> { open.query_one(ASKED, &[]).expect("an answer").get(0) };
    wait_until("both files are imported", || {
        ask();
        cluster.value(DB, "SELECT count(*) FROM mmdb_editions() WHERE generation IS NOT NULL") == "2"
    });
    wait_until("the first of the list answers", || ask().as_deref() == Some("64500"));
    for (list, answer) in [(format!("{B},{A}"), "64600"), (A.to_owned(), "64500"), (format!("{B},{A}"), "64600")] {
        set_list(&cluster, &list);
        wait_until(&format!("an open session answers by {list}"), || ask().as_deref() == Some(answer));
        assert_eq!(cluster.value(DB, ASKED), answer);
    }
}

#[test]
fn unlisted_editions_are_ignored() {
    let cluster = Cluster::builder().conf("asn_inventory.maxmind_editions", &format!("{A},{B}")).start();
    put_files(&cluster);
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT count(*) FROM _mmdb_files() WHERE generation IS NOT NULL", "2");
    std::fs::write(cluster.maxmind_dir().join(format!("{B}.mmdb")), "garbage").expect("written");
    cluster.wait_value(DB, "SELECT count(*) FROM _mmdb_files() WHERE refused IS NOT NULL", "1");
    set_list(&cluster, A);
    cluster.wait_value(DB, "SELECT string_agg(edition, ' ') FROM _mmdb_files()", A);
    assert_eq!(cluster.value(DB, "SELECT string_agg(edition, ' ') FROM mmdb_editions()"), A);
    assert_eq!(
        cluster.value(
            DB,
            "SELECT mmdb_ages ~ 'Beta' OR refused IS NOT NULL AND refused::text NOT IN ('', '0') FROM enrichment_status"
        ),
        "f"
    );
    assert_eq!(cluster.value(DB, "SELECT count(*) FROM enrichment_doctor() WHERE detail ~ 'Beta'"), "0");
    cluster.sql(
        DB,
        "CREATE FUNCTION all_editions(OUT edition text, OUT database_type text, OUT build_time timestamptz,
             OUT nodes bigint, OUT size bigint, OUT generation text, OUT installed_at timestamptz, OUT refused text,
             OUT refused_at timestamptz, OUT in_use_by integer, OUT attribution text, OUT in_use boolean)
             RETURNS SETOF record LANGUAGE c AS '$libdir/asn_inventory', 'mmdb_editions'",
    );
    assert_eq!(
        cluster.lines(DB, "SELECT edition, in_use FROM all_editions() ORDER BY edition"),
        [format!("{A}|t"), format!("{B}|f")]
    );
}

/// The index of an ASN file with one record, as version 1 wrote it: a shorter header, and records of origins alone.
fn of_version_1(index: &[u8]) -> Vec<u8> {
    let word = |at: usize| u64::from_le_bytes(index[at * 8..at * 8 + 8].try_into().expect("eight bytes"));
    let (ranges, records, blob, database) = (word(2), word(3), word(4) as usize, word(5));
    // An origin comes first in a record of today, too.
    let record = &index[index.len() - blob..];
    let header = [u64::from_le_bytes(*b"asn_idx1"), 2, ranges, records, blob as u64, database, 0, 0];
    let header: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    [&header, &index[128..index.len() - blob], record].concat()
}

/// An upgrade of the library finds the index that the one before built: it answers until it is built again from the
/// stored database, even without the operator's file. The inventory follows.
#[test]
fn an_index_of_an_earlier_version_is_rebuilt_without_the_operators_file() {
    let cluster = Cluster::builder()
        .conf("asn_inventory.maxmind_editions", A)
        .conf("asn_inventory.absorb_interval", "50ms")
        .conf("asn_inventory.cymru", "off")
        .start();
    put_files(&cluster);
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT count(*) FROM _mmdb_files() WHERE generation IS NOT NULL", "1");
    cluster.sql(DB, "INSERT INTO ip_inventory (ip_address) VALUES ('8.8.8.8')");
    cluster.sql(DB, "SELECT backfill_inventory()");
    let generation = cluster.value(DB, "SELECT generation FROM _mmdb_files()");
    let dir = cluster.data_dir().join("asn_inventory/generations").join(&generation);
    cluster.stop_fast();
    let old = std::fs::read(dir.join("flat-6.idx")).expect("an index");
    // With another answer, to tell them apart.
    let mut before = of_version_1(&old);
    let at = before.windows(A.len()).position(|at| at == A.as_bytes()).expect("the organization");
    before[at..at + A.len()].copy_from_slice(b"Older-ASN");
    std::fs::write(dir.join("flat.idx"), before).expect("written");
    std::fs::remove_file(dir.join("flat-6.idx")).expect("removed");
    std::fs::remove_file(cluster.maxmind_dir().join(format!("{A}.mmdb"))).expect("removed");
    cluster.start();
    cluster.wait_value(DB, "SELECT ip_asn_org('8.8.8.8')", A);
    assert!(dir.join("flat-6.idx").exists());
    assert_eq!(cluster.value(DB, "SELECT generation FROM _mmdb_files()"), generation);
    cluster.wait_value(DB, "SELECT asn_org FROM ip_inventory", A);
}
