//! `demo DIR SOURCES_DIR [MAXMIND_DIR]`: honeypot events in, enriched addresses out, in a private cluster in `DIR`,
//! which asks fakes of Team Cymru and GreyNoise with their files in `SOURCES_DIR`. Both stay when the program ends
//! (`make demo-stop` ends them). `scripts/demo.sh` calls it.

use asn_inventory_tests::cluster::Cluster;
use asn_inventory_tests::fakes::Fakes;
use asn_inventory_tests::mmdb::fixtures;
use postgres::Client;
use serde_json::json;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

const LOAD: &str = include_str!("../../demo/load.sql");
const REPORT: &str = include_str!("../../demo/report.sql");
const EVENTS: &str = include_str!("../../demo/cowrie.jsonl");
/// Lists of networks; what they hold is made up.
const LISTS: [(&str, &str); 2] = [
    ("clouds.json", include_str!("../../demo/clouds.json")),
    ("blocklist.txt", include_str!("../../demo/blocklist.txt")),
];
const DB: &str = "honeypot";
/// Addresses that a network source is still to be asked about.
const UNANSWERED: &str = "SELECT count(*) FROM ip_inventory
    WHERE cymru_status IN ('pending', 'failed') OR greynoise_status IN ('pending', 'failed')";
/// Observations that asn_inventory does not count yet.
const UNCOUNTED: &str = "SELECT coalesce(sum(observation_count) FILTER (WHERE asn_number IS NOT NULL), 0)
    - (SELECT coalesce(sum(observation_count), 0) FROM asn_inventory) FROM ip_inventory";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(dir), Some(sources)) = (args.next(), args.next()) else {
        eprintln!("usage: demo DIR SOURCES_DIR [MAXMIND_DIR]");
        return ExitCode::from(2);
    };
    let maxmind = args.next().filter(|dir| !dir.as_os_str().is_empty());
    let mut builder = Cluster::builder().conf("asn_inventory.absorb_interval", "200ms").kept_in(&dir);
    if let Some(own) = &maxmind {
        match editions(own) {
            Ok(names) => builder = builder.conf("asn_inventory.maxmind_editions", &names),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("==> starting fakes of Team Cymru and GreyNoise: their answers are made up, and nobody outside is asked");
    for (name, value) in start_fakes(&sources) {
        builder = builder.conf(&name, &value);
    }
    println!("==> starting a private PostgreSQL in {}", dir.display());
    // The default rate is polite to a service; a fake does not need that.
    let cluster = builder.conf("asn_inventory.cymru", "on").conf("asn_inventory.greynoise_rate", "200").start();
    match &maxmind {
        Some(own) => cluster.install_mmdb(own),
        None => {
            if let Err(error) = bundled_files(&cluster.maxmind_dir()) {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
            println!("==> bundled sample files: their places and organizations are made up");
        }
    }
    if let Err(error) = lists(&cluster) {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    match show(&cluster) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n--- the server's log ends\n{}", cluster.log_tail());
            ExitCode::FAILURE
        }
    }
}

/// Starts the fakes, which stay, and gives the settings that make the extension ask them. The servers' user has to
/// enter their directory, for the key and the certificate.
fn start_fakes(dir: &Path) -> Vec<(String, String)> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/sources.json");
    let fakes = Fakes::options().stay().data(&data).start(dir);
    fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    fakes.settings()
}

/// The small files of the tests, without the hostile and odd organizations that only tests want to see.
fn bundled_files(dir: &Path) -> io::Result<()> {
    let built = fixtures::days_ago(1);
    let mut asn = fixtures::small_asn(built);
    for (network, number, org) in [
        ("141.98.10.0/24", 209_605, "Amber Coast Hosting UAB"),
        ("103.145.12.0/24", 135_330, "Kowloon Metro Cloud Limited"),
        ("45.155.205.0/24", 44_676, "Taiga Server LLC"),
        ("179.43.128.0/18", 51_852, "Alpine Layer SA"),
    ] {
        asn.add(network, json!({ "autonomous_system_number": number, "autonomous_system_organization": org }));
    }
    fixtures::small_city(built).write(&dir.join("GeoLite2-City.mmdb"))?;
    asn.write(&dir.join("GeoLite2-ASN.mmdb"))
}

