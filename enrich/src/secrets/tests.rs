//! Every scheme, asked as a server asks it.

use parking_lot::RwLock;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, kill};
use nix::unistd::Pid;

use super::fake::{Directory, Fake, Reply};
use super::*;

mod vault;

fn with(variables: &[(&str, &str)]) -> Resolver {
    let variables = variables.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    Resolver { environment: Environment::Fixed(variables), ..Resolver::default() }
}

/// A child that another test spawns while we write a program holds it open for writing until its own exec, and a file
/// open for writing cannot be run: so no test spawns while another writes.
pub(crate) static WRITING: RwLock<()> = RwLock::new(());

fn resolve(resolver: &Resolver, reference: &str) -> Result<String, SecretError> {
    let _spawning = WRITING.read();
    resolver.resolve(&Reference::parse(reference).unwrap()).map(|secret| secret.expose().to_owned())
}

/// A program of the given name that runs `script`, and a resolver that may run it.
fn with_program(directory: &Directory, name: &str, script: &str) -> Resolver {
    let _writing = WRITING.write();
    let path = directory.write(name, format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    let commands = Commands::parse(&format!("{name}={}", path.display())).unwrap();
    Resolver { commands, ..with(&[("PATH", "/usr/bin:/bin")]) }
}

#[test]
fn a_secret_does_not_show_itself() {
    let secret = Secret::new("hunter2".to_owned());
    assert_eq!(format!("{secret:?} {:?}", Some(secret.clone())), "Secret(…) Some(Secret(…))");
    assert_eq!(secret.expose(), "hunter2");
    let resolver = with(&[("MAXMIND_LICENSE_KEY", "hunter2")]);
    assert!(!format!("{resolver:?}").contains("hunter2"));
}

#[test]
fn only_listed_variables_are_read() {
    let mut resolver = with(&[("MAXMIND_LICENSE_KEY", "key\n"), ("GREYNOISE_API_KEY", ""), ("PGPASSWORD", "hunter2")]);
    assert_eq!(resolve(&resolver, "env:MAXMIND_LICENSE_KEY").unwrap(), "key");
    assert!(resolve(&resolver, "env:MAXMIND_OTHER").unwrap_err().is_unset());
    assert!(resolve(&resolver, "env:GREYNOISE_API_KEY").unwrap_err().is_unset());
    let refused = resolve(&resolver, "env:PGPASSWORD").unwrap_err();
    assert!(!refused.is_unset() && !refused.is_transient());
    assert_eq!(refused.to_string(), "env:PGPASSWORD: this variable may not be read");

    resolver.env_allow = Patterns::parse("PGPASSWORD, OTHER_*").unwrap();
    assert_eq!(resolve(&resolver, "env:PGPASSWORD").unwrap(), "hunter2");
    assert!(!resolve(&resolver, "env:MAXMIND_LICENSE_KEY").unwrap_err().is_unset());
    assert_eq!(Patterns::parse("A B"), Err(BadSetting::Pattern));
    assert_eq!(Patterns::parse("*_KEY"), Err(BadSetting::Pattern));
}

#[test]
fn the_servers_own_environment_is_the_default() {
    let resolver = Resolver { env_allow: Patterns::parse("PATH").unwrap(), ..Resolver::default() };
    assert_eq!(resolve(&resolver, "env:PATH").unwrap(), std::env::var("PATH").unwrap());
}

#[test]
fn a_file_is_read_only_where_nobody_else_could_have_written_it() {
    let directory = Directory::new();
    let path = directory.write("key", "hunter2\n");
    let reference = format!("file:{}", path.display());
    let resolver = with(&[]);
    let mode = |mode| fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();

    mode(0o600);
    assert_eq!(resolve(&resolver, &reference).unwrap(), "hunter2");
    for writable in [0o620, 0o602, 0o666] {
        mode(writable);
        let error = resolve(&resolver, &reference).unwrap_err();
        assert!(!error.is_unset(), "{writable:o}");
        assert!(error.to_string().ends_with("its group or others may write it: chmod go-w"), "{error}");
    }
    mode(0o600);
    // The way mounted secrets change: a link to a link.
    symlink("key", directory.path().join("..data")).unwrap();
    symlink("..data", directory.path().join("mounted")).unwrap();
    let mounted = format!("file:{}", directory.path().join("mounted").display());
    assert_eq!(resolve(&resolver, &mounted).unwrap(), "hunter2");

    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
        let error = resolve(&resolver, &reference).unwrap_err();
        assert!(
            error.to_string().ends_with(
                "belongs neither to root nor to the server's user: chown it, or see asn_inventory.secret_file_owners"
            ),
            "{error}"
        );
    }
}

