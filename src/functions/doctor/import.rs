//! Whether new mmdb files can be imported: the directory that they come from, and the last import.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::finding::{Finding, select};
use super::launcher;
use super::shell::{mend, word};
use crate::pg::catalog::Schema;
use crate::pg::process;
use crate::pg::time;
use crate::{settings, shared};

/// The check `mmdb import`: imports fail as a whole, or of one edition, since the store cannot be written or read.
pub fn look(schema: &Schema) -> Option<Finding> {
    let failing = shared::shared()?.launcher.import.failing()?;
    let since = time::text(time::to_unix_us(failing.since));
    let detail = format!("New mmdb files cannot be imported since {since}: {}.", failing.message);
    let again = select(schema, "import_mmdb_files", "");
    let remedy = match failing.sqlstate().as_str() {
        // Damaged data.
        "XX001" => anew(schema),
        // A missing right. Where all are there, somebody has mended it just now.
        "42501" => rights().unwrap_or(again),
        "55006" => holder(&settings::place::directory()),
        // A full disk.
        "53100" => format!("{again}  -- after making room: df -h, and the limits and quotas of the server's user"),
        _ => format!("{again}  -- after correcting the cause; it is tried again every 30 s"),
    };
    Some(Finding::new("mmdb import", "error", detail, Some(remedy)))
}

/// The command for a shell that names the process which imports into a store.
pub fn holder(store: &Path) -> String {
    let lock = store.join("import.lock");
    let home = settings::place::directory();
    let data = home.parent().unwrap_or(&home);
    match settings::may_read_secret_settings() {
        true => format!("fuser -v {}  # the process that imports; T: kill -CONT", word(&lock.to_string_lossy())),
        false => format!(
            "fuser -v {}  # in the data directory: the process that imports; T: kill -CONT",
            word(&lock.strip_prefix(data).unwrap_or(&lock).to_string_lossy())
        ),
    }
}

/// The call that sets a damaged manifest aside.
pub fn anew(schema: &Schema) -> String {
    format!("{}  -- keeps the damaged file as current.json.broken", select(schema, "import_mmdb_files", "true"))
}

/// The command for a shell that lets the server write its store; `None`: it may.
pub fn rights() -> Option<String> {
    let home = settings::place::directory();
    let generations = home.join("generations");
    let mut places: Vec<PathBuf> =
        vec![home.clone(), home.join("current.json"), home.join("import.lock"), generations.clone()];
    places.extend(fs::read_dir(&generations).into_iter().flatten().flatten().map(|entry| entry.path()));
    writable(places)
}

/// The command for a shell that lets the server write the first of these places that it may not write.
pub fn writable(places: Vec<PathBuf>) -> Option<String> {
    let home = settings::place::directory();
    places.iter().find_map(|place| {
        let known = fs::symlink_metadata(place).ok()?;
        let bits = if known.is_dir() { "u+rwx" } else { "u+rw" };
        if process::may_write(place) {
            return None;
        }
        // Where the data directory lies is for those who may read the settings that say so.
        Some(match settings::may_read_secret_settings() {
            true => mend(place, known.uid(), bits),
            false => format!(
                "chmod {bits} {}  # in the data directory, as root, and chown to the server's user",
                word(&place.strip_prefix(home.parent().unwrap_or(&home)).unwrap_or(place).to_string_lossy())
            ),
        })
    })
}

/// The check `mmdb directory`: the directory that is set cannot be found. The default one is the launcher's to make.
pub fn directory() -> Option<Finding> {
    let path = settings::snapshot().maxmind_dir;
    // A file system that does not answer would hold this session as well.
    if path == settings::default_maxmind_dir() || launcher::hangs() {
        return None;
    }
    let why = match fs::metadata(&path) {
        Ok(found) if found.is_dir() => return None,
        Ok(_) => "it is not a directory".to_owned(),
        Err(error) => enrich::text::clean(&error.to_string(), 200).into_owned(),
    };
    let (named, remedy) = if settings::may_read_secret_settings() {
        let shown = enrich::text::clean(&path.to_string_lossy(), 500).into_owned();
        let remedy = format!("mkdir -p {}  # or mount it there, or correct asn_inventory.maxmind_dir", word(&shown));
        (format!("asn_inventory.maxmind_dir is \"{shown}\", which cannot be used"), remedy)
    } else {
        let named = "The directory that asn_inventory.maxmind_dir names cannot be used".to_owned();
        (named, "SHOW asn_inventory.maxmind_dir;  -- mount or create that directory, or correct the setting".to_owned())
    };
    Some(Finding::new(
        "mmdb directory",
        "warning",
        format!("{named} ({why}): no new mmdb file is found."),
        Some(remedy),
    ))
}
