//! Whether lists of networks answer: their import, the directory that they come from, files that were refused, and flags of
//! lists that are none.

use std::fs;

use super::finding::Finding;
use super::import::{holder, writable};
use super::launcher;
use super::shell::word;
use crate::files::lists;
use crate::pg::catalog::Schema;
use crate::pg::time;
use crate::{settings, shared};

/// Most files that are named.
const SHOWN: usize = 20;

/// The checks `list import`, `list directory`, `list files` and `list flags`.
pub fn look(schema: &Schema) -> Vec<Finding> {
    let again = format!("SELECT list, file, installed_at, refused FROM {}.network_lists();", schema.name);
    let mut found = Vec::new();
    found.extend(import(&again));
    found.extend(directory());
    found.extend(files(&again));
    found.extend(flags(&again));
    found
}

fn import(again: &str) -> Option<Finding> {
    let failing = match shared::shared() {
        Some(shared) => shared.launcher.lists.failing().map(|failing| {
            let since = time::text(time::to_unix_us(failing.since));
            (format!("Lists of networks cannot be imported since {since}: {}.", failing.message), failing.sqlstate())
        }),
        None => {
            let error = lists::store().open().err()?;
            Some((format!("The installed lists of networks cannot be read: {error}."), String::new()))
        }
    };
    let (detail, sqlstate) = failing?;
    let home = settings::place::lists();
    let places = || vec![home.clone(), home.join("current.json"), home.join("import.lock"), home.join("files")];
    let remedy = match sqlstate.as_str() {
        "42501" => writable(places()),
        "55006" => Some(holder(&home)),
        "53100" => {
            Some(format!("{again}  -- after making room: df -h, and the limits and quotas of the server's user"))
        }
        _ => None,
    };
    let remedy =
        remedy.unwrap_or_else(|| format!("{again}  -- after correcting the cause; it is tried again every 30 s"));
    Some(Finding::new("list import", "error", detail, Some(remedy)))
}

/// The directory that is set cannot be read. The default one is the launcher's to make.
fn directory() -> Option<Finding> {
    let path = settings::lists_dir();
    // A file system that does not answer would hold this session as well.
    if launcher::hangs() {
        return None;
    }
    let own = settings::place::lists();
    let is_own = fs::canonicalize(&path).is_ok_and(|path| fs::canonicalize(own).is_ok_and(|own| path.starts_with(own)));
    let why = match fs::read_dir(&path) {
        Ok(_) if is_own => "it is the one of the imported lists".to_owned(),
        Ok(_) => return None,
        Err(error) if path == settings::default_lists_dir() && error.kind() == std::io::ErrorKind::NotFound => {
            return None;
        }
        Err(error) => enrich::text::clean(&error.to_string(), 200).into_owned(),
    };
    let (named, remedy) = if settings::may_read_secret_settings() {
        let shown = enrich::text::clean(&path.to_string_lossy(), 500).into_owned();
        let remedy = format!(
            "mkdir -p {}  # or mount it there, let the server read it, or correct asn_inventory.lists_dir",
            word(&shown)
        );
        (format!("asn_inventory.lists_dir is \"{shown}\", which cannot be used"), remedy)
    } else {
        let named = "The directory that asn_inventory.lists_dir names cannot be used".to_owned();
        (named, "SHOW asn_inventory.lists_dir;  -- mount or create that directory, or correct the setting".to_owned())
    };
    let detail = format!("{named} ({why}): lists stay as they are.");
    Some(Finding::new("list directory", "warning", detail, Some(remedy)))
}

fn files(again: &str) -> Vec<Finding> {
    let manifest = lists::manifest();
    let mut found = Vec::new();
    for (name, state) in &manifest.lists {
        if let Some(refusal) = &state.refused {
            let then = match state.current {
                Some(_) => "its entries of before stay in use",
                None => "it has no entries",
            };
            found.push((state.file.as_str(), format!("{name} was refused, and {then}: {}.", refusal.reason)));
        }
    }
    for (file, refusal) in &manifest.rejected {
        found.push((file.as_str(), format!("{file} is not a list: {}.", refusal.reason)));
    }
    let remedy = |file: &str| {
        // A name from a directory of others must not end up as a command.
        let is_plain = file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let file = if is_plain { file } else { "the file" };
        format!(
            "{again}  -- after replacing {file} in the directory that SHOW asn_inventory.lists_dir names, or removing it"
        )
    };
    let refused = found.into_iter().take(SHOWN);
    let refused = refused.map(|(file, detail)| Finding::new("list files", "warning", detail, Some(remedy(file))));
    let warned = manifest.lists.iter().filter_map(|(name, state)| {
        let warning = state.current.as_ref()?.warning.as_deref()?;
        Some(Finding::new("list files", "ok", format!("{name}: {warning}."), None))
    });
    refused.chain(warned.take(SHOWN)).collect()
}

/// A name in `asn_inventory.list_flags` that no list has: a typing error would leave addresses without the flag.
fn flags(again: &str) -> Option<Finding> {
    let lists = lists::manifest().lists;
    let flags = settings::list_flags();
    let unknown: Vec<&str> =
        flags.lists().filter(|list| lists.get(*list).is_none_or(|l| l.current.is_none())).collect();
    if unknown.is_empty() {
        return None;
    }
    let shown = unknown.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    let detail = format!("asn_inventory.list_flags names lists that are not installed: {shown}.");
    let remedy = format!("{again}  -- correct the setting, or install these lists");
    Some(Finding::new("list flags", "warning", detail, Some(remedy)))
}
