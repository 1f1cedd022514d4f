//! GreyNoise's key from Vault: found, used, shown nowhere.

mod secret_support;

use asn_inventory_tests::cluster::private_dir;
use asn_inventory_tests::fakes::vault::{TOKEN, Vault as VaultServer};
use secret_support::*;

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
fn a_field_that_vault_does_not_hold_is_no_key() {
    let (keys, vault) = (Vault::new(), VaultServer::start(&private_dir()));
    vault.hold("secret/data/greynoise", "other", CANARY);
    let ca = keys.fakes.settings().into_iter().find(|(name, _)| name.ends_with("tls_ca_file")).expect("a setting").1;
    let both = vault.trusted_beside(ca.as_ref()).display().to_string();
    let env = vault.env();
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let cluster = keys.cluster("vault://secret/greynoise#api_key", &[("asn_inventory.tls_ca_file", &both)], &env);
    keys.assert_refused(&cluster, "vault://secret/data/greynoise#api_key: ");
    assert_hidden(&cluster);
    vault.hold("secret/data/greynoise", "api_key", CANARY);
    cluster.reload();
    keys.assert_answers(&cluster);
    assert_hidden(&cluster);
}
