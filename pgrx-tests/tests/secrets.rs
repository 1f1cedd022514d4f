//! GreyNoise's key by reference: found wherever it stands, shown nowhere, and refused where it stands badly.

use crate::secret_support::*;

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
    // Until it is allowed.
    cluster.set("asn_inventory.secret_environment", "GREYNOISE_*, OTHER_*");
    vault.assert_answers(&cluster);
    assert_hidden(&cluster);
}

#[test]
fn a_key_in_a_file_that_only_its_owner_may_write() {
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
fn a_set_reference_to_nothing_is_reported_until_it_resolves() {
    let vault = Vault::new();
    let file = vault.dir.join("greynoise.key");
    let reference = format!("file:{}", file.display());
    let cluster = vault.cluster(&reference, &[], &[]);
    vault.assert_refused(&cluster, &format!("{reference}: there is no such file"));
    let state = "SELECT state, detail FROM secret_references() WHERE setting = 'greynoise_api_key'";
    assert_eq!(cluster.lines(DB, state), [format!("missing|{reference}: there is no such file")]);
    // A file that is mounted late: without a reload.
    vault.key_file(0o644);
    vault.assert_answers(&cluster);
    assert_eq!(cluster.lines(DB, state), [format!("resolves|{reference} resolves")]);
}

#[test]
fn an_unset_default_reference_is_not_reported() {
    let cluster = Cluster::builder().start();
    cluster.sql(DB, "CREATE EXTENSION asn_inventory");
    cluster.wait_value(DB, "SELECT state FROM source_status WHERE source = 'greynoise'", "no key");
    assert_eq!(cluster.value(DB, "SELECT string_agg(DISTINCT state, ' ') FROM secret_references()"), "unset");
    assert!(!cluster.log().contains("cannot be resolved"));
    // Set, it is another matter, even if it says the same.
    cluster.set("asn_inventory.maxmind_license_key", "env:MAXMIND_LICENSE_KEY");
    cluster.wait_log("asn_inventory.maxmind_license_key cannot be resolved: env:MAXMIND_LICENSE_KEY: is not set");
    let states = "SELECT setting, state FROM secret_references()";
    assert_eq!(cluster.lines(DB, states), ["maxmind_license_key|missing", "greynoise_api_key|unset"]);
}

#[test]
fn a_refused_key_that_is_replaced_in_its_file_is_found_without_a_reload() {
    let vault = Vault::new();
    let file = vault.key_file(0o644);
    std::fs::write(&file, "yesterday\n").unwrap();
    let cluster = vault.cluster(&format!("file:{}", file.display()), &[], &[]);
    observe(&cluster, "218.92.0.68");
    cluster.wait_value(DB, "SELECT state FROM source_status WHERE source = 'greynoise'", "refused");
    vault.key_file(0o644);
    vault.assert_answers(&cluster);
    assert_hidden(&cluster);
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
fn only_programs_named_in_the_settings_run() {
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
fn a_program_that_hangs_ends_with_the_worker() {
    let vault = Vault::new();
    let note = vault.dir.join("pids");
    std::fs::write(&note, "").unwrap();
    chmod(&note, 0o666);
    let script = format!("trap '' TERM HUP INT; sleep 1000 & echo $! $$ >'{}'; wait", note.display());
    let op = vault.program("op", &script);
    let cluster = vault.cluster("op://Servers/GreyNoise/key", &[("asn_inventory.secret_commands", &op)], &[]);
    let pids = || -> Vec<String> {
        let text = std::fs::read_to_string(&note).unwrap();
        text.split_whitespace().map(str::to_owned).collect()
    };
    // One that has ended but is not reaped has no command line.
    let alive = |pids: &[String]| {
        pids.iter().any(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()))
    };
    // Those that PostgreSQL ends itself: the worker alone, and a server that shuts down.
    let running = wait_for("a program that hangs", pids, |pids| pids.len() == 2);
    assert!(alive(&running));
    std::fs::write(&note, "").unwrap();
    cluster.sql(DB, "SELECT pg_terminate_backend(worker_pid) FROM enrichment_status");
    wait_until("its end with the worker", || !alive(&running));
    let running = wait_for("another one of the next worker", pids, |pids| pids.len() == 2);
    assert!(alive(&running));
    // A killed worker cannot do that: the next one does.
    std::fs::write(&note, "").unwrap();
    cluster.kill9(cluster.pid_of("asn_inventory worker").expect("a worker"));
    wait_until("its program's end", || !alive(&running));
    let running = wait_for("one more", pids, |pids| pids.len() == 2);
    cluster.stop_fast();
    // Now there is no next worker that would end it.
    wait_until("its end with the server", || !alive(&running));
}

#[test]
fn a_program_gets_no_open_files_of_the_server() {
    let vault = Vault::new();
    let seen = vault.dir.join("seen");
    std::fs::write(&seen, "").unwrap();
    chmod(&seen, 0o666);
    let op = vault.program(
        "op",
        &format!("for f in /proc/$$/fd/*; do echo \"$(readlink $f)\"; done >'{}'; echo '{CANARY}'", seen.display()),
    );
    let cluster = vault.cluster("op://Servers/GreyNoise/key", &[("asn_inventory.secret_commands", &op)], &[]);
    vault.assert_answers(&cluster);
    let seen = std::fs::read_to_string(seen).unwrap();
    let foreign =
        |file: &&str| !file.is_empty() && *file != "/dev/null" && !file.starts_with("pipe:") && !file.ends_with("/op");
    // The shell itself has the script open, and its output file.
    let foreign: Vec<&str> = seen.lines().filter(foreign).filter(|file| !file.ends_with("/seen")).collect();
    assert_eq!(foreign, [""; 0], "{seen}");
}

#[test]
fn text_around_a_key_is_dropped_or_named() {
    let vault = Vault::new();
    let file = vault.key_file(0o644);
    let reference = format!("file:{}", file.display());
    let state = "SELECT state, detail FROM secret_references() WHERE setting = 'greynoise_api_key'";
    std::fs::write(&file, format!("GREYNOISE_API_KEY=\"{CANARY}\"\n")).unwrap();
    let cluster = vault.cluster(&reference, &[], &[]);
    let why = "looks like NAME=value: store only the value";
    vault.assert_refused(&cluster, &format!("{reference}: {why}"));
    assert_eq!(cluster.lines(DB, state), [format!("fails|{reference}: {why}")]);
    std::fs::write(&file, format!("'{CANARY}'")).unwrap();
    let why = "is in quotes: store only the key itself";
    wait_for("quotes", || cluster.lines(DB, state), |told| told == &[format!("fails|{reference}: {why}")]);
    std::fs::write(&file, format!("\u{feff}  {CANARY}\r\n\r\n")).unwrap();
    vault.assert_answers(&cluster);
    assert_hidden(&cluster);
}

#[test]
fn the_output_of_a_failing_program_is_not_shown() {
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
fn a_program_sees_only_its_own_credentials() {
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
