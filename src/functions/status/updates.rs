//! Whether anybody is to be asked for newer files, as things are set. What failed is no trouble any more once nothing could
//! follow it that goes well: `source_status`, the doctor and the metrics go by this. Only a worker knows whether there is a
//! key. Where none runs, as on a standby, view and metric say nothing of the last look: nobody could end it there by giving a
//! key. The doctor, who is asked by people, tells it.

use std::sync::atomic::Ordering;

use pgrx::pg_sys::Datum;

use crate::pg::call::Call;
use crate::shared::checks::{SETTINGS, found};
use crate::{settings, shared, sql_function};

sql_function!(
    /// `_update_sources() → (are_any, with_schedules)`; `are_any` is null where it is not known. Roles that read
    /// `source_status` may not read the settings.
    update_sources,
    pg_finfo_update_sources,
    |call: Call| {
        let are_any = are_any();
        let mut values = [Datum::from(are_any.unwrap_or(false)), Datum::from(with_schedules())];
        call.row(&mut values, &mut [are_any.is_none(), false])
    }
);

/// Whether there is anybody to ask at all: other sources than MaxMind, or a key of MaxMind's. `None` where that is not known.
pub fn are_any() -> Option<bool> {
    if settings::downloads().sites.is_empty() { is_key_wanted() } else { Some(true) }
}

/// Whether there are sources with schedules of their own.
pub fn with_schedules() -> bool {
    settings::downloads().sites.iter().any(|site| site.every().is_some())
}

/// Whether there is a key, or should be one. `None` where no worker runs, which alone looks that up. Before one has looked,
/// what failed stays.
fn is_key_wanted() -> Option<bool> {
    let slot = shared::here().filter(|slot| slot.living_worker().is_some())?;
    let at = SETTINGS.iter().position(|setting| *setting == "maxmind_license_key");
    let state = at.map(|at| slot.checks.keys[at].found.load(Ordering::Relaxed));
    Some(!matches!(state, Some(found::NONE | found::UNSET)))
}
