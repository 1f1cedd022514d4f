//! Giving the `.mmdb` files of this server to those that copy its tables: standbys, and the nodes of a Citus cluster. They
//! travel as rows ([`shared_files`]), and each of those servers installs its copy ([`super::receive`]).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use enrich::maxmind::Edition;
use enrich::maxmind::store::GenerationInfo;

use crate::files::{maxmind, received};
use crate::inventory::heap;
use crate::inventory::shared_files::{self, PART, Shared};
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::process;
use crate::settings;
use crate::settings::{Settings, ShareFiles};
use crate::shared;
use crate::shared::trouble::Work;
use crate::shared::watched;

/// How often it is looked whether a file is new. Also the time from the worker's start to the first look: which databases
/// have a worker is known by then.
const LOOK: Duration = Duration::from_secs(3);

/// How long after a failure: a full disk must not be filled again and again.
const PAUSE: Duration = Duration::from_secs(30);

/// When to look next.
pub struct Share {
    look_at: Instant,
}

impl Share {
    /// For a worker that starts now.
    pub fn new() -> Share {
        Share { look_at: Instant::now() + LOOK }
    }

    /// Shares one new file, or withdraws one that is no longer wanted, at most.
    pub fn turn(&mut self) {
        if Instant::now() < self.look_at {
            return;
        }
        let settings = settings::snapshot();
        let done = watched::run(Work::Share, || {
            let Some(schema) = Schema::hold() else { return false };
            match shares(&schema) {
                Shares::Files => share(&schema, &settings),
                Shares::Nothing => withdraw(&schema, |_| true),
                Shares::AsBefore => false,
            }
        });
        self.look_at = Instant::now()
            + match done {
                Ok(true) => Duration::ZERO,
                Ok(false) => LOOK,
                Err(failure) => {
                    if watched::is_news(Work::Share, &failure) {
                        pgrx::log!(
                            "asn_inventory: mmdb files cannot be shared with other servers: {}",
                            failure.message
                        );
                    }
                    PAUSE
                }
            };
    }

    /// How long there is nothing to do.
    pub fn patience(&self) -> Duration {
        self.look_at.saturating_duration_since(Instant::now())
    }
}

/// What this worker shares.
enum Shares {
    /// The files that are in use.
    Files,
    /// None: another server's or another database's worker does it.
    Nothing,
    /// What it shared before: nobody is there to take more at the moment.
    AsBefore,
}

fn shares(schema: &Schema) -> Shares {
    if !shared_files::are_trusted(schema) {
        return Shares::AsBefore;
    }
    let everywhere = heap::is_everywhere(schema);
    if everywhere && !citus::is_coordinator() {
        // The coordinator's rows are these.
        return Shares::AsBefore;
    }
    match settings::share_files() {
        ShareFiles::off => Shares::Nothing,
        _ if everywhere => Shares::Files,
        _ if !is_first_database() => Shares::Nothing,
        ShareFiles::on => Shares::Files,
        ShareFiles::auto if shared_files::has_standby() => Shares::Files,
        ShareFiles::auto => Shares::AsBefore,
    }
}

/// Files are of a server, and rows of a database: one of them has the copy.
fn is_first_database() -> bool {
    let mine = process::my_database().to_u32();
    let others = shared::shared().map(|shared| &shared.databases[..]).unwrap_or_default();
    others.iter().filter(|slot| slot.living_worker().is_some()).all(|slot| slot.oid.load(Ordering::Acquire) >= mine)
}

/// True: there may be more to do.
fn share(schema: &Schema, settings: &Settings) -> bool {
    let manifest = maxmind::store().manifest().unwrap_or_else(|error| received::raise(error));
    let known = shared_files::all(schema);
    let current = |edition: &Edition| manifest.editions.get(edition.name()).and_then(|state| state.current.as_ref());
    for edition in &settings.maxmind_editions {
        let Some(info) = current(edition) else { continue };
        let same = known.iter().any(|shared| shared.edition == edition.name() && shared.sha256 == info.sha256);
        if !same {
            process::busy("sharing mmdb files with other servers");
            put(schema, edition);
            return true;
        }
    }
    let listed = |name: &str| settings.maxmind_editions.iter().any(|edition| edition.name() == name);
    withdraw(schema, |name| !listed(name))
}

fn put(schema: &Schema, edition: &Edition) {
    let mut number = 0;
    let begin = |info: &GenerationInfo| {
        let shared = Shared {
            edition: edition.name().to_owned(),
            sha256: info.sha256.clone(),
            build_epoch: info.build_epoch as i64,
            bytes: info.size as i64,
        };
        shared_files::begin(schema, &shared);
    };
    let part = |bytes: &[u8]| {
        pgrx::check_for_interrupts!();
        shared_files::add(schema, edition.name(), number, bytes);
        number += 1;
    };
    received::read(edition, PART, begin, part);
}

/// Withdraws one edition that is shared and not wanted; whether there was one.
fn withdraw(schema: &Schema, unwanted: impl Fn(&str) -> bool) -> bool {
    let shared = shared_files::all(schema);
    let found = shared.iter().find(|shared| unwanted(&shared.edition));
    found.inspect(|shared| shared_files::withdraw(schema, &shared.edition)).is_some()
}
