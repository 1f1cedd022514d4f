//! `docs/monitoring/`: promtool takes the alert rules and their tests, rules and dashboard use only metrics of
//! `prometheus_metrics()`, the page lists all of them, and the script for cron writes its output.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::lists_support::{default_dir, put};
use crate::network_support::*;
use crate::promtool_support::*;
use asn_inventory_tests::cluster::private_dir;
use asn_inventory_tests::prelude::*;
use serde_json::Value;

fn folder() -> PathBuf {
    root().join("docs/monitoring")
}

fn file(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|e| panic!("docs/monitoring/{name}: {e}"))
}

/// A database in which every figure is known: answers, failures, a queue that waits, a look for newer files.
fn everything() -> (World, Page) {
    // A key that was set and is none: a look for newer files fails.
    let world = World::options().conf("maxmind_license_key", "env:MAXMIND_LICENSE_KEY").start();
    world.attach_events();
    world.ingest(&["8.8.8.8", "81.2.69.142"]);
    world.wait("SELECT count(*) FROM ip_inventory WHERE greynoise_status IN ('found', 'not_found')", "2");
    let closed = GreyNoiseFault::Status { status: 429, body: None, retry_after: Some("3600".into()) };
    world.fakes.fault(Fault::from(closed));
    world.ingest(&["8.8.8.9"]);
    world.wait_source("greynoise", "state, retry_at IS NOT NULL", "quota|t");
    world.sql("SELECT update_maxmind()");
    world.wait("SELECT count(*) FROM enrichment_run WHERE kind = 'update'", "1");
    world.wait("SELECT addresses FROM inventory_count", "3");
    put(&default_dir(&world.cluster), "tor.txt", "81.2.69.142\n");
    world.wait("SELECT count(*) FROM network_lists()", "1");
    world.cluster.set("asn_inventory.absorb_interval", "1h");
    world.ingest(&["9.9.9.9"]);
    // The reload had GreyNoise asked once more, and it says again how long it is closed.
    let waits = |page: &Page| {
        page.value("queue_age_seconds", &[]).is_some()
            && page.value("source_retry_timestamp_seconds", &[("source", "greynoise")]).is_some()
    };
    let page = wait_for("a queue that waits", || Page::of(&world.cluster, DB), waits);
    (world, page)
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let name = |at: usize| -> String {
        text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
    };
    text.match_indices("asn_inventory_").map(|(at, _)| family(&name(at))).collect()
}

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    let said = check(&["check", "rules", "alerts.yml"], &folder());
    let rules = file("alerts.yml").matches("- alert:").count();
    assert!(rules >= 12 && said.contains(&format!("{rules} rules found")), "{said}");
    check(&["test", "rules", "alerts_test.yml"], &folder());
    // Each alert is seen to fire, and to keep still where all is well.
    let tests = file("alerts_test.yml");
    for alert in file("alerts.yml").lines().filter_map(|line| line.trim().strip_prefix("- alert: ").map(str::to_owned))
    {
        assert!(
            tests.contains(&format!("        alertname: {alert}\n        exp_alerts:\n          - exp_labels:")),
            "{alert} fires"
        );
        assert!(tests.contains(&format!("alertname: {alert}, exp_alerts: []")), "{alert} keeps still");
        assert!(file("README.md").contains(&format!("| `{alert}` |")), "{alert} is described");
    }
}

#[test]
fn rules_and_table_name_exactly_the_metrics_of_the_function() {
    let (world, page) = everything();
    let given = page.names();
    for name in ["alerts.yml", "alerts_test.yml", "dashboard.json"] {
        let text = file(name);
        let used: BTreeSet<String> = match name {
            // Its title and tags are the extension's name.
            "dashboard.json" => expressions().iter().flat_map(|(_, expression)| named(expression)).collect(),
            _ => named(&text),
        };
        assert!(used.len() >= 12, "{name} uses {used:?}");
        let unknown: Vec<&String> = used.difference(&given).collect();
        assert!(unknown.is_empty(), "{name} uses {unknown:?}, of {given:?}");
    }
    let table: BTreeSet<String> = file("README.md")
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| `asn_inventory_")?.split('`').next().map(|name| format!("asn_inventory_{name}"))
        })
        .collect();
    assert_eq!(table, given, "the table of docs/monitoring/README.md, and what the function gives");
    // Each alert has a command that runs.
    let commands: Vec<String> = file("alerts.yml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("command: ").map(str::to_owned))
        .collect();
    assert_eq!(commands.len(), file("alerts.yml").matches("- alert:").count());
    for command in commands {
        world.sql(&command);
    }
}

/// The panels of the dashboard, rows left out.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").clone();
    panels.into_iter().filter(|panel| panel["type"] != "row").collect()
}

/// The dashboard's queries, with the panel's title.
fn expressions() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for panel in panels() {
        let title = panel["title"].as_str().unwrap_or_default().to_owned();
        for target in panel["targets"].as_array().unwrap_or(&Vec::new()) {
            all.push((title.clone(), target["expr"].as_str().unwrap_or_default().to_owned()));
        }
    }
    all
}

