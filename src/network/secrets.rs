//! References to keys, for the worker: a thread looks them up, as that may mean to run a program or to ask a server; and
//! the doctor is told whether they resolve.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use enrich::secrets::{Accept, Recent, Reference, Resolver, Secret, SecretError};
use pgrx::pg_sys;

use crate::pg::process;
use crate::pg::sql::Sql;
use crate::pg::{call, time, tx};
use crate::settings;
use crate::shared;
use crate::shared::Database;
use crate::shared::checks::{SETTINGS, found};

/// Recent output of programs, from all callers.
static RECENT: LazyLock<Arc<Recent>> = LazyLock::new(Recent::of_process);

/// A reference that is being looked up.
pub struct Look {
    reference: Reference,
    coming: Receiver<Found>,
}

/// The value of a reference, and its age.
type Found = (Result<Secret, SecretError>, Duration);

impl Look {
    /// Starts a thread, with every signal blocked.
    pub fn start(resolver: Resolver, reference: Reference, accept: Accept) -> std::io::Result<Look> {
        let (sender, receiver) = channel();
        let (recent, theirs) = (Arc::clone(&RECENT), reference.clone());
        let work = move || drop(sender.send(recent.resolve(&resolver, &theirs, accept, Instant::now)));
        process::with_signals_blocked(|| std::thread::Builder::new().name("asn secret".to_owned()).spawn(work))?;
        Ok(Look { reference, coming: receiver })
    }

    /// The result, once it is there.
    pub fn take(&self) -> Option<Found> {
        match self.coming.try_recv() {
            Ok(found) => Some(found),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some((Err(SecretError::broken_off(&self.reference)), Duration::ZERO)),
        }
    }
}

/// Whether the reference was set, in any place: then there should be a key.
pub fn was_set(setting: &str) -> bool {
    let name = format!("asn_inventory.{setting}");
    let found = tx::run(|| {
        let sql = Sql::as_caller();
        let rows = sql.query(
            "SELECT source <> 'default' FROM pg_catalog.pg_settings WHERE name = $1",
            &[(pg_sys::TEXTOID, Some(call::text(&name)))],
        );
        rows.len() > 0 && rows.get::<bool>(0, 1) == Some(true)
    });
    found.unwrap_or(false)
}

/// Notes how a key stands that the worker looked up for its own use: so the metrics know, and roles that may not have it looked
/// up. What is told of it in words is looked up for the one who asks.
pub fn note(setting: &str, state: u32) {
    let at = SETTINGS.iter().position(|name| *name == setting);
    if let (Some(at), Some(slot)) = (at, shared::here()) {
        slot.checks.keys[at].found.store(state, Ordering::Relaxed);
    }
}

/// The state of a reference that was looked up, one of [`found`].
pub fn state(value: &Result<Secret, SecretError>, was_set: bool) -> u32 {
    match value {
        Ok(_) => found::RESOLVES,
        Err(error) if !error.is_unset() => found::FAILS,
        Err(_) if was_set => found::MISSING,
        Err(_) => found::UNSET,
    }
}

/// The report on one reference.
type Told = (u32, String);

/// A reference of a setting, on its way to an answer for the doctor.
enum Looking {
    Under(Look, bool),
    Over(Told),
}

/// The worker's look at its references, when a session asks whether they resolve. Values are dropped at once.
pub struct Secrets {
    slot: &'static Database,
    reloads: u64,
    /// Up to which question the answer will count.
    running: Option<(u32, Vec<Looking>)>,
}

impl Secrets {
    /// For the worker of a database. Programs that resolve references end with this process; where it is killed, with
    /// the start of the next one.
    pub fn new(slot: &'static Database) -> Secrets {
        enrich::secrets::end_orphans();
        process::at_exit(enrich::secrets::end_programs);
        Secrets { slot, reloads: process::reloads(), running: None }
    }

    /// One turn of the worker's loop.
    pub fn turn(&mut self) {
        RECENT.prune(Instant::now());
        if self.reloads != process::reloads() {
            self.reloads = process::reloads();
            RECENT.forget_failures();
        }
        self.take();
        let checks = &self.slot.checks;
        let wanted = checks.wanted.load(Ordering::Acquire);
        if self.running.is_some() || checks.done.load(Ordering::Relaxed) == wanted {
            return;
        }
        let (network, downloads) = (settings::network(), settings::downloads());
        let references = [downloads.license_key, network.greynoise_key.clone()];
        let looks = SETTINGS.iter().zip(references).map(|(setting, text)| look(network.resolver(), setting, &text));
        self.running = Some((wanted, looks.collect()));
        self.take();
    }

    /// How long there is nothing to do.
    pub fn patience(&self) -> Duration {
        if self.running.is_some() { Duration::from_millis(20) } else { Duration::MAX }
    }

    fn take(&mut self) {
        let Some((number, looks)) = &mut self.running else { return };
        for looking in looks.iter_mut() {
            if let Looking::Under(look, was_set) = looking
                && let Some(found) = look.take()
            {
                *looking = Looking::Over(told(&look.reference, found, *was_set));
            }
        }
        let checks = &self.slot.checks;
        let over: Option<Vec<&Told>> = looks.iter().map(Looking::told).collect();
        let Some(over) = over else { return };
        for (key, (found, detail)) in checks.keys.iter().zip(over) {
            key.found.store(*found, Ordering::Relaxed);
            key.detail.write(detail);
        }
        checks.answer(*number, time::now());
        self.running = None;
    }
}

impl Looking {
    fn told(&self) -> Option<&Told> {
        match self {
            Looking::Under(..) => None,
            Looking::Over(told) => Some(told),
        }
    }
}

fn look(resolver: Resolver, setting: &str, text: &str) -> Looking {
    if text.is_empty() {
        return Looking::Over((found::NONE, "no reference is set".to_owned()));
    }
    let reference = match Reference::parse(text) {
        Ok(reference) => reference,
        Err(error) => return Looking::Over((found::FAILS, error.to_string())),
    };
    match Look::start(resolver, reference, Accept::Any) {
        Ok(look) => Looking::Under(look, was_set(setting)),
        Err(error) => Looking::Over((found::UNKNOWN, format!("a thread cannot be started: {error}"))),
    }
}

/// The report on a reference. A remembered answer says so, so that it does not confuse a user who has just fixed the
/// key.
fn told(reference: &Reference, (value, age): Found, was_set: bool) -> Told {
    let (age, state) = (age.as_secs(), state(&value, was_set));
    let mut detail = match value {
        Ok(_) => format!("{reference} resolves"),
        Err(error) => error.to_string(),
    };
    if age > 0 {
        detail += &format!(" (looked up {age} s ago)");
    }
    (state, detail)
}
