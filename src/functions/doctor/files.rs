//! Whether mmdb files really answer, whether the worker and the sessions use the same ones, and whether the server may
//! read its files.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use enrich::maxmind::index::RecordRef;
use enrich::maxmind::store::StoreError;
use enrich::maxmind::{Edition, Fields, Generation};

use super::finding::{Finding, select};
use super::shell::mend;
use super::{import, launcher};
use crate::files::maxmind;
use crate::pg::catalog::Schema;
use crate::pg::time;
use crate::{settings, shared};

/// Networks of a file that are looked at until one yields something.
const SAMPLE: usize = 2000;
/// How long the worker may answer from older files: it looks every few seconds (microseconds).
const LATE: i64 = 15_000_000;
/// Most entries of a directory that are looked at.
const ENTRIES: usize = 5000;
/// Most findings about files.
const SHOWN: usize = 10;

/// The checks `mmdb editions` and `mmdb answers`: which of the list have no file, cannot be opened, or say nothing.
pub fn editions(schema: &Schema) -> Vec<Finding> {
    let editions = settings::snapshot().maxmind_editions;
    let mut found = Vec::new();
    // Not what this session has open: that answers on when its files are gone.
    let (manifest, databases, troubles) = match maxmind::store().open(&editions) {
        Ok(opened) => opened,
        Err(error) => {
            let detail = format!("The installed files cannot be read: {error}.");
            let remedy = match error {
                StoreError::Damaged { .. } => import::anew(schema),
                _ => import::rights().unwrap_or_else(|| select(schema, "import_mmdb_files", "")),
            };
            return vec![Finding::new("mmdb answers", "error", detail, Some(remedy))];
        }
    };
    for (edition, trouble) in &troubles {
        let answers = match databases.edition(edition) {
            Some(_) => "the file before stays in use",
            None => "no other file replaces it",
        };
        found.push(Finding::new(
            "mmdb answers",
            "error",
            format!("{edition} cannot be opened, and {answers}: {trouble}."),
            Some(format!(
                "{}  -- after putting {} into the directory that SHOW asn_inventory.maxmind_dir names",
                select(schema, "import_mmdb_files", "true"),
                edition.file_name()
            )),
        ));
    }
    let state = |edition: &Edition| manifest.editions.get(edition.name());
    let is_installed = |edition: &Edition| state(edition).is_some_and(|state| state.current.is_some());
    let (there, others): (Vec<&Edition>, Vec<&Edition>) = editions.iter().partition(|edition| is_installed(edition));
    // One that was refused has a check of its own, and where there is none at all, so has that.
    let missing: Vec<&Edition> =
        others.into_iter().filter(|edition| state(edition).is_none_or(|state| state.refused.is_none())).collect();
    let has = |fields| databases.generations().iter().any(|generation| generation.fields().meets(fields));
    let whole = has(Fields::PLACE) && has(Fields::ORIGIN);
    if !there.is_empty() && !whole {
        found.push(half(schema, has(Fields::PLACE), has(Fields::ORIGIN), &missing));
    } else if !there.is_empty() {
        let rest = there.iter().map(|edition| edition.spelled()).collect::<Vec<_>>().join(",");
        found.extend(missing.iter().map(|edition| {
            Finding::new(
                "mmdb editions",
                "warning",
                format!("{edition} is in asn_inventory.maxmind_editions, but has no file."),
                Some(format!(
                    "ALTER SYSTEM SET asn_inventory.maxmind_editions = '{rest}'; SELECT pg_reload_conf();  -- or put {} into the directory that SHOW asn_inventory.maxmind_dir names",
                    edition.file_name()
                )),
            )
        }));
    }
    for generation in databases.generations() {
        let edition = generation.edition();
        let wants = edition.wants(&generation.metadata().database_type);
        if wants.is_empty() && generation.fields().is_empty() {
            let what = match edition.role() {
                Some(role) => format!("is listed as {role}"),
                None => "has neither places nor ASNs in the expected fields".to_owned(),
            };
            found.push(Finding::new(
                "mmdb answers",
                "ok",
                format!("{edition} {what}: only mmdb_record() and mmdb_networks() read it."),
                None,
            ));
        } else if generation.fields().is_empty() {
            let whose = edition.role().map_or(String::new(), |role| format!(" as {role}"));
            let other = |listed: &Edition| match listed == edition {
                true => format!("{edition}=other"),
                false => listed.spelled(),
            };
            let list = editions.iter().map(other).collect::<Vec<_>>().join(",");
            found.push(Finding::new(
                "mmdb answers",
                "warning",
                format!("{edition} is installed{whose}, but none of its records has a field that is read then."),
                Some(format!(
                    "ALTER SYSTEM SET asn_inventory.maxmind_editions = '{list}'; SELECT pg_reload_conf();  -- where only mmdb_record() and mmdb_networks() are to read it"
                )),
            ));
        } else if !yields(generation) {
            found.push(Finding::new(
                "mmdb answers",
                "error",
                format!("{edition} is installed, but no tested record has a field that is read."),
                Some(format!("{}  -- or put another file there", select(schema, "update_maxmind", "true"))),
            ));
        }
    }
    found.extend(worker_differs());
    found
}

