//! Installing the `.mmdb` files that the primary, or the cluster's coordinator, shares: see [`super::share`]. Each is
//! taken once: what the operator puts into this server's own directory afterwards is imported as ever.

use std::time::{Duration, Instant};

use enrich::maxmind::Edition;
use enrich::maxmind::store::StoreError;

use crate::files::{maxmind, received};
use crate::inventory::heap;
use crate::inventory::shared_files::{self, Shared};
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::process;
use crate::settings;
use crate::settings::ShareFiles;
use crate::shared::trouble::Work;
use crate::shared::watched;

/// How often it is looked whether a file is new.
const LOOK: Duration = Duration::from_secs(3);
/// How long after the first failure, and at most: a full disk must not be filled again and again.
const PAUSES: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(600)];

/// When to look next.
#[derive(Default)]
pub struct Receive {
    look_at: Option<Instant>,
    /// After a failure.
    pause: Duration,
}

impl Receive {
    /// Installs what is new.
    pub fn turn(&mut self) {
        if self.look_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let done = watched::part(Work::Receive, || {
            let Some(schema) = Schema::hold().filter(takes) else { return true };
            let listed = settings::snapshot().maxmind_editions;
            let files = shared_files::all(&schema);
            let wanted = |file: &Shared| listed.iter().find(|edition| edition.name() == file.edition);
            files.iter().all(|file| wanted(file).is_none_or(|edition| take(&schema, edition, file)))
        });
        match done {
            Ok(true) => {
                self.pause = Duration::ZERO;
                watched::succeeded(Work::Receive);
            }
            // The next look tells.
            Ok(false) => {}
            Err(failure) => {
                self.pause = (self.pause * 2).clamp(PAUSES[0], PAUSES[1]);
                if watched::is_news(Work::Receive, &failure) {
                    pgrx::log!("asn_inventory: shared mmdb files could not be installed: {}", failure.message);
                }
            }
        }
        self.look_at = Some(Instant::now() + self.pause.max(LOOK));
    }

    /// How long there is nothing to do.
    pub fn patience(&self) -> Duration {
        self.look_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }
}

/// Whether this server follows another one.
fn takes(schema: &Schema) -> bool {
    let follows = || process::in_recovery() || heap::is_everywhere(schema) && !citus::is_coordinator();
    settings::share_files() != ShareFiles::off && shared_files::are_trusted(schema) && follows()
}

/// False: the file changed while it was read, or another process imports.
fn take(schema: &Schema, edition: &Edition, file: &Shared) -> bool {
    let store = maxmind::store();
    match store.wants(edition, &file.sha256) {
        Ok(true) => {}
        Ok(false) => return true,
        Err(StoreError::Busy) => return false,
        Err(error) => received::raise(error),
    }
    process::busy("installing mmdb files");
    let mut draft = store.draft(edition).unwrap_or_else(|error| received::raise(error));
    let (mut number, mut got) = (0, 0);
    while got < file.bytes {
        pgrx::check_for_interrupts!();
        let Some(bytes) = shared_files::part(schema, edition.name(), number) else { return false };
        draft.add(&bytes).unwrap_or_else(|error| received::raise(error));
        got += bytes.len() as i64;
        number += 1;
    }
    received::install(draft, edition, &file.sha256, file.build_epoch)
}
