//! Who saw an event: a column, or a value in JSON, that names the sensor, the honeypot or the host.
#![allow(unsafe_code, reason = "reads values by the types of their columns")]

use enrich::selector::{Reading, Selector, Step};
use enrich::text::clean;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::scalar::{Guarded, NoScalar, Scalar};
use super::tally::Tally;
use crate::pg::encoding::{from_server, server_text};

/// Bytes of a name that are kept.
pub const LONGEST: usize = 100;

/// Where a row names its sensor.
pub struct Sensor(Scalar);

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
        unsafe { Scalar::new(selector, desc) }.map(Sensor)
    }

    /// Lets the tally count for the sensor that a row names; for none where it names none. Pallocs.
    ///
    /// # Safety
    /// `value` must give the values of a row of the table.
    pub unsafe fn turn(&self, value: impl Fn(i16) -> Option<Datum>, tally: &mut Tally) {
        // SAFETY: see above.
        let read = value(self.0.attribute()).and_then(|datum| unsafe {
            self.0.read(datum, |name| {
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
    }

    /// The same inside a guard (see [`crate::pg::raw`]). False: [`Sensor::turn`] must be asked outside.
    ///
    /// # Safety
    /// As [`Sensor::turn`].
    #[inline]
    pub unsafe fn turn_in_guard(&self, value: impl Fn(i16) -> Option<Datum>, tally: &mut Tally) -> bool {
        let Some(datum) = value(self.0.attribute()) else {
            tally.groups.of_sensor(b"");
            return true;
        };
        let mut is_short = true;
        let turn = |name: &[u8]| {
            is_short = name.len() <= LONGEST;
            if is_short {
                tally.groups.of_sensor(name);
            }
        };
        // SAFETY: see above.
        match unsafe { self.0.read_in_guard(datum, turn) } {
            Guarded::Read(()) => is_short,
            Guarded::Nothing => {
                tally.groups.of_sensor(b"");
                true
            }
            Guarded::Other => false,
        }
    }
}

/// The beginning of a long name, of whole characters, without control characters.
fn beginning(name: &[u8]) -> Vec<u8> {
    let head = &name[..name.len().min(4 * LONGEST)];
    server_text(&clean(&from_server(head), LONGEST)).into_owned()
}
