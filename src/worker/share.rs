//! Giving the `.mmdb` files of this server to those that copy its tables: standbys, and the nodes of a Citus cluster. They
//! travel as rows ([`shared_files`]), and each of those servers installs its copy ([`super::receive`]).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use enrich::maxmind::Edition;
use enrich::maxmind::receive::Digest;
use enrich::maxmind::store::GenerationInfo;

use crate::files::{maxmind, received};
use crate::inventory::heap;
use crate::inventory::shared_files::{self, PART, Shared};
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::process;
use crate::settings;
use crate::settings::ShareFiles;
use crate::shared;
use crate::shared::Database;
use crate::shared::trouble::Work;
use crate::shared::watched;

/// How often it is looked whether a file is new. Also the time from the worker's start to the first look: which databases
/// have the extension is known by then.
const LOOK: Duration = Duration::from_secs(3);
/// How long after the first failure, and at most: a full disk must not be filled again and again.
const PAUSES: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(600)];

/// When to look next.
pub struct Share {
    look_at: Instant,
    /// After a failure.
    pause: Duration,
    /// By edition, after a failure with its file: until when, and for how long. The others go on.
    pauses: HashMap<String, (Instant, Duration)>,
    /// What is in the tables is what this process wrote, or has compared with its sums.
    verified: bool,
}

impl Share {
    /// For a worker that starts now.
    pub fn new() -> Share {
        Share { look_at: Instant::now() + LOOK, pause: Duration::ZERO, pauses: HashMap::new(), verified: false }
    }

    /// Shares one new file, or withdraws one that is no longer wanted, at most.
    pub fn turn(&mut self) {
        if Instant::now() < self.look_at {
            return;
        }
        let verified = self.verified;
        let (mut trusted, mut shares_none) = (false, false);
        let now = Instant::now();
        let waits = |edition: &Edition| self.pauses.get(edition.name()).is_some_and(|(until, _)| now < *until);
        let at_work = RefCell::new(None);
        let done = watched::part(Work::Share, || {
            let Some(schema) = Schema::hold() else { return (false, false) };
            let shares = shares(&schema);
            let may = !matches!(shares, Shares::Untrusted);
            (trusted, shares_none) = (may, matches!(shares, Shares::Nothing | Shares::Follows));
            if let Some(slot) = shared::here() {
                slot.shares_no_files.store(!may, Ordering::Relaxed);
            }
            let own = matches!(shares, Shares::Files | Shares::AsBefore);
            let more = own && !verified && verify(&schema) || share(&schema, shares, &waits, &at_work);
            // What others may have written meanwhile is theirs until it is compared again.
            (more, may && (verified || own && !more))
        });
        let (more, pause) = match done {
            Ok((more, verified)) => {
                self.verified = verified;
                if let Some(edition) = at_work.take() {
                    self.pauses.remove(&edition);
                }
                self.pauses
                    .retain(|edition, _| settings::snapshot().maxmind_editions.iter().any(|e| e.name() == edition));
                if shares_none {
                    // No file waits where none is to be shared.
                    self.pauses.clear();
                }
                // Tables that may not be read are no success, nor is a file that waits: what failed before is not done yet.
                if trusted && self.pauses.is_empty() {
                    watched::succeeded(Work::Share);
                }
                (more, Duration::ZERO)
            }
            Err(failure) => {
                if watched::is_news(Work::Share, &failure) {
                    pgrx::log!("asn_inventory: mmdb files cannot be shared with other servers: {}", failure.message);
                }
                if let Some(edition) = at_work.take() {
                    let before = self.pauses.get(&edition).map_or(Duration::ZERO, |(_, pause)| *pause);
                    let pause = (before * 2).clamp(PAUSES[0], PAUSES[1]);
                    self.pauses.insert(edition, (Instant::now() + pause, pause));
                    (true, Duration::ZERO)
                } else {
                    (false, (self.pause * 2).clamp(PAUSES[0], PAUSES[1]))
                }
            }
        };
        self.pause = pause;
        self.look_at = Instant::now() + if more { Duration::ZERO } else { pause.max(LOOK) };
    }

    /// How long there is nothing to do.
    pub fn patience(&self) -> Duration {
        self.look_at.saturating_duration_since(Instant::now())
    }
}

