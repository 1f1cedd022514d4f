//! `enrichment_doctor()` where a source outside fails: each by its name, with the reason, and ok again once it answers.

use crate::network_support::*;
use asn_inventory_tests::prelude::*;

fn trouble(world: &World) -> Vec<String> {
    world.lines("SELECT check_name, level FROM enrichment_doctor() WHERE level <> 'ok' ORDER BY 1")
}

fn wait_trouble(world: &World, wanted: &[&str]) {
    wait_for("what the doctor finds", || trouble(world), |found| found == wanted);
}

/// The doctor's finding of a check, and its remedy.
fn said(world: &World, check: &str) -> (String, String) {
    let of = |column: &str| {
        world.value(&format!("SELECT {column} FROM enrichment_doctor() WHERE check_name = '{check}' AND level <> 'ok'"))
    };
    (of("detail"), of("remedy"))
}

/// So many addresses that no file knows, of different networks.
fn unknown(count: u8) -> Vec<String> {
    (1..=count).map(|n| format!("45.{n}.0.1")).collect()
}

#[test]
fn dns_that_does_not_answer_is_named_until_it_does() {
    let world = World::options().conf("cymru_timeout", "1s").start();
    world.attach_events();
    assert_eq!(trouble(&world), [""; 0]);
    world.fakes.fault(DnsFault::Drop);
    world.ingest(&unknown(6));
    wait_trouble(&world, &["dns|error"]);
    let (detail, remedy) = said(&world, "dns");
    let retry_at = world.value("SELECT retry_at FROM _cymru_ways() WHERE way = 'dns'");
    let told = detail.starts_with("DNS does not answer about addresses: the DNS server did not answer in time");
    assert!(told && detail.ends_with(&format!(". Tried again at {retry_at}.")), "{detail}");
    assert!(remedy.contains("asn_inventory.cymru_dns_servers"), "{remedy}");
    // With Team Cymru off, its answers are not missed.
    world.cluster.set("asn_inventory.cymru", "off");
    wait_trouble(&world, &[]);
    world.cluster.set("asn_inventory.cymru", "on");
    wait_trouble(&world, &["dns|error"]);
    world.fakes.clear_faults();
    world.ingest(&["45.9.0.1"]);
    wait_trouble(&world, &[]);
}

#[test]
fn a_blocked_port_43_is_named_while_dns_answers() {
    let world = World::options().conf("cymru_bulk_min", "5").start();
    world.attach_events();
    world.fakes.fault(WhoisFault::Refuse);
    world.ingest(&unknown(10));
    wait_trouble(&world, &["port 43|warning"]);
    let (detail, remedy) = said(&world, "port 43");
    assert!(detail.contains("more slowly: whois: ") && !detail.ends_with(" at ."), "{detail}");
    assert!(remedy.contains("cymru_bulk_min"), "{remedy}");
    assert_eq!(world.source("cymru", "state"), "ok");
    // It ends by itself with the first session that works after the pause.
    world.fakes.clear_faults();
    world.wait("SELECT retry_at <= clock_timestamp() FROM _cymru_ways() WHERE way = 'bulk'", "t");
    let sessions = world.fakes.count(Service::Whois);
    world.sql(
        "DELETE FROM cymru_prefix; \
         UPDATE ip_inventory SET cymru_status = 'pending', cymru_ts = NULL, cymru_retry_at = NULL",
    );
    wait_trouble(&world, &[]);
    assert_eq!(world.fakes.count(Service::Whois), sessions + 1);
}

#[test]
fn no_finding_if_port_43_is_not_used() {
    let world = World::options().conf("cymru_bulk_min", "5").start();
    world.attach_events();
    world.fakes.fault(WhoisFault::Refuse);
    world.ingest(&unknown(10));
    wait_trouble(&world, &["port 43|warning"]);
    let (_, remedy) = said(&world, "port 43");
    let command = remedy.rsplit_once(": ").expect("a command").1;
    world.sql(command.strip_suffix(" SELECT pg_reload_conf();").expect("a reload"));
    world.cluster.reload();
    wait_trouble(&world, &[]);
}

#[test]
fn a_refused_key_a_spent_quota_and_a_silent_greynoise_are_distinguished() {
    let world = World::options().conf("cymru", "off").conf("greynoise_quota", "1").start();
    world.attach_events();
    world.fakes.expect_key(Some("another-key"));
    world.ingest(&["8.8.8.1"]);
    wait_trouble(&world, &["greynoise|error"]);
    let (detail, remedy) = said(&world, "greynoise");
    assert!(detail.starts_with("GreyNoise refuses the key: ") && detail.contains("HTTP 401"), "{detail}");
    assert!(remedy.starts_with("ALTER SYSTEM SET asn_inventory.greynoise_api_key = "), "{remedy}");

    // The right one is there now, and one request is all that may be spent.
    world.fakes.expect_key(Some(std::fs::read_to_string(world.fakes.key_file()).expect("a key").trim()));
    world.cluster.set("asn_inventory.greynoise_quota", "2");
    world.ingest(&["8.8.8.2", "8.8.8.3"]);
    wait_trouble(&world, &["greynoise|warning"]);
    let (detail, remedy) = said(&world, "greynoise");
    let more_at = world.source("greynoise", "quota_reset_at");
    assert!(detail.starts_with(&format!("The quota is spent until {more_at}. ")), "{detail}");
    // The remedy shows the spending.
    let shown = world.lines(&remedy).join("");
    assert_eq!(shown, format!("greynoise|2|2|{more_at}"));

    world.fakes.fault(GreyNoiseFault::Refuse);
    world.cluster.set("asn_inventory.greynoise_quota", "1000");
    world.sql("UPDATE ip_inventory SET greynoise_status = 'pending', greynoise_retry_at = NULL");
    let more: Vec<String> = (4..=14).map(|n| format!("8.8.8.{n}")).collect();
    world.ingest(&more);
    // In one go, for between two questions it may be fine.
    let sql = "SELECT concat_ws('|', level, detail, remedy) FROM enrichment_doctor() WHERE check_name = 'greynoise'";
    let silent = "warning|GreyNoise does not answer: ";
    let found = wait_for("silence", || world.value(sql), |found| found.starts_with(silent));
    assert!(found.contains("|curl ") && !found.contains(" at .|"), "{found}");
    assert_eq!(trouble(&world), ["greynoise|warning"]);

    // It is not a fault if GreyNoise is not asked for want of a key, or is switched off.
    world.cluster.set("asn_inventory.greynoise_api_key", "");
    world.wait("SELECT state FROM source_status WHERE source = 'greynoise'", "no key");
    assert_eq!(trouble(&world), [""; 0]);
    world.cluster.set("asn_inventory.greynoise", "off");
    world.wait("SELECT state FROM source_status WHERE source = 'greynoise'", "off");
    assert_eq!(trouble(&world), [""; 0]);
}
