//! GreyNoise's key from Vault: found, used, shown nowhere.

use crate::secret_support::*;
use asn_inventory_tests::cluster::private_dir;
use asn_inventory_tests::fakes::vault::{TOKEN, Vault as VaultServer};

#[test]
fn a_key_that_vault_holds() {
    let (keys, vault) = (Vault::new(), VaultServer::start(&private_dir()));
    vault.hold("team/kv/data/greynoise", "api_key", CANARY);
    let ca = keys.fakes.settings().into_iter().find(|(name, _)| name.ends_with("tls_ca_file")).expect("a setting").1;
    let both = vault.trusted_beside(ca.as_ref()).display().to_string();
    let env = vault.env();
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let cluster = keys.cluster("vault://team/kv/data/greynoise#api_key", &[("asn_inventory.tls_ca_file", &both)], &env);
    keys.assert_answers(&cluster);
    assert_hidden(&cluster);
    assert_secret_is_hidden(&cluster, TOKEN);
    assert_eq!(vault.asked()[0], "team/kv/data/greynoise");
}

#[test]
fn a_missing_vault_field_is_reported() {
    let (keys, vault) = (Vault::new(), VaultServer::start(&private_dir()));
    vault.hold("secret/data/greynoise", "other", CANARY);
    let ca = keys.fakes.settings().into_iter().find(|(name, _)| name.ends_with("tls_ca_file")).expect("a setting").1;
    let both = vault.trusted_beside(ca.as_ref()).display().to_string();
    let env = vault.env();
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let cluster = keys.cluster("vault://secret/greynoise#api_key", &[("asn_inventory.tls_ca_file", &both)], &env);
    keys.assert_refused(&cluster, "vault://secret/greynoise#api_key: ");
    assert_hidden(&cluster);
    vault.hold("secret/data/greynoise", "api_key", CANARY);
    cluster.reload();
    keys.assert_answers(&cluster);
    assert_hidden(&cluster);
}

const REFERENCE: &str = "vault://secret/data/greynoise#api_key";
const STATE: &str = "SELECT state FROM source_status WHERE source = 'greynoise'";

/// The fakes' certificate, which is not an authority.
fn fakes_ca(keys: &Vault) -> String {
    keys.fakes.settings().into_iter().find(|(name, _)| name.ends_with("tls_ca_file")).expect("a setting").1
}

#[test]
fn an_untrusted_vault_is_not_asked() {
    let (keys, vault) = (Vault::new(), VaultServer::start(&private_dir()));
    vault.hold("secret/data/greynoise", "api_key", CANARY);
    let env = vault.env();
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let cluster = keys.cluster(REFERENCE, &[("asn_inventory.tls_ca_file", &fakes_ca(&keys))], &env);
    keys.assert_refused(&cluster, "vault://secret/data/greynoise#api_key: Vault does not answer: TLS: ");
    // An unknown server could be there: the token goes with the question.
    assert_eq!(vault.asked(), [""; 0]);
    assert_secret_is_hidden(&cluster, TOKEN);
    cluster.set("asn_inventory.tls_ca_file", &vault.trusted_beside(fakes_ca(&keys).as_ref()).display().to_string());
    keys.assert_answers(&cluster);
    assert_hidden(&cluster);
}

#[test]
fn a_refused_vault_token_gives_no_key() {
    let (keys, vault) = (Vault::new(), VaultServer::start(&private_dir()));
    vault.hold("secret/data/greynoise", "api_key", CANARY);
    let both = vault.trusted_beside(fakes_ca(&keys).as_ref()).display().to_string();
    let [(_, address), _] = vault.env();
    let wrong = "hvs.another-token";
    let env = [("VAULT_ADDR", address.as_str()), ("VAULT_TOKEN", wrong)];
    let cluster = keys.cluster(REFERENCE, &[("asn_inventory.tls_ca_file", &both)], &env);
    keys.assert_refused(&cluster, &format!("{REFERENCE}: Vault does not accept VAULT_TOKEN for this path"));
    let asked = ["secret/data/greynoise", "sys/internal/ui/mounts/secret/greynoise"];
    assert_eq!(vault.asked(), asked, "asked again and again");
    assert_hidden(&cluster);
    assert_secret_is_hidden(&cluster, wrong);
}

#[test]
fn a_key_survives_a_failing_vault_but_not_a_refusal() {
    let (keys, vault) = (Vault::new(), VaultServer::start(&private_dir()));
    keys.fakes.scanner(Scanner::noise("218.92.0.68".parse().unwrap(), "benign", "unknown"));
    vault.hold("secret/data/greynoise", "api_key", CANARY);
    let both = vault.trusted_beside(fakes_ca(&keys).as_ref()).display().to_string();
    let env = vault.env();
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let cluster = keys.cluster(REFERENCE, &[("asn_inventory.tls_ca_file", &both)], &env);
    keys.assert_answers(&cluster);
    let says = |status, why: &str| {
        vault.status(Some(status));
        cluster.reload();
        cluster.wait_log(&format!("asn_inventory.greynoise_api_key cannot be resolved: {REFERENCE}: {why}"));
    };
    says(503, "Vault answers 503");
    observe(&cluster, "218.92.0.68");
    let row = "SELECT scanner_classification FROM ip_inventory WHERE ip_address = '218.92.0.68'";
    cluster.wait_value(DB, row, "benign");
    says(403, "Vault does not accept VAULT_TOKEN for this path");
    cluster.wait_value(DB, STATE, "no key");
    vault.status(None);
    cluster.reload();
    cluster.wait_value(DB, STATE, "ok");
    assert_hidden(&cluster);
    assert_secret_is_hidden(&cluster, TOKEN);
}

#[test]
fn a_vault_that_comes_up_after_the_server_is_asked_again() {
    let (keys, vault) = (Vault::new(), VaultServer::start(&private_dir()));
    vault.hold("secret/data/greynoise", "api_key", CANARY);
    vault.status(Some(503));
    let both = vault.trusted_beside(fakes_ca(&keys).as_ref()).display().to_string();
    let env = vault.env();
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let cluster = keys.cluster(REFERENCE, &[("asn_inventory.tls_ca_file", &both)], &env);
    keys.assert_refused(&cluster, &format!("{REFERENCE}: Vault answers 503"));
    vault.status(None);
    // Without a reload.
    keys.assert_answers(&cluster);
    cluster.wait_log("asn_inventory.greynoise_api_key resolves now");
    assert_hidden(&cluster);
}
