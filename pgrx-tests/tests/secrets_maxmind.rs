//! MaxMind's key by reference: from Vault and from vendors' programs, read again for each download, and not shown
//! during its use or afterwards.

use crate::download_support::{Asked, BOTH_DOWNLOADED, KEY, Site, Trouble};
use crate::secret_support::*;
use asn_inventory_tests::cluster::private_dir;
use asn_inventory_tests::fakes::vault::{TOKEN, Vault as VaultServer};
use std::fs;

const REFERENCE: &str = "vault://secret/maxmind#license_key";
const PATH: &str = "secret/data/maxmind";

/// A site whose key is elsewhere.
fn site(reference: &str, settings: &[(&str, &str)], env: &[(&str, &str)]) -> Site {
    let key = [("asn_inventory.maxmind_license_key", reference), ("log_statement", "all")];
    let site = Site::start_in(&[&key, settings].concat(), env);
    // Before that, at debug3 and below, PostgreSQL itself writes its whole environment into the log.
    site.cluster.set("log_min_messages", "debug5");
    site.cluster.sql(DB, "CREATE ROLE alice LOGIN");
    site.maxmind.offer(10);
    site
}

/// A site that asks Vault.
fn site_with_vault(vault: &VaultServer, token: &str) -> Site {
    let [(address, url), (name, _)] = vault.env();
    let site = site(REFERENCE, &[], &[(address, &url), (name, token)]);
    let both = vault.trusted_beside(&site.maxmind.ca_file());
    site.cluster.set("asn_inventory.tls_ca_file", &both.display().to_string());
    site
}

/// It is found, it works, and it is not visible: in the middle of a download, and after it.
fn assert_downloads(site: &Site) {
    site.maxmind.trouble(Trouble::Hold);
    let before = site.maxmind.downloads();
    let job = site.submit(DB, false);
    wait_until("a download in its middle", || site.maxmind.downloads() == before + 1);
    assert_secret_is_hidden(&site.cluster, KEY);
    site.maxmind.trouble(None);
    assert_eq!(site.outcome(DB, &job), BOTH_DOWNLOADED);
    site.wait_build(10);
    assert_secret_is_hidden(&site.cluster, KEY);
    let with_key = |asked: &Asked| asked.with_key;
    assert!(site.maxmind.asked().iter().any(with_key));
}

#[test]
fn a_key_in_the_environment() {
    assert_downloads(&site("env:MAXMIND_LICENSE_KEY", &[], &[("MAXMIND_LICENSE_KEY", KEY)]));
}

#[test]
fn a_key_that_vault_holds() {
    let vault = VaultServer::start(&private_dir());
    let site = site_with_vault(&vault, TOKEN);
    // Nothing there: the reason names the reference, and MaxMind is not asked.
    let said = site.update();
    assert_eq!(
        said,
        "failed|asn_inventory.maxmind_license_key cannot be resolved: vault://secret/maxmind#license_key: Vault has \
         no such secret"
    );
    assert_eq!(site.requests(), 0);
    vault.hold(PATH, "license_key", KEY);
    assert_downloads(&site);
    assert_secret_is_hidden(&site.cluster, TOKEN);
    let mount = "sys/internal/ui/mounts/secret/maxmind";
    assert!(vault.asked().iter().all(|path| path == PATH || path == mount), "{:?}", vault.asked());
    // It is read each time: a key that was replaced in Vault is used.
    let before = vault.asked().len();
    vault.hold(PATH, "license_key", "yesterday's key");
    site.maxmind.offer(5);
    assert!(site.update().contains("(401)"));
    assert!(vault.asked().len() > before);
    // Vault in trouble: said, and not a matter for MaxMind.
    vault.status(Some(503));
    let before = site.requests();
    let said = site.update_forced();
    assert!(
        said.starts_with("failed|asn_inventory.maxmind_license_key ") && said.contains("Vault answers 503"),
        "{said}"
    );
    assert_eq!(site.requests(), before);
    vault.status(None);
    vault.hold(PATH, "license_key", KEY);
    assert_eq!(site.update_forced(), BOTH_DOWNLOADED);
    site.wait_build(5);
}

#[test]
fn a_refused_vault_token_is_reported_without_being_shown() {
    let vault = VaultServer::start(&private_dir());
    vault.hold(PATH, "license_key", KEY);
    let site = site_with_vault(&vault, "hvs.another-token");
    let said = site.update();
    assert!(said.contains("Vault does not accept VAULT_TOKEN for this path"), "{said}");
    assert_secret_is_hidden(&site.cluster, "hvs.another-token");
    assert_eq!(site.requests(), 0);
}

#[test]
fn a_vault_with_an_untrusted_certificate_gets_no_token() {
    let vault = VaultServer::start(&private_dir());
    vault.hold(PATH, "license_key", KEY);
    let env = vault.env();
    let site = site(REFERENCE, &[], &env.each_ref().map(|(name, value)| (*name, value.as_str())));
    let said = site.update();
    assert!(said.contains("Vault does not answer: "), "{said}");
    assert_eq!((vault.asked().len(), site.requests()), (0, 0));
}

#[test]
fn keys_that_programs_hold() {
    let programs = Vault::new();
    for (name, reference, arguments, answer) in [
        ("op", "op://Servers/MaxMind/key", "read op://Servers/MaxMind/key", KEY.to_owned()),
        (
            "aws",
            "aws-sm://eu-central-1/maxmind#key",
            "secretsmanager get-secret-value --secret-id maxmind --query SecretString --output json --region eu-central-1",
            json!(json!({ "key": KEY }).to_string()).to_string(),
        ),
        (
            "sops",
            "sops:///etc/keys.yaml#maxmind.key",
            "--decrypt --output-type json /etc/keys.yaml",
            json!({ "maxmind": { "key": KEY } }).to_string(),
        ),
    ] {
        let answer_file = programs.dir.join(format!("{name}.answer"));
        fs::write(&answer_file, answer).unwrap();
        let script = format!(
            "case \"$*\" in '{arguments}'*) cat '{}' ;; *) echo \"$*\" >&2; exit 2 ;; esac",
            answer_file.display()
        );
        let program = programs.program(name, &script);
        assert_downloads(&site(reference, &[("asn_inventory.secret_commands", &program)], &[]));
    }
}
