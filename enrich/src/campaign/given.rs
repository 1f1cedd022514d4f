//! The inputs while an event is handled: the time, the settings, and the state of GreyNoise's key.

use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;

use crate::cascade;
use crate::quota::Window;
use crate::quota::shared::Account;
use crate::secrets::Mark;
use crate::time::{Micros, after};

/// Two clocks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, which may jump: for reported times, and for times that outlive a restart.
    pub wall: Micros,
    /// A clock that never jumps, with any start: for pauses.
    pub steady: Duration,
}

impl Now {
    /// Both clocks so much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Now {
        Now { wall: after(self.wall, time), steady: self.steady.saturating_add(time) }
    }
}

/// Whether a source may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Never.
    Off,
    /// Also without a key.
    On,
    /// With a key.
    Auto,
}

/// A minimum for bulk sessions that nothing reaches: who sets it does without them.
pub const BULK_NEVER: usize = i32::MAX as usize;

/// HTTPS requests to GreyNoise at the same time.
pub const GREYNOISE_AT_ONCE: usize = 4;

/// The settings of the sources, their times and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether Team Cymru may be asked.
    pub cymru: bool,
    /// From so many due addresses on, the bulk session.
    pub bulk_min: usize,
    /// Whether GreyNoise may be asked.
    pub greynoise: Switch,
    /// Its base URL.
    pub greynoise_url: String,
    /// Questions to it at the same time.
    pub greynoise_at_once: usize,
    /// Questions to it in one window.
    pub greynoise_quota: u64,
    /// The window.
    pub greynoise_window: Window,
    /// When to look for answers that are old: five cron fields.
    pub refresh_schedule: String,
    /// Networks whose addresses are never sent to a source.
    pub never_ask: Vec<IpNetwork>,
}

impl Settings {
    /// Whether an address is never sent to a source.
    pub fn is_secret(&self, ip: IpAddr) -> bool {
        cascade::is_secret(&self.never_ask, ip)
    }
}

/// How the key of GreyNoise stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// A mark that distinguishes it from another one, if there is one.
    pub mark: Option<Mark>,
    /// It is being read, and questions should wait for that.
    pub coming: bool,
    /// The service does not accept it.
    pub refused: bool,
    /// There is one, and it cannot be read now.
    pub unreadable: bool,
}

/// All of it.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The time.
    pub now: Now,
    /// The settings in force.
    pub settings: &'a Settings,
    /// The key.
    pub key: Key,
}

impl Given<'_> {
    /// The account at GreyNoise that a question of now would go to.
    pub fn account(&self) -> Account {
        Account::of(&self.settings.greynoise_url, self.key.mark.as_ref())
    }
}
