//! The allowed sources of secrets: the environment, the variables in it, the programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where variables are read.
#[derive(Clone, Default)]
pub enum Environment {
    /// The server's own environment.
    #[default]
    Process,
    /// These and no others.
    Fixed(BTreeMap<String, String>),
}

/// Not the values: an environment holds keys.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Environment::Process => "Process",
            Environment::Fixed(_) => "Fixed(…)",
        })
    }
}

impl Environment {
    /// One variable; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<String> {
        match self {
            // Not valid UTF-8: nothing that we could send.
            Environment::Process => std::env::var(name).ok(),
            Environment::Fixed(variables) => variables.get(name).cloned(),
        }
        .filter(|value| !value.is_empty())
    }

    /// All variables that are text.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        match self {
            Environment::Process => std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            Environment::Fixed(variables) => variables.iter().map(|(n, v)| (n.clone(), v.clone())).collect(),
        }
    }
}

/// Names of variables, some of them open at the end (`MAXMIND_*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patterns(Vec<String>);

impl Default for Patterns {
    /// `MAXMIND_*, GREYNOISE_*`: a setting must not be a way to read everything that the server was started with.
    fn default() -> Patterns {
        Patterns(vec!["MAXMIND_*".to_owned(), "GREYNOISE_*".to_owned()])
    }
}

impl Patterns {
    /// Reads a comma-separated list.
    ///
    /// # Errors
    /// [`BadSetting`] at the first element that is not a name with or without a `*` at its end.
    pub fn parse(text: &str) -> Result<Patterns, BadSetting> {
        let patterns = elements(text).map(|pattern| {
            let name = pattern.strip_suffix('*').unwrap_or(pattern);
            let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if fits { Ok(pattern.to_owned()) } else { Err(BadSetting::Pattern) }
        });
        Ok(Patterns(patterns.collect::<Result<_, _>>()?))
    }

    /// Whether a name is meant.
    pub fn allow(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        })
    }
}

/// The programs that may resolve secrets. A program that is not named here is never run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    op: Option<PathBuf>,
    aws: Option<PathBuf>,
    sops: Option<PathBuf>,
}

/// A program that resolves a scheme's references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Op,
    Aws,
    Sops,
}

impl Program {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Program::Op => "op",
            Program::Aws => "aws",
            Program::Sops => "sops",
        }
    }
}

impl Commands {
    /// Reads the setting `secret_commands`: `op=/usr/bin/op, aws=/usr/bin/aws, sops=/usr/bin/sops`.
    ///
    /// # Errors
    /// [`BadSetting`] for an unknown or repeated name, or a path that is not absolute.
    pub fn parse(text: &str) -> Result<Commands, BadSetting> {
        let mut commands = Commands::default();
        for element in elements(text) {
            let (name, path) = element.split_once('=').ok_or(BadSetting::Command)?;
            let slot = match name.trim() {
                "op" => &mut commands.op,
                "aws" => &mut commands.aws,
                "sops" => &mut commands.sops,
                _ => return Err(BadSetting::Command),
            };
            let path = path.trim();
            // The search path is the environment's, not that of the setting's author.
            let sound = path.starts_with('/') && !path.ends_with('/') && !path.contains('\0');
            if !sound || slot.is_some() {
                return Err(BadSetting::Command);
            }
            *slot = Some(PathBuf::from(path));
        }
        Ok(commands)
    }

    pub(super) fn path(&self, program: Program) -> Option<&Path> {
        match program {
            Program::Op => self.op.as_deref(),
            Program::Aws => self.aws.as_deref(),
            Program::Sops => self.sops.as_deref(),
        }
    }
}

/// Whose files may hold secrets, beside those of root and of the server's own user. Docker and Kubernetes mount files
/// under other owners; the owner of such a file decides which key the server uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    any: bool,
    users: Vec<u32>,
}

impl Owners {
    /// Reads the setting `secret_file_owners`: numbers of users, or `any`.
    ///
    /// # Errors
    /// [`BadSetting`] for an element that is neither.
    pub fn parse(text: &str) -> Result<Owners, BadSetting> {
        let mut owners = Owners::default();
        for element in elements(text) {
            match element.parse() {
                Ok(user) => owners.users.push(user),
                Err(_) if element.eq_ignore_ascii_case("any") => owners.any = true,
                Err(_) => return Err(BadSetting::Owner),
            }
        }
        Ok(owners)
    }

    /// Whether a user is one of them.
    pub fn allow(&self, user: u32) -> bool {
        self.any || self.users.contains(&user)
    }
}

/// A setting that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSetting {
    /// See [`Patterns::parse`].
    #[error("a list of variable names is expected, like \"MAXMIND_*, GREYNOISE_API_KEY\"")]
    Pattern,
    /// See [`Owners::parse`].
    #[error("a list of user numbers is expected, like \"1000, 472\", or the word any")]
    Owner,
    /// See [`Commands::parse`].
    #[error(
        "a list like \"op=/usr/bin/op, aws=/usr/bin/aws\" is expected: op, aws and sops, each by its absolute path"
    )]
    Command,
}

fn elements(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|element| !element.is_empty())
}