#[test]
fn what_is_no_file_with_one_line_is_no_secret() {
    let directory = Directory::new();
    let resolver = with(&[]);
    let of = |path: &std::path::Path| resolve(&resolver, &format!("file:{}", path.display()));

    assert!(of(&directory.path().join("absent")).unwrap_err().is_unset());
    assert!(of(&directory.write("empty", "")).unwrap_err().is_unset());
    for (name, bytes) in [("lines", &b"hunter2\nhunter2\n"[..]), ("nul", b"hunter2\0"), ("latin", b"hunter2\xe9")] {
        let error = of(&directory.write(name, bytes)).unwrap_err();
        assert!(!error.is_unset(), "{name}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{name}");
    }
    assert!(!of(&directory.write("large", vec![b'x'; MAX_SECRET + 1])).unwrap_err().is_unset());
    assert_eq!(of(&directory.write("largest", vec![b'x'; MAX_SECRET])).unwrap().len(), MAX_SECRET);
    assert!(of(directory.path()).unwrap_err().to_string().ends_with("is not a regular file"));

    // A pipe without a writer must not stop the worker.
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(of(&pipe).unwrap_err().to_string().ends_with("is not a regular file"));
}

#[test]
fn no_program_runs_that_is_not_named() {
    for reference in ["op://a/b/c", "aws-sm://a", "sops:///a#b"] {
        let error = resolve(&with(&[("PATH", "/usr/bin:/bin")]), reference).unwrap_err();
        assert!(error.to_string().contains("secret_commands does not name"), "{error}");
    }
    for text in ["op", "op=op", "op=./op", "vault=/usr/bin/vault", "op=/a, op=/b", "op=/a/"] {
        assert_eq!(Commands::parse(text), Err(BadSetting::Command), "{text}");
    }
    assert_eq!(Commands::parse(" , "), Ok(Commands::default()));
    let resolver = Resolver { commands: Commands::parse("op=/nonexistent/op").unwrap(), ..with(&[]) };
    let error = resolve(&resolver, "op://a/b/c").unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("/nonexistent/op cannot be run"), "{error}");
}

