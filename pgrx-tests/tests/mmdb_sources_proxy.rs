//! Downloads, GreyNoise and Vault through a proxy: with credentials, without, and with proxies that are of no use.

use crate::download_support::*;
use crate::secret_support::{Vault, assert_secret_is_hidden};
use asn_inventory_tests::cluster::private_dir;
use asn_inventory_tests::fakes::files::Files;
use asn_inventory_tests::fakes::proxy::{Proxy, Way};
use std::fs;
use std::time::Instant;

const SOURCES: &str = "asn_inventory.mmdb_sources";
const PASSWORD: &str = "canary-91c7e02d";
/// `user:` and the password, as a header carries them.
const BASIC: &str = "Basic dXNlcjpjYW5hcnktOTFjN2UwMmQ=";

fn start(files: &Files, settings: &[(&str, &str)], env: &[(&str, &str)]) -> Site {
    let sources = format!("far={}/far", files.far_url());
    let ca = files.ca_file().display().to_string();
    let own = [
        ("asn_inventory.maxmind_editions", "far"),
        (SOURCES, &sources),
        ("asn_inventory.tls_ca_file", &ca),
        ("asn_inventory.maxmind_license_key", "env:MAXMIND_LICENSE_KEY"),
        ("log_statement", "all"),
    ];
    let file = private_dir().join("far.mmdb");
    fixtures::small_city(fixtures::days_ago(10)).write(&file).expect("a fixture");
    files.offer("/far", &fs::read(file).expect("a fixture"));
    Site::start_in(&[&own, settings].concat(), env)
}

#[test]
fn a_proxy_with_credentials_opens_the_way_and_they_show_nowhere() {
    let (files, proxy) = (Files::start(&private_dir()), Proxy::start(Way::Only(BASIC)));
    let pair = private_dir().join("proxy");
    fs::write(&pair, format!("user:{PASSWORD}\n")).unwrap();
    let reference = format!("file:{}", pair.display());
    let settings =
        [("asn_inventory.https_proxy", &*proxy.url()), ("asn_inventory.https_proxy_credentials", &reference)];
    let site = start(&files, &settings, &[]);
    site.cluster.sql(DB, "CREATE ROLE alice LOGIN");
    site.cluster.set("log_min_messages", "debug5");
    assert_eq!(site.update(), "done|far: downloaded");
    site.cluster.wait_value(DB, "SELECT ip_country('81.2.69.142')", "GB");
    let target = files.far_url().replace("https://", "");
    assert_eq!(proxy.asked(), [target.as_str()]);
    // Another password in the same place.
    fs::write(&pair, "user:another").unwrap();
    let said = site.update_forced();
    let why = format!(
        "the proxy {} does not accept the credentials of asn_inventory.https_proxy_credentials (407), asked for {target}",
        proxy.name()
    );
    assert!(said.contains(&why), "{said}");
    for secret in [PASSWORD, "dXNlcjpj"] {
        assert_secret_is_hidden(&site.cluster, secret);
    }
    // A password in the setting itself.
    let mut session = site.cluster.connect(DB);
    let refused = session.simple_query("ALTER SYSTEM SET asn_inventory.https_proxy = 'http://user:hunter2@proxy:3128'");
    let refused = refused.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    let told = format!("{} {:?}", refused.message(), refused.detail());
    assert!(told.contains("https_proxy_credentials") && !told.contains("hunter2"), "{told}");
    assert!(!site.cluster.log().contains("invalid value for parameter \"asn_inventory.https_proxy\": \"http"));
}

#[test]
fn a_program_that_holds_the_proxys_credentials_runs_once_a_minute() {
    let (files, proxy) = (Files::start(&private_dir()), Proxy::start(Way::Only(BASIC)));
    let (programs, ran) = (Vault::new(), private_dir().join("ran"));
    let op = programs.program("op", &format!("echo >> '{}'; echo 'user:{PASSWORD}'", ran.display()));
    let settings = [
        ("asn_inventory.https_proxy", &*proxy.url()),
        ("asn_inventory.https_proxy_credentials", "op://Servers/Proxy/login"),
        ("asn_inventory.secret_commands", &op),
    ];
    let site = start(&files, &settings, &[]);
    let begun = Instant::now();
    for _ in 0..3 {
        assert!(site.update_forced().starts_with("done|far: "));
        site.cluster.reload();
    }
    let (runs, spent) = (fs::read(&ran).expect("the file").len(), begun.elapsed());
    assert!(runs as u64 <= 1 + spent.as_secs() / 60, "{runs} in {spent:?}");
}

#[test]
fn a_proxy_of_the_environment_and_one_that_is_of_no_use() {
    let (files, proxy) = (Files::start(&private_dir()), Proxy::start(Way::Tunnel));
    let url = proxy.url();
    let site = start(&files, &[], &[("HTTPS_PROXY", &url), ("NO_PROXY", "elsewhere.example")]);
    assert_eq!(site.update(), "done|far: downloaded");
    let (name, target) = (proxy.name(), files.far_url().replace("https://", ""));
    for (way, why) in [
        (Way::Page(503), format!("the proxy {name} answers with status 503, asked for {target}")),
        // TLS meets a page where the target should speak.
        (Way::Page(200), format!("(through the proxy {name})")),
        (Way::Hangs, format!("the proxy {name} did not answer in time, asked for {target}")),
    ] {
        proxy.becomes(way);
        let said = site.update_forced();
        assert!(said.starts_with("failed|far: ") && said.contains(&why), "{way:?}: {said}");
        assert!(!said.contains("sign in"), "{said}");
        site.cluster.wait_log(&why);
    }
    assert_eq!(site.cluster.value(DB, "SELECT ip_country('81.2.69.142')"), "GB");
    // Directly: nobody else knows the name. This machine is always asked directly.
    let asked = proxy.asked().len();
    site.cluster.set("asn_inventory.no_proxy", ".example");
    let said = site.update_forced();
    assert!(said.starts_with("failed|far: ") && !said.contains("proxy"), "{said}");
    site.cluster.set(SOURCES, &format!("far={}/far", files.url()));
    assert_eq!(site.update_forced(), "done|far: downloaded");
    assert_eq!(proxy.asked().len(), asked);
    // What cannot be read is told by the doctor.
    let proxies = "SELECT level || '|' || detail FROM enrichment_doctor() WHERE check_name = 'proxy'";
    site.cluster.wait_value(
        DB,
        proxies,
        &format!(
            "ok|The proxy {name}, from HTTPS_PROXY in the server's environment, is asked for downloads, GreyNoise and \
             Vault."
        ),
    );
}
