//! Through real sockets and real TLS.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::exempt::Exempt;
use super::fake::{FakeProxy, Way};
use super::*;
use crate::secrets::fake::{Directory, FAR, Fake, Reply};
use crate::secrets::{Patterns, Resolver};
use crate::tls;

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::Fixed(variables.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect::<BTreeMap<_, _>>())
}

fn plan(https_proxy: &str, no_proxy: &str, credentials: &str) -> Plan {
    let owned = str::to_owned;
    Plan { https_proxy: owned(https_proxy), no_proxy: owned(no_proxy), credentials: owned(credentials) }
}

/// By these settings and variables.
fn proxy(plan: Plan, variables: &[(&str, &str)]) -> Result<Option<Proxy>, String> {
    let env_allow = Patterns::parse("*").unwrap();
    Resolver { proxy: Some(plan), environment: environment(variables), env_allow, ..Resolver::default() }.proxy()
}

fn server() -> Fake {
    Fake::start(|_| Reply::new(200, &[], "hello"))
}

/// The answer of the server at that name, or why there is none.
fn ask(fake: &Fake, host: &str, proxy: Option<&Proxy>) -> Result<String, String> {
    let ca = fake.ca_file();
    let config = tls::agent(Duration::from_secs(20), &tls::ca_file(Some(&ca))).unwrap();
    let agent = tls::open(config.timeout_connect(Some(Duration::from_millis(700))), proxy);
    let url: ureq::http::Uri = fake.url(host).parse().unwrap();
    let told = |error: &ureq::Error| tls::failure_at(error, &url, proxy).reason;
    let mut answer = agent.get(&url).call().map_err(|e| told(&e))?;
    answer.body_mut().read_to_string().map_err(|e| told(&e))
}

#[test]
fn a_tunnel_leads_to_the_target_and_its_certificate_counts() {
    let (fake, way) = (server(), FakeProxy::start(Way::Tunnel));
    let through = proxy(plan(&way.url(), "", ""), &[]).unwrap().unwrap();
    assert_eq!(ask(&fake, FAR, Some(&through)).unwrap(), "hello");
    let port = fake.url("x").rsplit(':').next().unwrap().to_owned();
    let asked = way.asked();
    assert!(asked[0].starts_with(&format!("CONNECT {FAR}:{port} HTTP/1.1\r\nHost: {FAR}:{port}\r\n")), "{asked:?}");
    assert!(!asked[0].contains("Proxy-Authorization"));
    // It leads to a server with a certificate for another name.
    let wrong = ask(&fake, "elsewhere.example", Some(&through)).unwrap_err();
    assert!(wrong.contains("TLS") && wrong.contains(&format!("(through the proxy {})", way.name())), "{wrong}");
    assert_eq!(fake.seen().len(), 1);
}

#[test]
fn loopback_and_exempt_hosts_are_asked_directly() {
    let (fake, way) = (server(), FakeProxy::start(Way::Hangs));
    let through = proxy(plan(&way.url(), "", ""), &[]).unwrap().unwrap();
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(ask(&fake, host, Some(&through)).unwrap(), "hello");
    }
    let exempt = proxy(plan(&way.url(), FAR, ""), &[]).unwrap().unwrap();
    // Nobody but the proxy knows the name.
    let direct = ask(&fake, FAR, Some(&exempt)).unwrap_err();
    assert!(!direct.contains("proxy"), "{direct}");
    assert_eq!(way.asked(), [""; 0]);
}

