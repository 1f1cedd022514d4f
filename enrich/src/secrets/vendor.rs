//! `op://`, `aws-sm://`, `sops://`: the commands of the vendors' programs, and the parsing of their answers.
//!
//! A program sees only [`COMMON`] of the server's environment and the variables of its own credentials: it must not see
//! the server's other secrets.

use std::path::Path;

use zeroize::Zeroizing;

use super::allowed::Program;
use super::error::Why;
use super::resolver::Resolver;
use super::{Secret, program, value};

/// Those that run for this process.
static RUNNING: program::Running = program::Running::new();

/// Ends every running program, with all its children, and lets no more begin: for the end of this process. A program
/// that hangs would outlive it.
pub fn end_programs() {
    RUNNING.end();
}

/// Ends what programs a process left that was killed.
pub fn end_orphans() {
    program::end_orphans();
}

/// The variables that every program sees: paths of its helpers and configuration, and proxies.
const COMMON: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The further variables of one program. sops asks the key service that its file names.
const fn credentials(program: Program) -> &'static [&'static str] {
    match program {
        Program::Op => &["OP_*"],
        Program::Aws => &["AWS_*"],
        Program::Sops => {
            &["SOPS_*", "AWS_*", "AZURE_*", "GOOGLE_APPLICATION_CREDENTIALS", "VAULT_ADDR", "VAULT_TOKEN", "GNUPGHOME"]
        }
    }
}

/// `op read op://vault/item/field`.
pub(super) fn op(resolver: &Resolver, item: &str) -> Result<Secret, Why> {
    let answer = run(resolver, Program::Op, &["read".to_owned(), format!("op://{item}")])?;
    value::text(answer)
}

/// `aws secretsmanager get-secret-value`, asked for JSON: as text, a secret that is absent would be the word "None".
pub(super) fn aws_sm(resolver: &Resolver, region: Option<&str>, id: &str, key: Option<&str>) -> Result<Secret, Why> {
    let mut arguments: Vec<String> =
        ["secretsmanager", "get-secret-value", "--secret-id", id, "--query", "SecretString", "--output", "json"]
            .map(str::to_owned)
            .to_vec();
    if let Some(region) = region {
        arguments.extend(["--region".to_owned(), region.to_owned()]);
    }
    let answer = run(resolver, Program::Aws, &arguments)?;
    match key {
        None => value::in_json(&answer, []),
        Some(key) => {
            let document: Zeroizing<String> = serde_json::from_slice::<String>(&answer)
                .map_err(|_| Why::Failed("the answer is not a JSON text".to_owned()))?
                .into();
            value::in_json(document.as_bytes(), [key])
        }
    }
}

/// `sops --decrypt --output-type json /path`, for every format of the file.
pub(super) fn sops(resolver: &Resolver, path: &Path, keys: &[String]) -> Result<Secret, Why> {
    let arguments = ["--decrypt", "--output-type", "json", &path.to_string_lossy()].map(str::to_owned);
    let answer = run(resolver, Program::Sops, &arguments)?;
    value::in_json(&answer, keys.iter().map(String::as_str))
}

fn run(resolver: &Resolver, program: Program, arguments: &[String]) -> Result<Zeroizing<Vec<u8>>, Why> {
    let name = program.name();
    let path = resolver.commands.path(program).ok_or_else(|| {
        Why::Refused(format!("may not be resolved: secret_commands does not name the program \"{name}\""))
    })?;
    let visible = |name: &str| {
        COMMON.contains(&name)
            || credentials(program).iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == *pattern,
            })
    };
    let mut environment = resolver.environment.all();
    environment.retain(|(name, _)| visible(name));
    if !environment.iter().any(|(name, _)| name == "PATH") {
        environment.push(("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()));
    }
    program::run(&RUNNING, path, arguments, &environment).map_err(|trouble| match trouble {
        program::Trouble::NotRun(why) => Why::Refused(format!("{} cannot be run: {why}", path.display())),
        // Its output may contain the secret, so only its exit is reported.
        program::Trouble::Ended(how) => {
            Why::Failed(format!("{name} {how}; run it by hand as the server's user to see why"))
        }
    })
}
