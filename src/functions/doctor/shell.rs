//! Remedies for a shell: words of a command, and the rights on a file.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::pg::process;
use crate::settings;

/// The command for a shell that gives the server the rights `bits` on a file.
pub fn mend(path: &Path, owner: u32, bits: &str) -> String {
    // A name that is not plain text cannot be part of a command that a user copies.
    let plain = path.as_os_str().as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte));
    if !settings::may_read_secret_settings() {
        format!(
            "chmod {bits} …  # as root, and chown to the server's user, in the directory that SHOW asn_inventory.maxmind_dir names"
        )
    } else if !plain {
        let parent = path.parent().unwrap_or(path).to_string_lossy();
        format!("ls -lb {}  # and chown, chmod as root", word(&enrich::text::clean(&parent, 500)))
    } else {
        let data = settings::place::directory();
        let is_foreign_directory = path.is_dir() && !path.starts_with(data.parent().unwrap_or(&data));
        let path = word(&path.to_string_lossy());
        let (user, name) = process::os_user();
        if user == owner {
            format!("chmod {bits} {path}")
        } else if is_foreign_directory {
            // Others use it: it must not be given away.
            format!(
                "setfacl -m u:{name}:rx {path}  # as root; or name a directory in asn_inventory.maxmind_dir that {name} may read"
            )
        } else {
            format!("chown {name} {path} && chmod {bits} {path}  # as root")
        }
    }
}

/// A word for a shell.
pub fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