#[test]
fn op_is_asked_without_a_shell() {
    let directory = Directory::new();
    let resolver = with_program(&directory, "op", r#"for a in "$@"; do printf '[%s]' "$a"; done; echo"#);
    let answer = resolve(&resolver, "op://My Vault/$(id)`id`;id/api key").unwrap();
    assert_eq!(answer, "[read][op://My Vault/$(id)`id`;id/api key]");
}

#[test]
fn aws_is_asked_for_one_secret_or_one_member_of_it() {
    let directory = Directory::new();
    let asked = directory.path().join("asked");
    let script = |value: &str| format!(r#"echo "$@" >{}; printf '%s' '{value}'"#, asked.display());

    let resolver = with_program(&directory, "aws", &script(r#""hunter\"2""#));
    assert_eq!(resolve(&resolver, "aws-sm://eu-west-1/prod/maxmind").unwrap(), "hunter\"2");
    assert_eq!(
        fs::read_to_string(&asked).unwrap().trim(),
        "secretsmanager get-secret-value --secret-id prod/maxmind --query SecretString --output json --region eu-west-1"
    );

    let resolver = with_program(&directory, "aws", &script(r#""{\"key\":\"hunter2\"}""#));
    assert_eq!(resolve(&resolver, "aws-sm://my-prod-app/secret#key").unwrap(), "hunter2");
    assert!(!fs::read_to_string(&asked).unwrap().contains("--region"));
    assert!(!resolve(&resolver, "aws-sm://my-prod-app/secret#other").unwrap_err().is_transient());

    let resolver = with_program(&directory, "aws", "echo null");
    assert!(resolve(&resolver, "aws-sm://binary").unwrap_err().is_unset());
}

#[test]
fn sops_gives_one_value_of_its_document() {
    let directory = Directory::new();
    let script =
        r#"test "$*" = "--decrypt --output-type json /etc/keys.yaml" && echo '{"maxmind":{"keys":["a","hunter2"]}}'"#;
    let resolver = with_program(&directory, "sops", script);
    assert_eq!(resolve(&resolver, "sops:///etc/keys.yaml#maxmind.keys.1").unwrap(), "hunter2");
    assert!(resolve(&resolver, "sops:///etc/other.yaml#maxmind.keys.1").is_err());
}

#[test]
fn a_program_sees_its_own_credentials_and_no_others() {
    let directory = Directory::new();
    let mut resolver = with_program(&directory, "op", "env | sort | tr '\\n' ' '");
    resolver.environment = Environment::Fixed(
        [
            ("OP_SERVICE_ACCOUNT_TOKEN", "mine"),
            ("HOME", "/h"),
            ("MAXMIND_LICENSE_KEY", "x"),
            ("AWS_SECRET", "x"),
            ("LD_PRELOAD", "x"),
        ]
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .into(),
    );
    let answer = resolve(&resolver, "op://a/b/c").unwrap();
    assert!(answer.contains("OP_SERVICE_ACCOUNT_TOKEN=mine") && answer.contains("HOME=/h"), "{answer}");
    assert!(answer.contains("PATH=/usr/local/bin:/usr/bin:/bin"), "{answer}");
    assert!(!answer.contains("=x"), "{answer}");
}

#[test]
fn what_a_failing_program_printed_is_not_told() {
    let directory = Directory::new();
    for (script, told) in [
        ("echo hunter2; echo hunter2 >&2; exit 3", "ended with exit status 3"),
        ("echo hunter2; kill -9 $$", "was ended by SIGKILL"),
        ("head -c 70000 /dev/zero", "printed too much for a secret"),
        ("printf 'hunter2\\000'", "control characters"),
    ] {
        let error = resolve(&with_program(&directory, "op", script), "op://a/b/c").unwrap_err();
        assert!(error.to_string().contains(told), "{script}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    let error = resolve(&with_program(&directory, "op", "exit 0"), "op://a/b/c").unwrap_err();
    assert!(error.is_unset());
}

#[test]
fn a_program_gets_no_input() {
    let directory = Directory::new();
    assert_eq!(resolve(&with_program(&directory, "op", "cat; echo end"), "op://a/b/c").unwrap(), "end");
}

#[test]
fn a_program_runs_with_signals_open_where_ours_are_blocked() {
    let directory = Directory::new();
    let resolver = with_program(&directory, "op", "grep -E '^Sig(Blk|Ign)' /proc/self/status | tr -d '\\n\\t'");
    let answer = std::thread::spawn(move || {
        SigSet::all().thread_block().unwrap();
        resolve(&resolver, "op://a/b/c").unwrap()
    });
    let answer = answer.join().unwrap();
    let (blocked, ignored) = answer.strip_prefix("SigBlk:").unwrap().split_once("SigIgn:").unwrap();
    assert_eq!(u64::from_str_radix(blocked, 16).unwrap(), 0);
    // The signals above 31 belong to the C library.
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff, 0);
}

/// Waits until a process is gone, or at least dead and waiting for its parent.
fn gone(pid: &str) -> bool {
    let pid: i32 = pid.trim().parse().unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let dead = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
        if dead || kill(Pid::from_raw(pid), None).is_err() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn a_grandchild_that_keeps_the_output_open_is_not_waited_for() {
    let directory = Directory::new();
    let note = directory.path().join("pid");
    let script = format!("sleep 1000 & echo $! >{}; echo hunter2", note.display());
    let started = Instant::now();
    assert_eq!(resolve(&with_program(&directory, "op", &script), "op://a/b/c").unwrap(), "hunter2");
    assert!(started.elapsed() < TIME_LIMIT / 2);
    assert!(gone(&fs::read_to_string(&note).unwrap()), "the grandchild lives on");
}

#[test]
fn a_program_inherits_no_file_but_its_input_output_and_errors() {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let directory = Directory::new();
    let seen = directory.path().join("seen");
    let resolver = with_program(
        &directory,
        "op",
        &format!("for f in /proc/$$/fd/*; do readlink $f; done >{}; echo key", seen.display()),
    );
    // As PostgreSQL opens its own.
    let ours: Vec<fs::File> = (0..40)
        .map(|n| {
            let file = fs::File::open(directory.write(&format!("ours-{n}"), "x")).unwrap();
            fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            file
        })
        .collect();
    assert_eq!(resolve(&resolver, "op://a/b/c").unwrap(), "key");
    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.contains("/dev/null") && !seen.contains("ours-"), "{seen}");
    drop(ours);
}

#[test]
fn who_ends_takes_what_runs_with_him_and_starts_nothing_more() {
    let directory = Directory::new();
    let note = directory.path().join("pids");
    let script = format!("trap '' TERM HUP INT; sleep 1000 & echo $! $$ >{}; wait", note.display());
    let _resolver = with_program(&directory, "op", &script);
    let running = program::Running::new();
    let run = || {
        program::run(&running, &directory.path().join("op"), &[], &[("PATH".to_owned(), "/usr/bin:/bin".to_owned())])
    };
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| {
            let _spawning = WRITING.read();
            run()
        });
        let started = Instant::now();
        while fs::read_to_string(&note).map_or(true, |pids| !pids.ends_with('\n')) {
            assert!(started.elapsed() < Duration::from_secs(60), "it did not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        running.end();
        let Err(program::Trouble::Ended(how)) = hanging.join().unwrap() else { panic!("it did not run") };
        assert_eq!(how, program::How::Signal(nix::sys::signal::Signal::SIGKILL));
    });
    for pid in fs::read_to_string(&note).unwrap().split_whitespace() {
        assert!(gone(pid), "{pid} lives on");
    }
    let Err(program::Trouble::NotRun(why)) = run() else { panic!("it ran") };
    assert_eq!(why, "the worker is ending");
}

#[test]
fn what_a_killed_process_left_is_ended_and_nothing_else() {
    use std::process::Command;
    let dead = Command::new("/bin/true").spawn().map(|mut child| (child.id(), child.wait())).unwrap().0;
    let sleeping = |worker: u32| {
        Command::new("/bin/sleep").arg("1000").env("ASN_INVENTORY_WORKER", worker.to_string()).spawn().unwrap()
    };
    let (mut orphan, mut other) = (sleeping(dead), sleeping(std::process::id()));
    end_orphans();
    assert!(!orphan.wait().unwrap().success());
    assert_eq!(other.try_wait().unwrap(), None, "its worker lives");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_program_that_hangs_is_ended_with_all_its_children() {
    let directory = Directory::new();
    let note = directory.path().join("pid");
    // Deaf to everything that can be ignored, and with its output closed.
    let script = format!("trap '' TERM HUP INT; sleep 1000 & echo $! $$ >{}; exec >&-; wait", note.display());
    let started = Instant::now();
    let error = resolve(&with_program(&directory, "op", &script), "op://a/b/c").unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("did not end within 10 s"), "{error}");
    assert!(started.elapsed() < TIME_LIMIT + Duration::from_secs(5));
    for pid in fs::read_to_string(&note).unwrap().split_whitespace() {
        assert!(gone(pid), "{pid} lives on");
    }
}