/// Puts lists where the server looks for them by default.
fn lists(cluster: &Cluster) -> io::Result<()> {
    let dir = cluster.data_dir().join("asn_inventory/lists");
    fs::create_dir_all(&dir)?;
    LISTS.iter().try_for_each(|(name, content)| fs::write(dir.join(name), content))
}

/// The editions in the caller's directory, with any names; a clear message if it has none.
fn editions(dir: &Path) -> Outcome<String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("MAXMIND_DIR {}: {e}", dir.display()))?;
    let name = |path: PathBuf| {
        let stem = path.extension().is_some_and(|ext| ext == "mmdb").then(|| path.file_stem())??;
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        stem.to_str().filter(|name| plain(name)).map(str::to_owned)
    };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| name(entry.path())).collect();
    if names.is_empty() {
        return Err(format!("MAXMIND_DIR {} holds no .mmdb file", dir.display()).into());
    }
    names.sort();
    Ok(names.join(","))
}

fn show(cluster: &Cluster) -> Outcome<()> {
    cluster.client().batch_execute(&format!("CREATE DATABASE {DB}"))?;
    let mut client = cluster.connect(DB);
    client.batch_execute(LOAD)?;
    let start = Instant::now();
    // The first look-up waits for files that are being imported.
    let _ = cluster.value(DB, "SELECT ip_country('8.8.8.8')");
    println!("    mmdb files verified and indexed in {} ms", start.elapsed().as_millis());
    println!("==> loading {} Cowrie events through a table with triggers", EVENTS.lines().count());
    let start = Instant::now();
    load(&mut client)?;
    println!("    inserted in {} ms", start.elapsed().as_millis());
    cluster.wait_value(DB, "SELECT count(*) FROM ip_observation", "0");
    let addresses = cluster.value(DB, "SELECT count(*) FROM ip_inventory");
    println!(
        "    {addresses} distinct addresses in ip_inventory, with MaxMind's answers, {} ms after the first insert began",
        start.elapsed().as_millis()
    );
    cluster.wait_value(DB, UNANSWERED, "0");
    println!(
        "    what Team Cymru and GreyNoise (both fakes here) add is there {} ms after",
        start.elapsed().as_millis()
    );
    cluster.wait_value(DB, UNCOUNTED, "0");
    cluster.wait_value(DB, "SELECT count(*) FROM network_lists() WHERE installed_at IS NOT NULL", "2");
    cluster.wait_value(
        DB,
        "SELECT count(*) FROM ip_inventory WHERE lists IS DISTINCT FROM nullif(ip_lists(ip_address), '{}')",
        "0",
    );
    report(cluster)?;
    Ok(())
}

/// As a log shipper would: the lines by COPY, then one statement.
fn load(client: &mut Client) -> Outcome<()> {
    let mut copy = client.copy_in("COPY incoming FROM STDIN WITH (FORMAT csv, QUOTE e'\\x01', DELIMITER e'\\x02')")?;
    copy.write_all(EVENTS.as_bytes())?;
    copy.finish()?;
    client.batch_execute("INSERT INTO raw_events (payload) SELECT line FROM incoming")?;
    Ok(())
}

/// psql prints tables as people are used to see them.
fn report(cluster: &Cluster) -> io::Result<()> {
    let mut psql = cluster
        .tool("psql")
        .args(["-X", "-q", "-P", "pager=off", "-v", "ON_ERROR_STOP=1", "-d", DB])
        .env("PGCLIENTENCODING", "UTF8")
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = psql.stdin.take() {
        input.write_all(REPORT.as_bytes())?;
    }
    if psql.wait()?.success() {
        return Ok(());
    }
    Err(io::Error::other("psql ended with an error"))
}
