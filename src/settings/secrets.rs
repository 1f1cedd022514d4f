//! Settings about references to secrets: what may be read to resolve one, and what may be run.

use enrich::secrets::{Commands, Owners, Patterns};
use pgrx::guc::GucFlags;

use super::text;
use super::texts::*;

static SECRET_COMMANDS: Text = text_of(c"");
static SECRET_ENVIRONMENT: Text = text_of(c"MAXMIND_*,GREYNOISE_*");
static SECRET_FILE_OWNERS: Text = text_of(c"");

/// What references may lead to.
#[derive(Clone, Debug, PartialEq)]
pub struct Secrets {
    /// Programs that may resolve them.
    pub commands: Commands,
    /// Variables that `env:` may read.
    pub environment: Patterns,
    /// Whose files `file:` may read, beside those of root and of the server's user.
    pub file_owners: Owners,
}

/// The settings now.
pub fn secrets() -> Secrets {
    Secrets {
        commands: Commands::parse(&text(&SECRET_COMMANDS)).unwrap_or_default(),
        environment: Patterns::parse(&text(&SECRET_ENVIRONMENT)).unwrap_or_default(),
        file_owners: Owners::parse(&text(&SECRET_FILE_OWNERS)).unwrap_or_default(),
    }
}

/// Defines the settings.
pub fn define() {
    let secret = GucFlags::SUPERUSER_ONLY;
    define_texts(&[
        (
            c"asn_inventory.secret_commands",
            c"Programs that may resolve references, by absolute path: op=/usr/bin/op, aws=/usr/bin/aws, sops=/usr/bin/sops.",
            c"Empty: no program is run.",
            &SECRET_COMMANDS,
            secret,
            Some(check_commands),
        ),
        (
            c"asn_inventory.secret_environment",
            c"Variables of the server's environment that env: references may read, comma separated; * stands for any ending.",
            c"References to other variables are refused.",
            &SECRET_ENVIRONMENT,
            secret,
            Some(check_patterns),
        ),
        (
            c"asn_inventory.secret_file_owners",
            c"Numbers of users whose files file: references may read, comma separated, or any; root and the server's user always.",
            c"For files that a container mounts under another owner. Such a user decides which key the server uses.",
            &SECRET_FILE_OWNERS,
            secret,
            Some(check_owners),
        ),
    ]);
}