/// What this worker shares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shares {
    /// The files that are in use.
    Files,
    /// None: another database's worker does it, or it is switched off.
    Nothing,
    /// None that is new: nobody is there to take it at the moment.
    AsBefore,
    /// None, and the rows are another server's.
    Follows,
    /// None: the tables are not there, or not a superuser's.
    Untrusted,
}

fn shares(schema: &Schema) -> Shares {
    if !shared_files::are_trusted(schema) {
        return Shares::Untrusted;
    }
    let everywhere = heap::is_everywhere(schema);
    match settings::share_files() {
        _ if everywhere && !citus::is_coordinator() => Shares::Follows,
        ShareFiles::off => Shares::Nothing,
        _ if everywhere => Shares::Files,
        _ if !is_first_database() => Shares::Nothing,
        ShareFiles::on => Shares::Files,
        ShareFiles::auto if shared_files::has_standby() => Shares::Files,
        ShareFiles::auto => Shares::AsBefore,
    }
}

/// Files are of a server, and rows of a database: one of them has the copy. One whose worker is just being started again
/// keeps its turn.
fn is_first_database() -> bool {
    let mine = process::my_database().to_u32();
    let others = shared::shared().map(|shared| &shared.databases[..]).unwrap_or_default();
    let may = |slot: &&Database| {
        let oid = slot.oid.load(Ordering::Acquire);
        oid != 0 && slot.wanted.load(Ordering::Acquire) && !slot.shares_no_files.load(Ordering::Relaxed)
    };
    others.iter().filter(may).all(|slot| slot.oid.load(Ordering::Acquire) >= mine)
}

/// Withdraws a file whose bytes are not those that it is said to have; whether there was one.
fn verify(schema: &Schema) -> bool {
    let damaged = |file: &&Shared| {
        let mut digest = Digest::default();
        let mut number = 0;
        while let Some(bytes) = shared_files::part(schema, &file.edition, number) {
            pgrx::check_for_interrupts!();
            digest.add(&bytes);
            number += 1;
        }
        digest.hexadecimal() != file.offer.sha256
    };
    let shared = shared_files::all(schema);
    shared.iter().find(damaged).inspect(|file| shared_files::withdraw(schema, &file.edition)).is_some()
}

/// True: there may be more to do. Files of editions that wait after a failure are passed over; `at_work` is the edition whose
/// file is being shared.
fn share(schema: &Schema, shares: Shares, waits: &dyn Fn(&Edition) -> bool, at_work: &RefCell<Option<String>>) -> bool {
    if matches!(shares, Shares::Follows | Shares::Untrusted) {
        return false;
    }
    let listed = settings::snapshot().maxmind_editions;
    let manifest = maxmind::store().manifest().unwrap_or_else(|error| received::raise(error));
    let known = shared_files::all(schema);
    let current = |edition: &Edition| manifest.editions.get(edition.name()).and_then(|state| state.current.as_ref());
    let is_current = |file: &Shared| {
        let edition = listed.iter().find(|edition| edition.name() == file.edition);
        edition.and_then(current).is_some_and(|info| info.sha256 == file.offer.sha256)
    };
    // A new file takes the place of the one before.
    let is_new = |edition: &&Edition| {
        let is_shared = |file: &Shared| file.edition == edition.name() && is_current(file);
        current(edition).is_some() && !waits(edition) && !known.iter().any(is_shared)
    };
    if shares == Shares::Files
        && let Some(edition) = listed.iter().find(is_new)
    {
        process::busy("sharing mmdb files with other servers");
        at_work.replace(Some(edition.name().to_owned()));
        put(schema, edition);
        return true;
    }
    // A file that is not in use any more must not reach a server that comes later.
    let unwanted = |file: &&Shared| shares == Shares::Nothing || !is_current(file);
    known.iter().find(unwanted).inspect(|file| shared_files::withdraw(schema, &file.edition)).is_some()
}

fn put(schema: &Schema, edition: &Edition) {
    let mut number = 0;
    let begin = |info: &GenerationInfo| {
        let (epoch, bytes) = (i64::try_from(info.build_epoch).unwrap_or(i64::MAX), info.size as i64);
        shared_files::begin(schema, edition.name(), &info.sha256, epoch, bytes);
    };
    let part = |bytes: &[u8]| {
        pgrx::check_for_interrupts!();
        shared_files::add(schema, edition.name(), number, bytes);
        number += 1;
    };
    received::read(edition, PART, begin, part);
}
