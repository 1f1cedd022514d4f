//! Vault: over TLS, by every way to a token, and what it may answer.

use super::*;

fn vault(fake: &Fake) -> Resolver {
    let mut resolver =
        with(&[("VAULT_ADDR", &fake.url("localhost")), ("VAULT_TOKEN", "token"), ("VAULT_NAMESPACE", "ops")]);
    resolver.ca_file = Some(fake.ca_file());
    resolver
}

#[test]
fn vault_is_asked_over_tls_with_the_token() {
    let fake = Fake::start(|_| {
        Reply::new(200, &[], r#"{"data":{"data":{"license_key":"hunter2","n":7},"metadata":{"version":3}}}"#)
    });
    let resolver = vault(&fake);
    assert_eq!(resolve(&resolver, "vault://secret/maxmind#license_key").unwrap(), "hunter2");
    assert_eq!(resolve(&resolver, "vault://secret/data/maxmind#n").unwrap(), "7");
    assert!(!resolve(&resolver, "vault://secret/maxmind#other").unwrap_err().is_transient());
    let seen = fake.seen();
    assert!(seen.iter().all(|s| s.method == "GET" && s.target == "/v1/secret/data/maxmind"), "{seen:?}");
    assert_eq!(seen[0].header("x-vault-token"), Some("token"));
    assert_eq!(seen[0].header("x-vault-namespace"), Some("ops"));
}

#[test]
fn a_vault_that_is_not_trusted_gets_no_token() {
    let fake = Fake::start(|_| Reply::new(200, &[], r#"{"data":{"data":{"k":"v"}}}"#));
    let resolver = Resolver { ca_file: None, ..vault(&fake) };
    assert!(resolve(&resolver, "vault://secret/maxmind#k").unwrap_err().is_transient());
    assert!(fake.seen().is_empty());

    let mut plain = with(&[("VAULT_ADDR", "http://vault.example:1"), ("VAULT_TOKEN", "token")]);
    plain.ca_file = Some(fake.ca_file());
    assert!(resolve(&plain, "vault://secret/maxmind#k").unwrap_err().to_string().contains("not an https:// address"));
    assert!(resolve(&with(&[]), "vault://secret/maxmind#k").unwrap_err().to_string().contains("VAULT_ADDR is not set"));
}

/// A Vault with mounts of these versions, each with one secret; whatever else is asked for is forbidden, as by a policy.
fn vault_of(mounts: &'static [(&'static str, u8)]) -> Fake {
    Fake::start(move |seen| {
        let path = seen.target.trim_start_matches("/v1/");
        if let Some(asked) = path.strip_prefix("sys/internal/ui/mounts/") {
            return match mounts.iter().find(|(mount, _)| asked.starts_with(mount)) {
                Some((mount, 0)) => Reply::new(200, &[], format!(r#"{{"data":{{"path":"{mount}/","options":null}}}}"#)),
                Some((mount, version)) => Reply::new(
                    200,
                    &[],
                    format!(r#"{{"data":{{"path":"{mount}/","options":{{"version":"{version}"}}}}}}"#),
                ),
                None => Reply::new(403, &[], r#"{"errors":["preflight"]}"#),
            };
        }
        let held = mounts.iter().find(|(mount, version)| {
            let inside = if *version == 2 { "/data/maxmind" } else { "/maxmind" };
            path == format!("{mount}{inside}")
        });
        match held {
            Some((_, 2)) => Reply::new(200, &[], r#"{"data":{"data":{"k":"hunter2"},"metadata":{"version":1}}}"#),
            Some(_) => Reply::new(200, &[], r#"{"data":{"k":"hunter2","data":"a field of that name"}}"#),
            None => Reply::new(403, &[], r#"{"errors":["permission denied"]}"#),
        }
    })
}

#[test]
fn a_mount_of_version_1_or_of_several_segments_is_asked_as_it_says() {
    for (mounts, reference, requests) in [
        (&[("secret", 2)][..], "vault://secret/maxmind#k", 1),
        (&[("secret", 1)], "vault://secret/maxmind#k", 3),
        (&[("old", 0)], "vault://old/maxmind#k", 3),
        (&[("team/kv", 2)], "vault://team/kv/maxmind#k", 3),
        (&[("team/kv", 1)], "vault://team/kv/maxmind#k", 3),
        // A folder of that name, in a mount of version 1.
        (&[("secret/data", 1)], "vault://secret/data/maxmind#k", 1),
    ] {
        let fake = vault_of(mounts);
        assert_eq!(resolve(&vault(&fake), reference).unwrap(), "hunter2", "{mounts:?}");
        assert_eq!(fake.seen().len(), requests, "{:?}", fake.seen());
        assert!(fake.seen().iter().all(|seen| seen.header("x-vault-token") == Some("token")));
    }
    let fake = vault_of(&[("secret", 1)]);
    let error = resolve(&vault(&fake), "vault://secret/other#k").unwrap_err();
    assert!(error.to_string().contains("does not accept VAULT_TOKEN for this path"), "{error}");
}

#[test]
fn a_vault_token_stands_in_the_environment_or_in_a_file_that_is_read_anew() {
    let fake = Fake::start(|seen| match seen.header("x-vault-token") {
        Some("hunter2") => Reply::new(200, &[], r#"{"data":{"data":{"k":"v"},"metadata":{}}}"#),
        _ => Reply::new(403, &[], "{}"),
    });
    let directory = Directory::new();
    let file = directory.write("token", "old");
    let url = fake.url("localhost");
    let of = |variables: &[(&str, &str)]| {
        let resolver =
            Resolver { ca_file: Some(fake.ca_file()), ..with(&[&[("VAULT_ADDR", &url[..])], variables].concat()) };
        resolve(&resolver, "vault://secret/maxmind#k").map_err(|error| error.to_string())
    };
    let named = [("VAULT_TOKEN_FILE", file.to_str().unwrap()), ("HOME", directory.path().to_str().unwrap())];
    assert!(of(&named).unwrap_err().contains("does not accept the token in VAULT_TOKEN_FILE"));
    directory.write("token", "hunter2\n");
    assert_eq!(of(&named).unwrap(), "v");
    assert!(of(&named[1..]).unwrap_err().contains("VAULT_TOKEN is not set"));
    let login = directory.write(".vault-token", "hunter2");
    assert_eq!(of(&named[1..]).unwrap(), "v");
    assert_eq!(of(&[("VAULT_TOKEN", "hunter2"), named[0]]).unwrap(), "v");
    fs::set_permissions(login, Permissions::from_mode(0o666)).unwrap();
    assert!(of(&named[1..]).unwrap_err().contains("~/.vault-token: its group or others may write it"));
    assert!(of(&[("VAULT_TOKEN_FILE", "/nonexistent/token")]).unwrap_err().contains("there is no such file"));
}

#[test]
fn what_a_file_of_variables_leaves_around_a_value_is_no_part_of_it() {
    let fake = Fake::start(|seen| match (seen.header("x-vault-token"), seen.header("x-vault-namespace")) {
        (Some("hunter2"), Some("ops")) => Reply::new(200, &[], r#"{"data":{"data":{"k":"v"},"metadata":{}}}"#),
        _ => Reply::new(403, &[], "{}"),
    });
    let of = |token: &str| {
        let address = format!(" {}/\r\n", fake.url("localhost"));
        let variables = [("VAULT_ADDR", &address[..]), ("VAULT_TOKEN", token), ("VAULT_NAMESPACE", "ops\r\n")];
        let resolver = Resolver { ca_file: Some(fake.ca_file()), ..with(&variables) };
        resolve(&resolver, "vault://secret/maxmind#k").map_err(|error| error.to_string())
    };
    for token in ["hunter2", "hunter2\n", " hunter2\r\n"] {
        assert_eq!(of(token).unwrap(), "v", "{token:?}");
    }
    let two = of("hunter2\nhunter3").unwrap_err();
    assert!(two.contains("VAULT_TOKEN: has control characters or more than one line"), "{two}");
    assert!(!two.contains("hunter"), "{two}");
    assert!(of("\n").unwrap_err().contains("VAULT_TOKEN is not set"), "a blank one is none");
    assert!(of("hunter2\u{e9}").unwrap_err().contains("VAULT_TOKEN: has invalid characters"));
    let namespace =
        with(&[("VAULT_ADDR", "https://localhost:1"), ("VAULT_TOKEN", "x"), ("VAULT_NAMESPACE", "a\u{e9}")]);
    let refused = resolve(&namespace, "vault://secret/maxmind#k").unwrap_err().to_string();
    assert!(refused.contains("VAULT_NAMESPACE has invalid characters"), "{refused}");
}

#[test]
fn vault_may_have_a_certificate_of_its_own() {
    let fake = Fake::start(|_| Reply::new(200, &[], r#"{"data":{"data":{"k":"v"},"metadata":{}}}"#));
    let ca = fake.ca_file().display().to_string();
    let of = |ca: &str| {
        let url = fake.url("localhost");
        let resolver = with(&[("VAULT_ADDR", &url), ("VAULT_TOKEN", "token"), ("VAULT_CACERT", ca)]);
        resolve(&resolver, "vault://secret/maxmind#k").map_err(|error| error.to_string())
    };
    assert_eq!(of(&ca).unwrap(), "v");
    assert!(of("/nonexistent/ca.pem").unwrap_err().contains("VAULT_CACERT /nonexistent/ca.pem: "));
}

#[test]
fn an_agent_on_this_machine_is_asked_plainly_and_needs_no_token() {
    let agent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", agent.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        use std::io::{BufRead, BufReader, Write};
        let (mut heads, body) = (Vec::new(), r#"{"data":{"data":{"k":"v"},"metadata":{}}}"#);
        for stream in agent.incoming().take(2) {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(&stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty());
            heads.push(lines.collect::<Vec<_>>().join("\n"));
            write!(stream, "HTTP/1.1 200 X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
                .unwrap();
        }
        heads
    });
    // The token of the user who logs in there is not the agent's.
    let directory = Directory::new();
    directory.write(".vault-token", "hunter2");
    let home = ("HOME", directory.path().to_str().unwrap());
    let far = ("VAULT_ADDR", "https://vault.example");
    for variables in [&[("VAULT_ADDR", &address[..]), home][..], &[("VAULT_AGENT_ADDR", &address), far, home]] {
        assert_eq!(resolve(&with(variables), "vault://secret/maxmind#k").unwrap(), "v");
    }
    for head in server.join().unwrap() {
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("get /v1/secret/data/maxmind ") && !head.contains("x-vault-token"), "{head}");
    }
}

#[test]
fn vault_is_asked_through_the_proxy() {
    use crate::proxy::Plan;
    use crate::proxy::fake::{FakeProxy, Way};
    let way = FakeProxy::start(Way::Tunnel);
    let fake = Fake::start(|_| Reply::new(200, &[], r#"{"data":{"data":{"k":"v"},"metadata":{}}}"#));
    let mut resolver = with(&[("VAULT_ADDR", &fake.url(super::fake::FAR)), ("VAULT_TOKEN", "token")]);
    resolver.ca_file = Some(fake.ca_file());
    resolver.proxy = Some(Plan { https_proxy: way.url(), ..Plan::default() });
    assert_eq!(resolve(&resolver, "vault://secret/maxmind#k").unwrap(), "v");
    assert_eq!(way.asked().len(), 1);
    // What opens the proxy cannot be asked for through it.
    resolver.proxy.as_mut().unwrap().credentials = "vault://secret/proxy#k".to_owned();
    let error = resolve(&resolver, "vault://secret/maxmind#k").unwrap_err().to_string();
    assert!(
        error.contains("https_proxy_credentials cannot be resolved: vault://") && !error.contains("through"),
        "{error}"
    );
    assert_eq!(way.asked().len(), 1);
}

#[test]
fn a_redirect_does_not_take_the_token_elsewhere() {
    let other = Fake::start(|_| Reply::new(200, &[], r#"{"data":{"data":{"k":"v"}}}"#));
    let target = other.url("localhost");
    let fake = Fake::start(move |s| Reply::new(307, &[("Location", &format!("{target}{}", s.target))], ""));
    let error = resolve(&vault(&fake), "vault://secret/maxmind#k").unwrap_err();
    assert!(!error.is_transient());
    assert!(other.seen().is_empty());
}

#[test]
fn what_vault_answers_otherwise_is_no_secret() {
    let refusals = [400, 403, 404, 405, 426, 451].map(|status| (status, false));
    let passing = [408, 412, 425, 429, 500, 503].map(|status| (status, true));
    for (status, transient) in refusals.into_iter().chain(passing) {
        let fake = Fake::start(move |_| Reply::new(status, &[], "hunter2"));
        let error = resolve(&vault(&fake), "vault://secret/maxmind#k").unwrap_err();
        assert_eq!(error.is_transient(), transient, "{status}: {error}");
        assert!(!error.is_unset() && !error.to_string().contains("hunter2"));
    }
    for body in ["hunter2".to_owned(), "{}".to_owned(), format!(r#"{{"data":"{}"}}"#, "x".repeat(1 << 20))] {
        let fake = Fake::start(move |_| Reply::new(200, &[], &body));
        let error = resolve(&vault(&fake), "vault://secret/maxmind#k").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
    for status in [200, 401, 403, 404] {
        let wall = Fake::start(move |_| Reply::new(status, &[("Content-Type", "text/html")], "<html>blocked</html>"));
        let error = resolve(&vault(&wall), "vault://secret/maxmind#k").unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("not from Vault"), "{status}: {error}");
    }
    let fake = Fake::start(|_| Reply::new(200, &[], r#"{"data":{"data":{"k":"hunter2"}}}"#).cut(5));
    assert!(resolve(&vault(&fake), "vault://secret/maxmind#k").unwrap_err().is_transient());
}