#[test]
fn every_dashboard_query_is_valid() {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).expect("JSON");
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
    assert_eq!(dashboard["templating"]["list"][0]["query"], "prometheus");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 39));
    let panels = panels();
    assert!(panels.len() >= 15, "{} panels", panels.len());
    let mut ids = BTreeSet::new();
    for panel in &panels {
        let title = panel["title"].as_str().unwrap_or_default();
        assert!(!title.is_empty() && ids.insert(panel["id"].as_u64()), "{panel}");
        assert!(
            !panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default().is_empty(),
            "{title} has no unit"
        );
        assert!(!panel["targets"].as_array().expect("targets").is_empty(), "{title} asks nothing");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
    }
    // As rules, all expressions are parsed at once.
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (number, (title, expression)) in expressions().iter().enumerate() {
        assert!(!expression.trim().is_empty(), "{title}");
        let expression = expression.replace("$__rate_interval", "5m").replace("$database", ".*");
        assert!(!expression.contains('$'), "{title}: {expression}");
        rules += &format!("      - record: panel:{number}\n        expr: {}\n", json!(expression));
    }
    let dir = private_dir();
    std::fs::write(dir.join("dashboard.yml"), rules).expect("a file");
    check(&["check", "rules", "dashboard.yml"], &dir);
}

/// A standby has its primary's figures, and no worker: beside it, neither is a sum twice as large nor the worker down.
#[test]
fn a_standby_changes_no_figure_of_the_dashboard() {
    let mut series = String::new();
    for (instance, up, standby) in [("one", 1, 0), ("two", 0, 1)] {
        for (name, values) in [
            ("up", format!("{up}x10")),
            ("standby", format!("{standby}x10")),
            ("queue_addresses", "7x10".to_owned()),
            ("addresses", "100x10".to_owned()),
            ("observations_total", "0+60x10".to_owned()),
        ] {
            let labels = format!("{{database=\"siem\", instance=\"{instance}\"}}");
            series += &format!("      - series: 'asn_inventory_{name}{labels}'\n        values: '{values}'\n");
        }
    }
    let mut expected = String::new();
    for (title, labels, value) in [
        ("Worker", "{}", 1),
        ("Waiting in the queue", "{}", 7),
        ("Addresses", "{}", 100),
        ("Observations", "{database=\"siem\", instance=\"one\"}", 1),
    ] {
        let all = expressions();
        let (_, expression) = all.iter().find(|(panel, _)| panel == title).expect("a panel");
        let expression = expression.replace("$__rate_interval", "5m").replace("$database", ".*");
        expected += &format!("      - expr: {}\n        eval_time: 6m\n", json!(expression));
        expected += &format!("        exp_samples: [{{labels: '{labels}', value: {value}}}]\n");
    }
    let dir = private_dir();
    let test = format!(
        "rule_files: []\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n{series}    promql_expr_test:\n{expected}"
    );
    std::fs::write(dir.join("pair.yml"), test).expect("a file");
    check(&["test", "rules", "pair.yml"], &dir);
}

/// Cron starts it again a minute later, whatever became of the one before.
#[test]
fn the_script_for_cron_waits_for_nobody_without_a_limit() {
    let cluster = Cluster::builder().start();
    let dir = private_dir();
    // In psql's place, one that tells the limits on itself and on its session.
    let psql = psql_dir(&cluster).join("psql");
    let limits = "SELECT current_setting('lock_timeout') || ' ' || current_setting('statement_timeout')";
    let told = format!("exec '{}' -X -At -d {DB} -c \"{limits}\"", psql.display());
    for (name, does) in [
        ("psql", format!("printf '%s %s ' \"$seconds\" \"$PGCONNECT_TIMEOUT\"\n{told}")),
        ("timeout", "export seconds=$1\nshift\nexec \"$@\"".to_owned()),
    ] {
        std::fs::write(dir.join(name), format!("#!/bin/sh\n{does}\n")).expect("a file");
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o755)).expect("a right");
    }
    let target = dir.join("limits.prom");
    for (own, wanted) in [("", "50 10 5s 30s\n"), ("-c statement_timeout=10s", "50 10 5s 10s\n")] {
        let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new(folder().join("textfile.sh"))
            .arg(DB)
            .arg(&target)
            .env("PATH", path)
            .env("PGOPTIONS", own)
            .env_remove("PGCONNECT_TIMEOUT")
            .env("PGHOST", cluster.socket_dir())
            .env("PGPORT", "5432")
            .env("PGUSER", "postgres")
            .output()
            .expect("sh runs");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(std::fs::read_to_string(&target).expect("a file"), wanted);
    }
}

#[test]
fn the_script_for_cron_writes_all_or_nothing() {
    let cluster = Cluster::builder().start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    // The role of the page, by its own commands.
    let page = file("README.md");
    let role = page.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of SQL");
    cluster.sql(DB, role);
    let dir = private_dir();
    let target = dir.join("asn_inventory.prom");
    let run = |db: &str| {
        let mut script = Command::new(folder().join("textfile.sh"));
        let path = format!("{}:{}", psql_dir(&cluster).display(), std::env::var("PATH").unwrap_or_default());
        script.args([db]).arg(&target).env("PATH", path);
        script
            .env("PGHOST", cluster.socket_dir())
            .env("PGPORT", "5432")
            .env("PGUSER", "monitor")
            .output()
            .expect("sh runs")
    };
    let output = run(DB);
    assert!(output.status.success(), "{output:?}");
    let written = std::fs::read_to_string(&target).expect("a file");
    let first = Page::read(&written);
    assert!(first.value("up", &[]).is_some());
    let failed = run("no_such_database");
    assert!(!failed.status.success());
    assert_eq!(std::fs::read_to_string(&target).expect("a file"), written, "it stays as it is");
    let names: Vec<_> =
        std::fs::read_dir(&dir).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(names, ["asn_inventory.prom"], "nothing is left over");
    let age = |page: &Page| page.value("scrape_timestamp_seconds", &[]).expect("a time");
    assert!(run(DB).status.success());
    assert!(age(&Page::read(&std::fs::read_to_string(&target).expect("a file"))) > age(&first));
}

/// Where this cluster's psql is.
fn psql_dir(cluster: &Cluster) -> PathBuf {
    PathBuf::from(cluster.tool("psql").get_program()).parent().expect("a directory").to_owned()
}
