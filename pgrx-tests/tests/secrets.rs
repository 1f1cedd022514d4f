//! GreyNoise's key by reference: found wherever it stands, shown nowhere, and refused where it stands badly.

mod secret_support;

use secret_support::*;

#[test]
fn a_key_in_the_environment() {
    let vault = Vault::new();
    let cluster = vault.cluster("env:GREYNOISE_API_KEY", &[], &[("GREYNOISE_API_KEY", CANARY)]);
    vault.assert_answers(&cluster);
    assert_hidden(&cluster);
}

#[test]
fn only_variables_that_are_meant_for_it_are_read() {
    let vault = Vault::new();
    let cluster = vault.cluster("env:OTHER_KEY", &[], &[("OTHER_KEY", CANARY)]);
    vault.assert_refused(&cluster, "env:OTHER_KEY: this variable may not be read");
    assert_hidden(&cluster);
    // Until somebody allows it.
    cluster.set("asn_inventory.secret_environment", "GREYNOISE_*, OTHER_*");
    vault.assert_answers(&cluster);
    assert_hidden(&cluster);
}

#[test]
fn a_key_in_a_file_that_nobody_else_may_write() {
    let vault = Vault::new();
    let file = vault.key_file(0o666);
    let reference = format!("file:{}", file.display());
    let cluster = vault.cluster(&reference, &[], &[]);
    vault.assert_refused(&cluster, &format!("{reference}: its group or others may write it"));
    vault.key_file(0o644);
    cluster.reload();
    vault.assert_answers(&cluster);
    assert_hidden(&cluster);
}

#[test]
fn a_file_that_is_not_there_is_no_key_and_nothing_to_complain_of() {
    let vault = Vault::new();
    let file = vault.dir.join("greynoise.key");
    let cluster = vault.cluster(&format!("file:{}", file.display()), &[], &[]);
    cluster.wait_value(DB, "SELECT state FROM source_status WHERE source = 'greynoise'", "no key");
    assert!(!cluster.log().contains("can't be resolved"));
    vault.key_file(0o644);
    cluster.reload();
    vault.assert_answers(&cluster);
}

#[test]
fn a_key_that_1password_holds() {
    let vault = Vault::new();
    let script = format!("[ \"$1 $2\" = 'read op://Servers/GreyNoise/key' ] && echo '{CANARY}'");
    let op = vault.program("op", &script);
    let cluster = vault.cluster("op://Servers/GreyNoise/key", &[("asn_inventory.secret_commands", &op)], &[]);
    vault.assert_answers(&cluster);
    assert_hidden(&cluster);
}

#[test]
fn a_key_that_aws_holds() {
    let vault = Vault::new();
    let script = format!(
        r#"case "$*" in
  'secretsmanager get-secret-value --secret-id greynoise --query SecretString --output json --region eu-central-1')
    printf '%s\n' '"{{\"key\":\"{CANARY}\"}}"' ;;
  *) exit 2 ;;
esac"#
    );
    let aws = vault.program("aws", &script);
    let reference = "aws-sm://eu-central-1/greynoise#key";
    let cluster = vault.cluster(reference, &[("asn_inventory.secret_commands", &aws)], &[]);
    vault.assert_answers(&cluster);
    assert_hidden(&cluster);
}

#[test]
fn a_key_that_sops_decrypts() {
    let vault = Vault::new();
    let script = format!(
        r#"[ "$*" = '--decrypt --output-type json /etc/keys.yaml' ] && echo '{{"greynoise":{{"key":"{CANARY}"}}}}'"#
    );
    let sops = vault.program("sops", &script);
    let reference = "sops:///etc/keys.yaml#greynoise.key";
    let cluster = vault.cluster(reference, &[("asn_inventory.secret_commands", &sops)], &[]);
    vault.assert_answers(&cluster);
    assert_hidden(&cluster);
}

#[test]
fn no_program_runs_that_no_setting_names() {
    let vault = Vault::new();
    // It would be found by the search path.
    let ran = vault.dir.join("ran");
    let op = vault.program("op", &format!("touch '{}'; echo '{CANARY}'", ran.display()));
    let path = format!("{}:/usr/bin:/bin", vault.dir.display());
    let cluster = vault.cluster("op://Servers/GreyNoise/key", &[], &[("PATH", &path)]);
    vault.assert_refused(
        &cluster,
        "op://Servers/GreyNoise/key: may not be resolved: secret_commands does not name the program \"op\"",
    );
    assert!(!ran.exists());
    // Named, it runs.
    cluster.set("asn_inventory.secret_commands", &op);
    vault.assert_answers(&cluster);
    assert!(ran.exists());
    assert_hidden(&cluster);
}

#[test]
fn what_a_failing_program_prints_is_told_to_nobody() {
    let vault = Vault::new();
    let op = vault.program("op", &format!("echo '{CANARY}'; echo '{CANARY}' >&2; exit 3"));
    let cluster = vault.cluster("op://Servers/GreyNoise/key", &[("asn_inventory.secret_commands", &op)], &[]);
    cluster.wait_log(
        "op://Servers/GreyNoise/key: op ended with exit status 3; run it by hand as the server's user to see why",
    );
    assert_hidden(&cluster);
    assert_eq!(vault.fakes.count(Service::Greynoise), 0);
}

#[test]
fn a_program_sees_its_own_credentials_and_no_others() {
    let vault = Vault::new();
    let seen = vault.dir.join("seen");
    let op = vault.program("op", &format!("env > '{}'; echo '{CANARY}'", seen.display()));
    let env =
        [("OP_SERVICE_ACCOUNT_TOKEN", "op-token"), ("MAXMIND_LICENSE_KEY", "other-key"), ("AWS_SECRET", "aws-key")];
    let cluster = vault.cluster("op://Servers/GreyNoise/key", &[("asn_inventory.secret_commands", &op)], &env);
    vault.assert_answers(&cluster);
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("OP_SERVICE_ACCOUNT_TOKEN=op-token"), "{seen}");
    assert!(!seen.contains("other-key") && !seen.contains("aws-key"), "{seen}");
}

#[test]
fn a_key_pasted_into_the_setting_is_refused_and_not_repeated() {
    let vault = Vault::new();
    let cluster = vault.cluster("env:GREYNOISE_API_KEY", &[], &[]);
    cluster.set("asn_inventory.greynoise_api_key", "pasted-0123456789abcdef");
    cluster.wait_log("invalid value for parameter \"asn_inventory.greynoise_api_key\"");
    assert_eq!(cluster.value(DB, "SHOW asn_inventory.greynoise_api_key"), "env:GREYNOISE_API_KEY");
    let failure = cluster.fails(DB, "ALTER SYSTEM SET asn_inventory.greynoise_api_key = 'pasted-0123456789abcdef'");
    assert!(!failure.detail.contains("pasted") && !failure.hint.contains("pasted"), "{failure:?}");
}
