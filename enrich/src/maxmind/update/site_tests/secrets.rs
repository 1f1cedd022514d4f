//! Secrets: where they go, those of programs, and what is refused with one or without.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::secrets::Commands;
use crate::secrets::tests::WRITING;

#[test]
fn secrets_reach_their_host_and_nothing_else() {
    let plain = database("x");
    let store_bytes = plain.clone();
    let store = Fake::start(move |_| Reply::new(200, &[], &store_bytes));
    let target = store.url("127.0.0.1");
    let fake = Fake::start(move |seen| match seen.target.as_str() {
        "/t/hunter2%2F/x?token=hunter2%2F" if seen.header("authorization") == Some("Basic bWU6aHVudGVyMi8=") => {
            Reply::new(302, &[("Location", &format!("{target}/signed?hunter2"))], "")
        }
        _ => Reply::new(401, &[("WWW-Authenticate", "Basic realm=\"hunter2\"")], "hunter2"),
    });
    let host = fake.url("localhost").replace("https://", "");
    let bench = Bench::with(&fake, &[("KEY", "hunter2/"), ("PAIR", "me:hunter2/"), ("BAD", "hunter3")]);
    for user in ["me:{secret:env:KEY}", "{secret:env:PAIR}"] {
        let sites = format!("a=https://{user}@{host}/t/{{secret:env:KEY}}/x?token={{secret:env:KEY}}");
        assert_eq!(bench.run(&sites, NOON), "Downloaded");
        fs::remove_file(bench.directory.path().join("a.mmdb")).unwrap();
    }
    assert!(store.seen().iter().all(|seen| seen.header("authorization").is_none()));
    let wrong = format!("a=https://me:{{secret:env:BAD}}@{host}/t/{{secret:env:KEY}}/x");
    let told = bench.run(&wrong, NOON);
    assert_eq!(told, "the server does not accept the credentials of this source (401); Some(1440)");
    assert_eq!(bench.run(&wrong, NOON + HOUR), "Credentials", "the same key is not insisted on");
    let absent = format!("a=https://{host}/{{secret:env:ABSENT}}");
    assert_eq!(bench.run(&absent, NOON), "env:ABSENT: is not set in the server's environment; Some(10)");
    let ledger = bench.ledger();
    assert!(!ledger.contains("hunter") && !ledger.contains("/t/") && ledger.contains(&host), "{ledger}");
    assert!(!format!("{:?}", bench.update(&wrong)).contains("hunter"));
}

#[test]
fn a_key_that_was_replaced_in_its_place_is_tried() {
    let fake = Fake::start(|seen| match seen.target.as_str() {
        "/?t=new" => Reply::new(200, &[], database("x")),
        _ => Reply::new(403, &[], "no"),
    });
    let mut bench = Bench::with(&fake, &[("KEY", "old")]);
    let sites = format!("a={}/?t={{secret:env:KEY}}", fake.url("localhost"));
    assert_eq!(bench.run(&sites, NOON), "the server refuses this file (403); Some(1440)");
    assert_eq!(bench.run(&sites, NOON + HOUR), "Denied");
    bench.resolver = Bench::with(&fake, &[("KEY", "new")]).resolver;
    assert_eq!(bench.run(&sites, NOON + 2 * HOUR), "Downloaded");
}

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
