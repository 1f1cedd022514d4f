//! Other Vaults: a mount of version 1, a certificate and a token in files, an agent on this machine; and files of keys that
//! a container mounts under another owner.

use crate::secret_support::*;
use asn_inventory_tests::cluster::private_dir;
use asn_inventory_tests::fakes::vault::{TOKEN, Vault as VaultServer};
use std::fs;

const REFERENCE: &str = "vault://secret/greynoise#api_key";

#[test]
fn a_mount_of_version_1_by_a_token_and_a_certificate_in_files() {
    let (keys, vault) = (Vault::new(), VaultServer::start(&private_dir()));
    vault.first_version("secret");
    vault.hold("secret/greynoise", "api_key", CANARY);
    let token = private_dir().join("token");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let [(address, url), _] = vault.env();
    let (token, ca) = (token.display().to_string(), vault.ca_file().display().to_string());
    let env = [(address, &*url), ("VAULT_TOKEN_FILE", &token), ("VAULT_CACERT", &ca)];
    let cluster = keys.cluster(REFERENCE, &[], &env);
    keys.assert_answers(&cluster);
    assert_eq!(
        vault.asked()[..3],
        ["secret/data/greynoise", "sys/internal/ui/mounts/secret/greynoise", "secret/greynoise"]
    );
    assert_hidden(&cluster);
    assert_secret_is_hidden(&cluster, TOKEN);
}

#[test]
fn an_agent_on_this_machine() {
    let (keys, vault) = (Vault::new(), VaultServer::start(&private_dir()));
    vault.hold("secret/data/greynoise", "api_key", CANARY);
    let cluster = keys.cluster(REFERENCE, &[], &[("VAULT_AGENT_ADDR", &vault.agent_url())]);
    keys.assert_answers(&cluster);
    assert_hidden(&cluster);
}

#[test]
fn a_mounted_file_of_another_owner_needs_a_setting() {
    let keys = Vault::new();
    let file = keys.key_file(0o644);
    // Only root can give a file away.
    if std::os::unix::fs::chown(&file, Some(12_345), None).is_err() {
        return;
    }
    let reference = format!("file:{}", file.display());
    let cluster = keys.cluster(&reference, &[], &[]);
    keys.assert_refused(&cluster, &format!("{reference}: belongs neither to root nor to the server's user"));
    cluster.set("asn_inventory.secret_file_owners", "12345");
    keys.assert_answers(&cluster);
    assert_hidden(&cluster);
}
