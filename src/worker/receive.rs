//! Installing the `.mmdb` files that the primary, or the cluster's coordinator, shares: see [`super::share`]. Each is
//! taken once: what the operator puts into this server's own directory afterwards is imported as ever.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use enrich::maxmind::Edition;
use enrich::maxmind::store::StoreError;
use pgrx::PgSqlErrorCode;

use crate::files::{maxmind, received};
use crate::inventory::heap;
use crate::inventory::shared_files::{self, Shared};
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::tx::Failure;
use crate::pg::{errors, process};
use crate::settings;
use crate::settings::ShareFiles;
use crate::shared::trouble::Work;
use crate::shared::watched;

/// How often it is looked whether a file is new.
const LOOK: Duration = Duration::from_secs(3);
/// How long after the first failure, and at most: a full disk must not be filled again and again.
const PAUSES: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(600)];

/// When to look next, and which editions wait after a failure.
#[derive(Default)]
pub struct Receive {
    look_at: Option<Instant>,
    /// By edition: until when, and for how long.
    pauses: HashMap<String, (Instant, Duration)>,
}

/// How it went with one file.
enum Took {
    /// There was nothing to take.
    Nothing,
    Installed,
    /// Another process imports: the next look tells.
    Later,
}

impl Receive {
    /// Installs one file that is new, at most.
    pub fn turn(&mut self) {
        if self.look_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.look_at = Some(Instant::now() + LOOK);
        let files = watched::part(Work::Receive, || {
            Schema::hold().filter(takes).map(|schema| shared_files::all(&schema)).unwrap_or_default()
        });
        let files = match files {
            Ok(files) => files,
            Err(failure) => return say(&failure),
        };
        let listed = settings::snapshot().maxmind_editions;
        let mut is_done = true;
        for file in &files {
            let Some(edition) = listed.iter().find(|edition| edition.name() == file.edition) else { continue };
            if self.pauses.get(&file.edition).is_some_and(|(until, _)| Instant::now() < *until) {
                is_done = false;
                continue;
            }
            match take(edition, file) {
                Ok(Took::Nothing) => drop(self.pauses.remove(&file.edition)),
                Ok(Took::Later) => {
                    is_done = false;
                    watched::kept(Work::Receive, &busy());
                }
                Ok(Took::Installed) => {
                    self.pauses.remove(&file.edition);
                    self.look_at = None;
                    return;
                }
                Err(failure) => {
                    is_done = false;
                    let before = self.pauses.get(&file.edition).map_or(Duration::ZERO, |(_, pause)| *pause);
                    // What a recovery conflict interrupted, or a lock, is worth another look soon; not for ever.
                    let least = if failure.is_lock() { LOOK } else { PAUSES[0] };
                    let pause = (before * 2).clamp(least, PAUSES[1]);
                    if failure.is_lock() && pause >= PAUSES[0] {
                        if watched::is_kept_from(Work::Receive, &failure) {
                            log(&failure);
                        }
                    } else {
                        say(&failure);
                    }
                    self.pauses.insert(file.edition.clone(), (Instant::now() + pause, pause));
                }
            }
        }
        if is_done {
            self.pauses.clear();
            watched::succeeded(Work::Receive);
        }
    }

    /// How long there is nothing to do.
    pub fn patience(&self) -> Duration {
        self.look_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }
}

/// Another process imports, maybe for ever.
fn busy() -> Failure {
    Failure { code: PgSqlErrorCode::ERRCODE_OBJECT_IN_USE, message: StoreError::Busy.to_string() }
}

fn say(failure: &Failure) {
    if watched::is_news(Work::Receive, failure) {
        log(failure);
    }
}

fn log(failure: &Failure) {
    pgrx::log!("asn_inventory: shared mmdb files could not be installed: {}", failure.message);
}

/// Whether this server follows another one.
fn takes(schema: &Schema) -> bool {
    let follows = || process::in_recovery() || heap::is_everywhere(schema) && !citus::is_coordinator();
    settings::share_files() != ShareFiles::off && shared_files::are_trusted(schema) && follows()
}

/// The rows are read in one transaction, and the file is installed after it: on a standby, a long one is in the way of what
/// the primary does.
fn take(edition: &Edition, file: &Shared) -> Result<Took, Failure> {
    let store = maxmind::store();
    let draft = watched::part(Work::Receive, || {
        let wanted = match store.wants(edition, &file.offer) {
            Err(StoreError::Busy) => return Err(Took::Later),
            wanted => wanted.unwrap_or_else(|error| received::raise(error)),
        };
        let Some(schema) = Schema::hold().filter(|schema| wanted && takes(schema)) else { return Err(Took::Nothing) };
        process::busy("installing mmdb files");
        let mut draft = match store.draft(edition) {
            Err(StoreError::Busy) => return Err(Took::Later),
            draft => draft.unwrap_or_else(|error| received::raise(error)),
        };
        let (mut number, mut got) = (0, 0);
        while got < file.bytes {
            pgrx::check_for_interrupts!();
            let Some(bytes) = shared_files::part(&schema, edition.name(), number) else { break };
            draft.add(&bytes).unwrap_or_else(|error| received::raise(error));
            got += bytes.len() as i64;
            number += 1;
        }
        Ok(draft)
    })?;
    let draft = match draft {
        Ok(draft) => draft,
        Err(took) => return Ok(took),
    };
    watched::part_without_snapshot(Work::Receive, || {
        if !received::install(draft, edition, &file.offer) {
            errors::raise(
                PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
                format!("the shared file of {edition} is damaged, or changed while it was read"),
                "",
                "",
            );
        }
        Took::Installed
    })
}
