//! Files fetched by force, which must be installed before the job ends.

use std::time::{Duration, Instant};

use enrich::maxmind::Edition;
use enrich::maxmind::download::Kind;
use enrich::maxmind::store::StoreError;

use super::lines::{refusal, shown};
use crate::files::{lists, maxmind};
use crate::settings;
use crate::shared::outcome;

/// How long a forced install waits for another importer, and for files that are still being written.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of a job: its outcome and its detail.
pub type Ending = (u32, Option<String>);

/// Files that were fetched, until they are in use or refused.
pub struct Installing {
    fetched: Vec<(Kind, Edition)>,
    ending: Ending,
    until: Instant,
}

impl Installing {
    /// Of these files, for a job that ends like this if they can be installed.
    pub fn new(fetched: Vec<(Kind, Edition)>, ending: Ending) -> Installing {
        Installing { fetched, ending, until: Instant::now() + PATIENCE }
    }

    /// Installs what it can, even older or much smaller files: the user requested it. The launcher may be importing at
    /// this moment, and a file of this very second counts as unfinished: `None` as long as one of both is waited for.
    pub fn turn(&mut self) -> Option<Ending> {
        let late = Instant::now() >= self.until;
        let kinds: Vec<Kind> = [Kind::Database, Kind::List].into_iter().filter(|kind| self.is_of(*kind)).collect();
        let mut unfinished = false;
        for kind in kinds {
            let imported = match kind {
                Kind::Database => import_databases(),
                Kind::List => import_lists(),
            };
            match imported {
                Ok(left) => unfinished |= left,
                Err(StoreError::Busy) => unfinished = true,
                Err(error) => {
                    let why = match kind {
                        Kind::Database => format!("could not import mmdb files: {error}"),
                        Kind::List => format!("could not import lists of networks: {error}"),
                    };
                    pgrx::warning!("asn_inventory: {why}");
                    self.fails(&why);
                    self.fetched.retain(|(other, _)| *other != kind);
                }
            }
        }
        if unfinished && !late {
            return None;
        }
        for (kind, name) in std::mem::take(&mut self.fetched) {
            if let Some(why) = refusal(kind, &name) {
                self.fails(&format!("{}: refused: {why}", shown(kind, &name)));
            }
        }
        Some(std::mem::take(&mut self.ending))
    }

    fn is_of(&self, kind: Kind) -> bool {
        self.fetched.iter().any(|(other, _)| *other == kind)
    }

    fn fails(&mut self, why: &str) {
        let (how, detail) = &mut self.ending;
        *how = outcome::FAILED;
        *detail = Some([detail.as_deref().unwrap_or_default(), why].join("; "));
    }
}

/// Whether there is still something to import.
fn import_databases() -> Result<bool, StoreError> {
    let (store, settings) = (maxmind::store(), settings::snapshot());
    maxmind::import(&settings, true)?;
    let has_news = |manifest| store.has_news(&settings.maxmind_dir, &settings.maxmind_editions, &manifest);
    Ok(store.manifest().is_ok_and(has_news))
}

/// The same with lists.
fn import_lists() -> Result<bool, StoreError> {
    lists::import()?;
    let store = lists::store();
    Ok(store.manifest().is_ok_and(|manifest| store.has_news(&settings::lists_dir(), &manifest)))
}
