//! Whether anybody is to be asked for newer files, as things are set. What failed is no trouble any more once nothing could
//! follow it that goes well: `source_status`, the doctor and the metrics go by this.

use std::sync::atomic::Ordering;

use pgrx::pg_sys::Datum;

use crate::pg::call::Call;
use crate::shared::checks::{SETTINGS, found};
use crate::{settings, shared, sql_function};

sql_function!(
    /// `_update_sources() → (are_any, with_schedules)`. Roles that read `source_status` may not read the settings.
    update_sources,
    pg_finfo_update_sources,
    |call: Call| {
        let mut values = [Datum::from(are_any()), Datum::from(with_schedules())];
        call.row(&mut values, &mut [false; 2])
    }
);

/// Whether there is anybody to ask at all: other sources than MaxMind, or a key of MaxMind's.
pub fn are_any() -> bool {
    !settings::downloads().sites.is_empty() || is_key_wanted()
}

/// Whether there are sources with schedules of their own.
pub fn with_schedules() -> bool {
    settings::downloads().sites.iter().any(|site| site.every().is_some())
}

/// Whether there is a key, or should be one. Without a worker that has looked, that is not known, and what failed stays.
fn is_key_wanted() -> bool {
    let Some(slot) = shared::here().filter(|slot| slot.living_worker().is_some()) else { return true };
    let at = SETTINGS.iter().position(|setting| *setting == "maxmind_license_key");
    let state = at.map(|at| slot.checks.keys[at].found.load(Ordering::Relaxed));
    !matches!(state, Some(found::NONE | found::UNSET))
}