#[test]
fn credentials_are_sent_to_the_proxy_alone() {
    let way = FakeProxy::start(Way::Only("Basic bWU6aHVudGVyMg=="));
    let (fake, directory) = (server(), Directory::new());
    let file = format!("file:{}", directory.write("pair", "me:hunter2\n").display());
    let at = way.url();
    let inside = at.replace("http://", "http://me:hunter%32@");
    for (plan, variables) in [
        (plan(&at, "", &file), vec![]),
        (plan(&at, "", "env:PROXY_LOGIN"), vec![("PROXY_LOGIN", "me:hunter2")]),
        (plan("", "", ""), vec![("https_proxy", inside.as_str())]),
        (plan("", "", &file), vec![("HTTPS_PROXY", at.as_str())]),
    ] {
        let through = proxy(plan, &variables).unwrap().unwrap();
        assert_eq!(ask(&fake, FAR, Some(&through)).unwrap(), "hello");
        assert!(!format!("{through:?}").contains("hunter2") && !format!("{through:?}").contains("bWU6"));
    }
    assert!(fake.seen().iter().all(|seen| seen.header("proxy-authorization").is_none()));
    // What is refused is told by the place that names it.
    let wrong = at.replace("http://", "http://me:hunter3@");
    for (plan, variables, place) in [
        (plan(&at, "", ""), vec![], "wants credentials (407), and asn_inventory.https_proxy_credentials is not set"),
        (
            plan(&at, "", "env:PROXY_LOGIN"),
            vec![("PROXY_LOGIN", "me:hunter3")],
            "does not accept the credentials of asn_inventory.https_proxy_credentials (407)",
        ),
        (
            plan("", "", ""),
            vec![("https_proxy", wrong.as_str())],
            "does not accept the credentials of https_proxy in the server's environment (407)",
        ),
    ] {
        let through = proxy(plan, &variables).unwrap().unwrap();
        let refused = ask(&fake, FAR, Some(&through)).unwrap_err();
        assert!(refused.starts_with(&format!("the proxy {} {place}, asked for {FAR}:", way.name())), "{refused}");
        assert!(!refused.contains("hunter"), "{refused}");
    }
}

#[test]
fn what_is_not_a_tunnel_is_told_with_both_names_and_in_time() {
    const PAGE: &str = "<html><body>Please sign in</body></html>";
    for (way, why) in [
        (Way::Says("HTTP/1.1 503 X\r\nContent-Type: text/html\r\n\r\n<html>"), "answers with status 503"),
        (
            Way::Says("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body>Please sign in</body></html>"),
            "through the proxy",
        ),
        (Way::Says(PAGE), "does not answer as a proxy does"),
        (Way::Says("HTTP/1.1 302 Found\r\nLocation: https://portal.example/\r\n\r\n"), "answers with status 302"),
        (Way::Says(""), "closed the connection"),
        (Way::Says("HTTP/1.1 200"), "closed the connection"),
        (Way::Hangs, "did not answer in time"),
        (Way::Drips("HTTP/1.1 200 OK\r\nX: y\r\n", Duration::from_millis(100)), "did not answer in time"),
        (Way::Drips("HTTP/1.1 2 X", Duration::ZERO), "does not answer as a proxy does"),
    ] {
        let (fake, fake_proxy) = (server(), FakeProxy::start(way));
        let through = proxy(plan(&fake_proxy.url(), "", ""), &[]).unwrap().unwrap();
        let started = Instant::now();
        let error = ask(&fake, FAR, Some(&through)).unwrap_err();
        assert!(error.contains(why) && error.contains(&fake_proxy.name()), "{why}: {error}");
        assert!(!error.contains("sign in") && !error.contains("portal"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10), "{why}: {:?}", started.elapsed());
        assert!(fake.seen().is_empty());
    }
    let closed = proxy(plan("http://127.0.0.1:1", "", ""), &[]).unwrap().unwrap();
    let error = ask(&server(), FAR, Some(&closed)).unwrap_err();
    assert!(error.starts_with("the proxy 127.0.0.1:1 cannot be reached: "), "{error}");
}

