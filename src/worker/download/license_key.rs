//! The key that MaxMind's files are downloaded with: looked up for each download, and not kept in between.

use std::time::{Duration, Instant};

use enrich::secrets::{Accept, Reference, Secret};

use crate::network::secrets;
use crate::network::secrets::Look;
use crate::settings;
use crate::shared::checks::found;

const SETTING: &str = "maxmind_license_key";
/// How often a file that should hold the key and does not is looked at again, so that it is no news for ever that it did not.
const AGAIN: Duration = Duration::from_secs(60);

/// The key, and whether there is any.
#[derive(Default)]
pub(super) struct LicenseKey {
    found: Found,
    /// As it is set.
    reference: String,
    /// It was set, so that there should be a key.
    was_set: bool,
    /// Whether the reference leads anywhere at all, looked up after settings were read.
    probe: Option<Look>,
    /// When that is looked up again.
    probe_at: Option<Instant>,
    /// The last message about it.
    said: String,
}

/// What a download has.
pub(super) enum Spent {
    Key(Secret),
    /// There should be one and is none; why, with the setting and the reference.
    Missing(String),
    /// There is none, and none was set.
    NotWanted(String),
}

/// For the one download that is to begin.
#[derive(Default)]
enum Found {
    /// It was not looked up yet.
    #[default]
    Unknown,
    Coming(Look),
    Known(Secret),
    /// There is none, and why.
    Missing(String),
    /// There is none, and none was set.
    NotWanted(String),
}

impl LicenseKey {
    /// Settings were read. A user who sets a reference to nothing should learn it before the next download. Programs
    /// and servers are not asked for that.
    pub fn configure(&mut self) {
        // The running look-up may be of another reference than the present one.
        self.found = Found::Unknown;
        let reference = settings::downloads().license_key;
        self.was_set = secrets::was_set(SETTING);
        if reference.is_empty() {
            secrets::note(SETTING, found::NONE);
        } else if reference != self.reference {
            // What was found in another place says nothing of this one.
            secrets::note(SETTING, found::UNKNOWN);
        }
        self.reference = reference;
        self.begin_probe();
    }

    fn begin_probe(&mut self) {
        self.probe_at = None;
        let reference = Reference::parse(&self.reference).ok();
        let local = reference.filter(|at| matches!(at, Reference::Env(_) | Reference::File(_)));
        self.probe =
            local.and_then(|reference| Look::start(settings::network().resolver(), reference, Accept::Nothing).ok());
    }

    /// Takes what came.
    pub fn turn(&mut self) {
        if self.probe_at.is_some_and(|at| Instant::now() >= at) {
            self.begin_probe();
        }
        if let Some((value, _)) = self.probe.as_ref().and_then(Look::take) {
            self.probe = None;
            let state = secrets::state(&value, self.was_set);
            secrets::note(SETTING, state);
            let error = value.err().filter(|_| matches!(state, found::FAILS | found::MISSING));
            let may_come = error.is_some() && self.reference.starts_with("file:");
            self.probe_at = may_come.then(|| Instant::now() + AGAIN);
            if self.was_set {
                self.say(error.map(|error| error.to_string()).unwrap_or_default());
            }
        }
        let Found::Coming(look) = &self.found else { return };
        let Some((value, _)) = look.take() else { return };
        secrets::note(SETTING, secrets::state(&value, self.was_set));
        self.found = match value {
            Ok(key) => Found::Known(key),
            Err(error) => {
                let why = format!("cannot be resolved: {error}");
                if error.is_unset() && !self.was_set { Found::NotWanted(why) } else { Found::Missing(why) }
            }
        };
    }

    /// Once, until it is something else.
    fn say(&mut self, said: String) {
        if !said.is_empty() && said != self.said {
            pgrx::warning!(
                "asn_inventory: asn_inventory.maxmind_license_key cannot be resolved: {said}; no file is downloaded"
            );
        }
        self.said = said;
    }

    /// Whether the key was looked up for the next download; otherwise a look-up starts. It is looked up each time: a
    /// file may hold another key than yesterday, and between downloads no process needs to keep one.
    pub fn is_looked_up(&mut self) -> bool {
        if matches!(self.found, Found::Unknown) {
            self.found = match Reference::parse(&settings::downloads().license_key) {
                Err(_) => Found::NotWanted("is empty: no reference is set".to_owned()),
                Ok(reference) => match Look::start(settings::network().resolver(), reference, Accept::Nothing) {
                    Ok(look) => Found::Coming(look),
                    Err(error) => Found::Missing(format!("cannot be resolved: a thread cannot be started: {error}")),
                },
            };
        }
        !self.is_coming()
    }

    /// Whether a look-up for the next download is running.
    pub fn is_coming(&self) -> bool {
        matches!(self.found, Found::Coming(_))
    }

    /// Whether any look is under way.
    pub fn is_busy(&self) -> bool {
        self.is_coming() || self.probe.is_some()
    }

    /// Whether there should be one and is none.
    pub fn is_missing(&self) -> bool {
        matches!(self.found, Found::Missing(_))
    }

    /// Whether there is none, and none was set. The next look-up is another one.
    pub fn is_not_wanted(&mut self) -> bool {
        let not_wanted = matches!(self.found, Found::NotWanted(_));
        if not_wanted {
            self.found = Found::Unknown;
        }
        not_wanted
    }

    /// No download is to begin: what was looked up for one that was cancelled would be of another day for the next.
    pub fn forget(&mut self) {
        if !self.is_coming() {
            self.found = Found::Unknown;
        }
    }

    /// The key, which is forgotten with this.
    pub fn spend(&mut self) -> Spent {
        let named = |why: String| format!("asn_inventory.maxmind_license_key {why}");
        match std::mem::take(&mut self.found) {
            Found::Known(key) => Spent::Key(key),
            Found::Missing(why) => Spent::Missing(named(why)),
            Found::NotWanted(why) => Spent::NotWanted(named(why)),
            Found::Unknown | Found::Coming(_) => Spent::Missing("the licence key was not looked up".to_owned()),
        }
    }
}
