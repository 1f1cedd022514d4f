//! `enrichment_doctor()` says of each reference to a key whether it resolves: the worker looks it up at the call, and
//! the key is never shown.

use crate::promtool_support::Page;
use crate::secret_support::*;
use asn_inventory_tests::cluster::private_dir;
use std::fs;

/// The remedy for a key that does not resolve.
fn remedy(setting: &str, file: &str) -> String {
    format!(
        "|ALTER SYSTEM SET asn_inventory.{setting} = 'file:/etc/asn_inventory/{file}.key'; SELECT pg_reload_conf();  -- or correct the cause"
    )
}

/// The rows of `secret_references` in a session, a line a key.
fn told(client: &mut postgres::Client) -> Vec<String> {
    let rows = asn_inventory_tests::cluster::query(client, "SELECT setting, state, detail FROM secret_references()");
    let rows = rows.expect("an answer").into_iter();
    rows.map(|row| row.into_iter().flatten().collect::<Vec<_>>().join("|")).collect()
}

#[test]
fn a_reference_is_looked_up_when_the_doctor_is_called() {
    let dir = private_dir();
    let file = dir.join("maxmind.key");
    let reference = format!("file:{}", file.display());
    let cluster = with_maxmind_key(&reference, &[]);

    // A key was set, but there is none.
    let absent = said(&cluster, "key maxmind");
    let reason = format!("|asn_inventory.maxmind_license_key: {reference}: there is no such file");
    assert!(absent.contains(&reason), "{absent}");
    // No key was set: this is not a fault.
    let unset = said(&cluster, "key greynoise");
    assert!(unset.starts_with("ok|asn_inventory.greynoise_api_key: env:GREYNOISE_API_KEY: "), "{unset}");
    assert!(unset.ends_with("; GreyNoise is asked only if asn_inventory.greynoise is on|"), "{unset}");
    // An empty reference is not a fault either.
    cluster.set("asn_inventory.greynoise_api_key", "");
    let none = "ok|asn_inventory.greynoise_api_key: no reference is set; GreyNoise is asked only if asn_inventory.greynoise is on|";
    wait_for("no reference", || said(&cluster, "key greynoise"), |said| said == none);

    fs::write(&file, CANARY).expect("a key");
    chmod(&file, 0o644);
    assert_eq!(said(&cluster, "key maxmind"), format!("ok|asn_inventory.maxmind_license_key: {reference} resolves|"));

    // One that others may write is as good as theirs.
    chmod(&file, 0o666);
    let open = said(&cluster, "key maxmind");
    assert!(open.starts_with(&format!("error|asn_inventory.maxmind_license_key: {reference}: ")), "{open}");
    assert!(open.ends_with(&remedy("maxmind_license_key", "maxmind")), "{open}");
    // The other key is not of the same opinion, and has a remedy of its own.
    let greynoise = dir.join("greynoise.key");
    fs::write(&greynoise, CANARY).expect("a key");
    chmod(&greynoise, 0o666);
    cluster.set("asn_inventory.greynoise_api_key", &format!("file:{}", greynoise.display()));
    wait_for("an open file", || said(&cluster, "key greynoise"), |said| said.starts_with("error|"));
    let open = said(&cluster, "key greynoise");
    assert!(open.ends_with(&remedy("greynoise_api_key", "greynoise")), "{open}");

    // The remedy's first half, with a place of our own.
    let other = dir.join("other.key");
    fs::write(&other, CANARY).expect("a key");
    chmod(&other, 0o644);
    cluster.set("asn_inventory.maxmind_license_key", &format!("file:{}", other.display()));
    let mended = format!("ok|asn_inventory.maxmind_license_key: file:{} resolves|f", other.display());
    cluster.wait_value(
        DB,
        "SELECT level || '|' || detail || '|f' FROM enrichment_doctor() WHERE check_name = 'key maxmind'",
        &mended,
    );
    assert_hidden(&cluster);
}

#[test]
fn a_key_that_cannot_be_read_shows_in_the_metrics_though_nobody_asks_the_doctor() {
    let dir = private_dir();
    let files = ["maxmind", "greynoise"].map(|key| dir.join(format!("{key}.key")));
    let references = files.each_ref().map(|file| format!("file:{}", file.display()));
    let cluster = with_maxmind_key(
        &references[0],
        &[("asn_inventory.greynoise_api_key", &references[1]), ("asn_inventory.greynoise", "auto")],
    );
    let unreadable = || {
        let page = Page::of(&cluster, DB);
        ["maxmind", "greynoise"].map(|key| page.value("key_unreadable", &[("key", key)]))
    };
    wait_for("keys that are not there", unreadable, |found| *found == [Some(1.0), Some(1.0)]);
    for file in &files {
        fs::write(file, CANARY).expect("a key");
        chmod(file, 0o644);
    }
    cluster.reload();
    wait_for("both keys", unreadable, |found| *found == [Some(0.0), Some(0.0)]);
    // One that nobody asks for is none that is missing, nor is a default that leads nowhere.
    cluster.set("asn_inventory.greynoise", "off");
    cluster.set("asn_inventory.maxmind_license_key", "");
    wait_for("one key that is not set", unreadable, |found| *found == [Some(0.0), None]);
    assert_hidden(&cluster);
}

