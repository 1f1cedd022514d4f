//! A key that a setting refers to, while the worker needs it: [`Keeper`] says when its reference is read, a thread
//! reads it, and the worker looks whether it has come.

use std::time::{Duration, Instant};

use enrich::campaign::given;
use enrich::secrets::{Accept, Keeper, Mark, Reference, Resolver, Secret};

use super::secrets;
use super::secrets::Look;
use crate::shared::checks::found;

/// One key.
#[derive(Default)]
pub struct Key {
    setting: &'static str,
    keeper: Keeper,
    resolver: Resolver,
    /// This place was named explicitly, so that there should be a key.
    was_set: bool,
    coming: Option<Look>,
    /// Settings were read: questions wait for the result of this look.
    awaited: bool,
    said: String,
}

impl Key {
    /// Settings were read: reads the reference that `setting` holds. The known value counts until that is done. No
    /// reference: no key.
    pub fn resolve(&mut self, setting: &'static str, reference: &str, resolver: Resolver) {
        (self.setting, self.resolver) = (setting, resolver);
        let reference = Reference::parse(reference).ok();
        self.was_set = reference.is_some() && secrets::was_set(setting);
        match &reference {
            None => secrets::note(setting, found::NONE),
            // What was found in another place says nothing of this one.
            Some(_) if reference.as_ref() != self.keeper.reference() => secrets::note(setting, found::UNKNOWN),
            Some(_) => {}
        }
        // A refused key may have been replaced in its place; an unreadable one may be fixed.
        let sound = self.keeper.trouble().is_none() && !self.keeper.is_refused();
        let same = reference.as_ref() == self.keeper.reference();
        self.keeper.point(reference);
        self.coming = None;
        self.begin(if same && !sound { Accept::Nothing } else { Accept::Found });
        self.awaited = self.coming.is_some();
    }

    /// No key is needed any more.
    pub fn forget(&mut self) {
        *self = Key::default();
    }

    fn begin(&mut self, accept: Accept) {
        let Some(reference) = self.keeper.reference().cloned() else { return };
        self.keeper.begin();
        match Look::start(self.resolver.clone(), reference, accept) {
            Ok(look) => self.coming = Some(look),
            Err(error) => pgrx::warning!("asn_inventory: a thread that resolves a key cannot be started: {error}"),
        }
    }

    /// Whether who wants to ask should wait for a look that is under way.
    pub fn is_coming(&self) -> bool {
        self.coming.is_some() && self.awaited
    }

    /// Whether something comes, or begins, within this time.
    pub fn is_soon(&self, time: Duration) -> bool {
        self.coming.is_some() || self.keeper.again_at().is_some_and(|at| at <= Instant::now() + time)
    }

    /// Reads the reference again when it is time, and takes the result. True: there is another key than before, or a
    /// look is over that a caller waited for. An error is reported once, and the key never.
    pub fn take(&mut self) -> bool {
        let now = Instant::now();
        let Some(look) = &self.coming else {
            if self.keeper.is_due(now) {
                self.begin(Accept::Nothing);
            }
            return false;
        };
        let Some((found, _)) = look.take() else { return false };
        let (before, awaited) = (self.mark(), self.awaited);
        (self.coming, self.awaited) = (None, false);
        secrets::note(self.setting, secrets::state(&found, self.was_set));
        let said = match &found {
            Err(error) if self.was_set || !error.is_unset() => error.to_string(),
            _ => String::new(),
        };
        if !said.is_empty() && said != self.said {
            pgrx::warning!("asn_inventory: asn_inventory.{} cannot be resolved: {said}", self.setting);
        }
        if said.is_empty() && !self.said.is_empty() {
            pgrx::log!("asn_inventory: asn_inventory.{} resolves now", self.setting);
        }
        self.said = said;
        self.keeper.took(found, now);
        awaited || self.mark() != before
    }

    /// The key.
    pub fn value(&self) -> Option<&Secret> {
        self.keeper.key()
    }

    /// A mark that distinguishes it from another one.
    pub fn mark(&self) -> Option<Mark> {
        self.keeper.key().map(Secret::mark)
    }

    /// How it stands, for the campaign.
    pub fn standing(&self) -> given::Key {
        let unreadable = self.keeper.trouble().is_some_and(|trouble| !trouble.is_unset());
        given::Key { mark: self.mark(), coming: self.is_coming(), refused: self.is_refused(), unreadable }
    }

    /// The service does not accept it.
    pub fn refuse(&mut self) {
        self.keeper.refuse(Instant::now());
    }

    /// Whether it is the one that was refused.
    pub fn is_refused(&self) -> bool {
        self.keeper.is_refused()
    }
}