/// One of the two questions cannot be answered, or neither.
fn half(schema: &Schema, has_places: bool, has_origins: bool, missing: &[&Edition]) -> Finding {
    let what = match (has_places, has_origins) {
        (_, true) => "An ASN file is installed, but no City or Country file: places stay unknown.",
        (true, _) => "A City or Country file is installed, but no ASN file: every ASN must come from Team Cymru.",
        _ => "No installed file has places or ASNs: places stay unknown, and every ASN must come from Team Cymru.",
    };
    let names = |of: fn(&Edition) -> String| missing.iter().map(|edition| of(edition)).collect::<Vec<_>>().join(", ");
    let update = select(schema, "update_maxmind", "");
    let (list, remedy) = match missing {
        [] => (String::new(), format!("{update}  -- after naming one in asn_inventory.maxmind_editions")),
        _ => (
            format!(
                " Of asn_inventory.maxmind_editions these have no file: {}.",
                names(|edition| edition.name().to_owned())
            ),
            format!(
                "{update}  -- or put {} into the directory that SHOW asn_inventory.maxmind_dir names",
                names(Edition::file_name)
            ),
        ),
    };
    Finding::new("mmdb editions", "warning", format!("{what}{list}"), Some(remedy))
}

/// Whether some record of a file has something to say.
fn yields(generation: &Generation) -> bool {
    let mut networks = generation.networks(None);
    for _ in 0..SAMPLE {
        let Some(Ok((network, _))) = networks.next(generation) else { return false };
        let ip = enrich::address::effective(network.ip());
        if generation.record_of(ip).is_some_and(|(record, _)| record != RecordRef::default()) {
            return true;
        }
    }
    false
}

/// The worker answers from other files than this session, and not only since a moment ago.
fn worker_differs() -> Option<Finding> {
    let worker = shared::my_worker().filter(|_| settings::enabled_on_server())?;
    let slot = shared::here()?;
    let theirs = slot.answering.read()?;
    let (ours, since) = maxmind::with_quietly(|databases| (databases.answering(), databases.installed_at()));
    let since = time::from_unix_us(since?);
    // Shared memory has room for the beginning.
    if ours.starts_with(&theirs) || time::now() - since < LATE {
        return None;
    }
    Some(Finding::new(
        "mmdb answers",
        "error",
        format!("The worker uses other files than this session: {theirs}; here {ours}."),
        Some(format!("SELECT pg_terminate_backend({worker});  -- it is started again at once")),
    ))
}

/// The files that the server cannot read.
struct Unreadable {
    path: PathBuf,
    is_directory: bool,
    owner: u32,
    why: String,
}

/// The check `file rights`: files that the server has to read and cannot. Below the data directory one of them is enough to
/// make every base backup fail.
pub fn rights() -> Vec<Finding> {
    let home = settings::place::directory();
    let mut below = Vec::new();
    let mut left = ENTRIES;
    walk(&home, &mut below, &mut left);
    let settings = settings::snapshot();
    let mut beside = Vec::new();
    // A file system that does not answer would hold this session as well.
    if !launcher::hangs() && !is_below(&settings.maxmind_dir, &home) {
        let data = home.parent().unwrap_or(&home);
        let target = if is_below(&settings.maxmind_dir, data) { &mut below } else { &mut beside };
        check(&settings.maxmind_dir, target);
        for edition in &settings.maxmind_editions {
            check(&settings.maxmind_dir.join(edition.file_name()), target);
        }
    }
    let backups = "pg_basebackup fails on it, and so does every base backup";
    let below = below.iter().map(|file| (file, backups));
    let beside = beside.iter().map(|file| (file, "it is not installed"));
    below.chain(beside).take(SHOWN).map(|(file, then)| file.finding(then)).collect()
}

fn is_below(path: &Path, root: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(path).starts_with(real(root))
}

/// Looks at everything below a directory. A base backup follows no links.
fn walk(directory: &Path, found: &mut Vec<Unreadable>, left: &mut usize) {
    check(directory, found);
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        pgrx::check_for_interrupts!();
        if *left == 0 {
            return;
        }
        *left -= 1;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), found, left),
            Ok(kind) if kind.is_file() => check(&entry.path(), found),
            _ => {}
        }
    }
}

/// Tries to open a file or a directory. Only a missing right counts; other errors belong to other checks.
fn check(path: &Path, found: &mut Vec<Unreadable>) {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    if let Err(error) = opened
        && error.kind() == ErrorKind::PermissionDenied
    {
        // Where even that cannot be known, its directory is the one to mend.
        let Ok(known) = fs::symlink_metadata(path) else { return };
        let (is_directory, owner) = (known.is_dir(), known.uid());
        found.push(Unreadable { path: path.to_owned(), is_directory, owner, why: error.kind().to_string() });
    }
}

impl Unreadable {
    fn finding(&self, then: &str) -> Finding {
        // Where files lie is for those who may read the settings that say so.
        let name = if settings::may_read_secret_settings() {
            self.path.to_string_lossy()
        } else {
            self.path.file_name().unwrap_or_default().to_string_lossy()
        };
        let shown = enrich::text::clean(&name, 500).into_owned();
        let bits = if self.is_directory { "u+rx" } else { "u+r" };
        let remedy = mend(&self.path, self.owner, bits);
        let detail = format!("The server cannot read {shown} ({}): {then}.", self.why);
        Finding::new("file rights", "warning", detail, Some(remedy))
    }
}