#[test]
fn a_program_that_resolves_a_key_runs_once_for_many_calls_of_the_doctor() {
    let keys = Vault::new();
    let ran = keys.dir.join("ran");
    fs::write(&ran, "").expect("a file");
    chmod(&ran, 0o666);
    let commands = keys.program("op", &format!("echo >> {}\nprintf %s {CANARY}", ran.display()));
    let cluster = with_maxmind_key("op://ops/maxmind/key", &[]);
    // Programs are off until they are named.
    let off = said(&cluster, "key maxmind");
    assert!(off.starts_with("error|asn_inventory.maxmind_license_key: op://ops/maxmind/key: "), "{off}");
    assert!(off.contains("secret_commands"), "{off}");
    cluster.set("asn_inventory.secret_commands", &commands);
    let runs = || fs::read(&ran).expect("the file").len();
    assert_eq!(runs(), 0);
    let sql = "SELECT detail FROM enrichment_doctor() WHERE check_name = 'key maxmind'";
    let resolves = "asn_inventory.maxmind_license_key: op://ops/maxmind/key resolves";
    wait_for("it resolves", || cluster.value(DB, sql), |detail| detail.starts_with(resolves));
    assert_eq!(runs(), 1);
    // Each run may cost money: several calls, one after the other or at a time, are answered by it, and so is a reload
    // that changes nothing.
    let askers: Vec<_> = (0..4).map(|_| cluster.connect(DB)).collect();
    std::thread::scope(|scope| {
        for mut asker in askers {
            scope.spawn(move || {
                for _ in 0..3 {
                    let row = asker.query_one(sql, &[]).expect("an answer");
                    assert!(row.get::<_, String>(0).starts_with(resolves));
                }
            });
        }
    });
    cluster.reload();
    let told_later = wait_for("an answer with an age", || cluster.value(DB, sql), |detail| detail.ends_with(" s ago)"));
    assert!(told_later.starts_with(resolves), "{told_later}");
    assert_eq!(runs(), 1);

    // A role that may not read the setting sees the last result, but not the reference, and starts no program.
    let (before, mut alice) = (runs(), cluster.connect_as("alice", DB));
    let all = "SELECT setting, state, detail FROM secret_references()";
    assert!(alice.query(all, &[]).is_err());
    cluster.sql(DB, "GRANT EXECUTE ON FUNCTION secret_references() TO alice");
    assert_eq!(
        told(&mut alice),
        [
            "maxmind_license_key|resolves|resolved when it was last looked up",
            "greynoise_api_key|unset|there was no key when it was last looked up"
        ]
    );
    assert_eq!(runs(), before);
    // A role that may read it gets the superuser's answer.
    cluster.sql(
        DB,
        "CREATE ROLE bob LOGIN IN ROLE pg_read_all_settings; GRANT EXECUTE ON FUNCTION secret_references() TO bob",
    );
    let told_bob = told(&mut cluster.connect_as("bob", DB));
    assert!(told_bob[0].starts_with("maxmind_license_key|resolves|op://ops/maxmind/key resolves"), "{told_bob:?}");
    assert_eq!(runs(), before);
    assert_hidden(&cluster);
}

#[test]
fn a_call_during_a_running_program_waits_for_its_output() {
    let keys = Vault::new();
    let (ran, gate) = (keys.dir.join("ran"), keys.dir.join("gate"));
    fs::write(&ran, "").expect("a file");
    chmod(&ran, 0o666);
    // Resolves nothing the first time.
    let script = format!(
        "echo >> {ran}\nrun=$(wc -l < {ran})\nwhile [ ! -e {gate} ]; do sleep 0.05; done\n[ $run = 2 ] || exit 3\nprintf %s {CANARY}",
        ran = ran.display(),
        gate = gate.display()
    );
    let commands = keys.program("op", &script);
    let cluster = with_maxmind_key("op://ops/maxmind/key", &[("asn_inventory.secret_commands", &commands)]);
    cluster.sql(DB, "GRANT EXECUTE ON FUNCTION secret_references() TO alice");
    let mut alice = cluster.connect_as("alice", DB);
    let nobody_asked = "maxmind_license_key|unknown|is looked up when a member of pg_read_all_settings asks";
    assert_eq!(told(&mut alice)[0], nobody_asked);

    let runs = || fs::read(&ran).expect("the file").len();
    let (mut first, mut second) = (cluster.connect(DB), cluster.connect(DB));
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(move || told(&mut first).swap_remove(0));
        wait_until("the first run", || runs() == 1);
        let second = scope.spawn(move || told(&mut second).swap_remove(0));
        let asking =
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%FROM secret_references()'";
        cluster.wait_value(DB, asking, "2");
        fs::write(&gate, "").expect("a file");
        (first.join().expect("an answer"), second.join().expect("an answer"))
    });
    let failed = "maxmind_license_key|fails|op://ops/maxmind/key: op ended with exit status 3";
    assert!(first.starts_with(failed) && second.starts_with(failed), "{first}, {second}");
    assert_eq!(runs(), 1);
    let fails = "maxmind_license_key|fails|did not resolve when it was last looked up; members of pg_read_all_settings are told why";
    assert_eq!(told(&mut alice)[0], fails);
    // After a fix and a reload, the new result shows.
    cluster.reload();
    let mut asker = cluster.connect(DB);
    let resolves = "maxmind_license_key|resolves|op://ops/maxmind/key resolves";
    wait_for("another run", || told(&mut asker).swap_remove(0), |told| told.starts_with(resolves));
    assert_eq!(runs(), 2);
    assert_hidden(&cluster);
}

#[test]
fn without_a_worker_the_doctor_does_not_wait_for_one() {
    let cluster = Cluster::builder().preload(false).start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    let states = "SELECT setting, state, detail FROM secret_references()";
    assert_eq!(
        cluster.lines(DB, states),
        [
            "maxmind_license_key|unknown|no worker is running to look it up",
            "greynoise_api_key|unknown|no worker is running to look it up"
        ]
    );
    // The doctor has said already that there is no worker.
    let keys = "SELECT check_name, level, detail FROM enrichment_doctor() WHERE check_name LIKE 'key %'";
    assert_eq!(cluster.lines(DB, keys), ["key maxmind|ok|", "key greynoise|ok|"]);
}
