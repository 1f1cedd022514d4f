//! Secrets of programs, and what is refused with a secret or without one.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::secrets::Commands;
use crate::secrets::tests::WRITING;

#[test]
fn a_program_runs_once_for_an_update_and_a_failure_is_tried_anew_by_the_next() {
    let fake = Fake::start(|seen| match seen.target.as_str() {
        "/b?token=hunter2" if seen.header("authorization").is_some() => Reply::new(503, &[], ""),
        "/c?token=hunter2" => Reply::new(403, &[], ""),
        _ => Reply::new(200, &[], database("x")),
    });
    let mut bench = Bench::new(&fake);
    let (op, ran) = {
        let _writing = WRITING.write();
        let programs = Directory::new();
        let dir = programs.path().display().to_string();
        let op = programs.write("op", format!("#!/bin/sh\necho >> {dir}/ran\nexec cat {dir}/key\n"));
        fs::set_permissions(&op, fs::Permissions::from_mode(0o755)).unwrap();
        bench.resolver.commands = Commands::parse(&format!("op={}", op.display())).unwrap();
        (programs, PathBuf::from(dir).join("ran"))
    };
    let runs = || fs::read(&ran).unwrap_or_default().len();
    let secret = "{secret:op://vault/item/key}";
    let url = fake.url("localhost");
    let user = url.replace("https://", &format!("https://me:{secret}@"));
    let sites = format!("a={url}/a?token={secret}, b={user}/b?token={secret}, c={url}/c?token={secret}");
    let _spawning = WRITING.read();
    let update = bench.update(&sites);
    let told = bench.told(&update, NOON);
    assert_eq!(told.matches("op://vault/item/key: ").count(), 3, "{told}");
    assert_eq!(runs(), 1);
    op.write("key", "hunter2");
    let told = bench.told(&update, NOON + HOUR);
    let expected =
        "Downloaded | the server answers with status 503; Some(20) | the server refuses this file (403); Some(1440)";
    assert_eq!(told, expected);
    assert_eq!(runs(), 2);
    // Beside others of the process, what was found counts for a minute.
    bench.resolver.recent = Some((Arc::default(), Accept::Any));
    for hours in [2, 3] {
        assert!(bench.run(&sites, NOON + hours * HOUR).starts_with("Unchanged | "));
    }
    assert_eq!(runs(), 3);
}

#[test]
fn a_store_says_403_of_a_month_that_is_not_there() {
    let fake = Fake::start(move |seen| match seen.target.split('?').next().unwrap() {
        "/x-2026-01.gz" => Reply::new(200, &[("ETag", "jan")], gz(&database("january"))),
        _ => Reply::new(403, &[("Content-Type", "application/xml")], "<Error><Code>AccessDenied</Code></Error>"),
    });
    let february = crate::time::midnight(chrono::NaiveDate::from_ymd_opt(2026, 2, 1).unwrap());
    let bench = Bench::with(&fake, &[("KEY", "hunter2")]);
    let url = format!("{}/x-{{year}}-{{month}}.gz", fake.url("localhost"));
    assert_eq!(bench.run(&format!("a={url}"), february), "Downloaded");
    let denied = "the server refuses this file (403); Some(1440)";
    assert_eq!(bench.run(&format!("a={url}"), february + 60 * DAY), denied);
    let before = fake.seen().len();
    // It may be about the key.
    assert_eq!(bench.run(&format!("b={url}?token={{secret:env:KEY}}"), february), denied);
    assert_eq!(fake.seen().len(), before + 1);
}
