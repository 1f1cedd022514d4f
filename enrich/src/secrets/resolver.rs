//! Resolving references to values: plain data, and the program that a reference runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Reference;
use super::allowed::{Commands, Environment, Owners, Patterns, Program};
use super::recent::{Accept, Recent};
use crate::proxy::Plan;

/// Turns references into values. Plain data: the settings, and the environment they are resolved in.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    /// Which variables `env:` may read.
    pub env_allow: Patterns,
    /// The programs that may be run.
    pub commands: Commands,
    /// Further trusted certificates (PEM), for Vault.
    pub ca_file: Option<PathBuf>,
    /// Where variables are read.
    pub environment: Environment,
    /// The proxy that is wanted, for Vault and for those who ask [`Resolver::proxy`]; `None`: none, whatever the
    /// environment says.
    pub proxy: Option<Plan>,
    /// Whose files may hold secrets.
    pub owners: Owners,
    /// What programs printed lately, and which of it will do; `None`: each look runs its program.
    pub recent: Option<(Arc<Recent>, Accept)>,
}

impl Resolver {
    /// The program that this reference has run, if it is one of those that may be.
    pub(super) fn program_of(&self, reference: &Reference) -> Option<PathBuf> {
        let program = match reference {
            Reference::Env(_) | Reference::File(_) | Reference::Vault { .. } => return None,
            Reference::Op(_) => Program::Op,
            Reference::AwsSm { .. } => Program::Aws,
            Reference::Sops { .. } => Program::Sops,
        };
        self.commands.path(program).map(Path::to_owned)
    }
}