#[test]
fn settings_stand_before_the_environment_and_name_no_password() {
    let of = |plan, variables: &[(&str, &str)]| proxy(plan, variables).unwrap().map(|proxy| proxy.name());
    let env = [("https_proxy", "http://one:1/"), ("HTTPS_PROXY", "two:2"), ("no_proxy", "a.example, ,?,10.0.0.0/8")];
    assert_eq!(of(plan("", "", ""), &[]), None);
    assert_eq!(of(plan("", "", ""), &env).as_deref(), Some("one:1"));
    assert_eq!(of(plan("", "", ""), &env[1..]).as_deref(), Some("two:2"));
    assert_eq!(of(plan("HTTP://three:3", "", ""), &env).as_deref(), Some("three:3"));
    assert!(!proxy(plan("", "", ""), &env).unwrap().unwrap().is_for("x.a.example", 443));
    assert!(proxy(plan("", "b.example", ""), &env).unwrap().unwrap().is_for("x.a.example", 443));
    assert_eq!(Resolver { environment: environment(&env), ..Resolver::default() }.proxy(), Ok(None));
    for (plan, variables, why) in [
        (plan("http://me:hunter2@p:1", "", ""), vec![], "https_proxy: It must not contain a user"),
        (plan("https://p:1", "", ""), vec![], "https_proxy: It must begin with http://"),
        (plan("p", "", ""), vec![], "https_proxy: It must name a host and a port"),
        (plan("p:1", "hunter2 ?", ""), vec![], "no_proxy: Hosts"),
        (plan("p:1", "", "hunter2:hunter2"), vec![], "https_proxy_credentials: not a reference"),
        (plan("p:1", "", "env:A"), vec![], "https_proxy_credentials cannot be resolved: env:A: "),
        (
            plan("p:1", "", "env:A"),
            vec![("A", "hunter2")],
            "https_proxy_credentials: The credentials must be user:password",
        ),
    ] {
        let refused = proxy(plan, &variables).unwrap_err();
        assert!(refused.starts_with(&format!("asn_inventory.{why}")) && !refused.contains("hunter2"), "{refused}");
    }
    for (name, text, why) in [
        ("HTTPS_PROXY", "socks5://me:hunter2@p:1", "It must begin with http://"),
        ("HTTPS_PROXY", "http://hunter2@p:1", "The credentials must be user:password"),
        ("https_proxy", "http://hunter2@p:1", "The credentials must be user:password"),
    ] {
        let refused = proxy(plan("", "", ""), &[(name, text)]).unwrap_err();
        assert!(refused.starts_with(&format!("{name} in the server's environment: {why}")), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
    let named = |plan: Plan| plan.named(&environment(&env)).unwrap().map(|(name, place)| format!("{name} {place}"));
    assert_eq!(named(plan("", "", "")).unwrap(), "one:1 https_proxy in the server's environment");
    assert_eq!(named(plan("three:3", "", "")).unwrap(), "three:3 asn_inventory.https_proxy");
}

#[test]
fn no_proxy_is_read_as_other_programs_read_it() {
    let list =
        "exact.example, .domain.example *.star.example,10.0.0.0/8 2001:db8::/32,192.0.2.7,port.example:8443,[::2]";
    let exempt = Exempt::parse(list).unwrap();
    for (host, covered) in [
        ("exact.example", true),
        ("EXACT.example.", true),
        ("sub.exact.example", true),
        ("inexact.example", false),
        ("domain.example", true),
        ("a.domain.example", true),
        ("x.star.example", true),
        ("10.1.2.3", true),
        ("11.1.2.3", false),
        ("[2001:db8::5]", true),
        ("[2001:db9::5]", false),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("[::2]", true),
        ("port.example", false),
        ("10.1.2.3.example", false),
    ] {
        assert_eq!(exempt.covers(host, 443), covered, "{host}");
    }
    assert!(exempt.covers("port.example", 8443));
    assert!(Exempt::parse("*").unwrap().covers("any.example", 1));
    let on_a_port = Exempt::parse("*:443").unwrap();
    assert!(on_a_port.covers("any.example", 443) && !on_a_port.covers("any.example", 1));
    assert!(!Exempt::parse("").unwrap().covers("any.example", 1));
    for text in ["?", "a b/c", "https://x", "*x*", "a:b", ".", "host:99999", "*:", "*:x"] {
        assert!(Exempt::parse(text).is_err(), "{text}");
    }
    assert_eq!(Exempt::parse_leniently("?, a.example"), Exempt::parse("a.example").unwrap());
}

#[test]
fn a_loopback_host_is_told_by_its_words() {
    for (host, here) in [
        ("localhost", true),
        ("LocalHost.", true),
        ("a.localhost", true),
        ("127.0.0.1", true),
        ("127.9.9.9", true),
        ("[::1]", true),
        ("[::ffff:127.0.0.1]", true),
        ("localhost.example", false),
        ("127.0.0.1.example", false),
        ("10.0.0.1", false),
        ("0.0.0.0", false),
    ] {
        assert_eq!(url::is_loopback(host), here, "{host}");
    }
}
