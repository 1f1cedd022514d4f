//! Who saw an event: a column, or a value in JSON, that names the sensor, the honeypot or the host.
#![allow(unsafe_code, reason = "reads values by the types of their columns")]

use std::cell::Cell;

use enrich::selector::{Reading, Selector, Step};
use enrich::text::clean;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::scalar::{Guarded, NoScalar, Scalar};
use super::tally::Tally;
use super::unread::{OF_SENSOR, Unread};
use crate::pg::encoding::{from_server, server_text};

/// Bytes of a name that are kept.
pub const LONGEST: usize = 100;

/// So many rows without a name, one after the other, are told of; then twice as many, and so on.
const MANY: u32 = 128;

/// Where a row names its sensor.
pub struct Sensor {
    place: Scalar,
    /// Rows without a name since the last one with a name.
    nameless: Cell<u32>,
}

impl Sensor {
    /// Reads a column or a path to one value; `None`: it is none.
    pub fn selector(text: &str) -> Option<Selector> {
        let selector = Selector::parse(text).ok()?;
        (selector.reading == Reading::Address && !selector.path.contains(&Step::Each)).then_some(selector)
    }

    /// The sensor in rows of `desc`.
    ///
    /// # Safety
    /// `desc` must be a valid descriptor.
    pub unsafe fn new(selector: &Selector, desc: pg_sys::TupleDesc) -> Result<Sensor, NoScalar> {
        // SAFETY: see above.
        unsafe { Scalar::new(selector, desc) }.map(|place| Sensor { place, nameless: Cell::new(0) })
    }

    /// Lets the tally count for the sensor that a row names; for none where it names none. Pallocs.
    ///
    /// # Safety
    /// `value` must give the values of a row of the table.
    pub unsafe fn turn(&self, value: impl Fn(i16) -> Option<Datum>, tally: &mut Tally) {
        let datum = value(self.place.attribute());
        let mut is_named = false;
        // SAFETY: see above.
        let read = datum.and_then(|datum| unsafe {
            self.place.read(datum, |name| {
                is_named = !name.is_empty();
                // A json may say a NUL, which no text may hold.
                if name.len() <= LONGEST && !name.contains(&0) {
                    tally.groups.of_sensor(name)
                } else {
                    tally.groups.of_sensor(&beginning(name))
                }
            })
        });
        if read.is_none() {
            tally.groups.of_sensor(b"");
        }
        if is_named {
            self.nameless.set(0);
            return;
        }
        let is_due = self.is_due();
        self.nameless.set(self.nameless.get().saturating_add(1));
        if is_due && tally.nameless.is_none() {
            // SAFETY: see above.
            let Unread { sample, reason } = unsafe { self.place.why_nothing(datum) };
            tally.nameless = Some(Unread { sample, reason: format!("{OF_SENSOR}{reason}") });
        }
    }

    /// Whether the next row without a name is to be told of.
    #[inline]
    fn is_due(&self) -> bool {
        let rows = self.nameless.get().saturating_add(1);
        rows >= MANY && rows.is_power_of_two()
    }

    /// The same inside a guard (see [`crate::pg::raw`]). False: [`Sensor::turn`] must be asked outside.
    ///
    /// # Safety
    /// As [`Sensor::turn`].
    #[inline]
    pub unsafe fn turn_in_guard(&self, value: impl Fn(i16) -> Option<Datum>, tally: &mut Tally) -> bool {
        let Some(datum) = value(self.place.attribute()) else { return self.turn_to_none(tally) };
        let (mut is_short, mut is_named) = (true, false);
        let turn = |name: &[u8]| {
            (is_short, is_named) = (name.len() <= LONGEST, !name.is_empty());
            if is_short {
                tally.groups.of_sensor(name);
            }
        };
        // SAFETY: see above.
        match unsafe { self.place.read_in_guard(datum, turn) } {
            Guarded::Read(()) if is_named => {
                self.nameless.set(0);
                is_short
            }
            Guarded::Read(()) | Guarded::Nothing => self.turn_to_none(tally),
            Guarded::Other => false,
        }
    }

    /// The same of a row that names no sensor.
    #[inline]
    fn turn_to_none(&self, tally: &mut Tally) -> bool {
        if self.is_due() {
            return false;
        }
        self.nameless.set(self.nameless.get().saturating_add(1));
        tally.groups.of_sensor(b"");
        true
    }
}

/// The beginning of a long name, of whole characters, without control characters.
fn beginning(name: &[u8]) -> Vec<u8> {
    let head = &name[..name.len().min(4 * LONGEST)];
    server_text(&clean(&from_server(head), LONGEST)).into_owned()
}
