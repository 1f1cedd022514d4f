//! The time of an event: a column, or a value in JSON, that holds it, and the time zone in which a time without one is
//! read.
#![allow(unsafe_code, reason = "reads times by the types of their columns, without a guard around each")]

use std::cell::Cell;

use enrich::json;
use enrich::json::Value;
use enrich::moment::{Bounds, Spoken, numeric, since_1970, spoken};
use enrich::selector::EventTime;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::extract::{column, is_text};
use super::jsonb_path::{JsonbPath, json_text};
use super::tally::Tally;
use super::unread::OF_TIME;
use crate::pg::datum::text_bytes;
use crate::pg::encoding::from_server;
use crate::pg::raw;
use crate::pg::raw::Found;
use crate::pg::time;
use crate::settings;

/// A value that holds the time of the event.
pub struct Moment {
    attribute: i16,
    kind: Kind,
    /// Where a `timestamp`, a `date` or a text is at home. Where it is null, the session's, and UTC for a text.
    zone: *mut pg_sys::pg_tz,
    /// Which times are believed in the statement of that time.
    bounds: Cell<(i64, Bounds)>,
}

/// The types that a time can have.
enum Kind {
    Timestamptz,
    Timestamp,
    Date,
    /// A number of seconds, or of parts of them, since 1970: see [`since_1970`].
    Integer,
    BigInteger,
    Float,
    Real,
    Numeric,
    Text,
    Jsonb(JsonbPath, Vec<String>),
    Json(Vec<String>),
}

impl Kind {
    /// Whether its values are moments, wherever they were written.
    fn has_zone(&self) -> bool {
        match self {
            Kind::Timestamptz | Kind::Integer | Kind::BigInteger | Kind::Float | Kind::Real | Kind::Numeric => true,
            Kind::Timestamp | Kind::Date | Kind::Text | Kind::Jsonb(..) | Kind::Json(_) => false,
        }
    }
}

/// Why a value gives no time.
pub enum NoMoment {
    /// No such column.
    NoColumn,
    /// Its type is not a time.
    WrongType,
    /// It has a zone by itself, and needs none.
    HasZone,
    /// No such time zone.
    NoZone,
    /// A JSON column without a path.
    NoPath,
    /// A path into a column that is not JSON, or one that leads to more than one value.
    BadPath,
}

impl Moment {
    /// The time that `place` names.
    ///
    /// # Safety
    /// `desc` must be a valid descriptor.
    pub unsafe fn new(desc: pg_sys::TupleDesc, place: &EventTime) -> Result<Moment, NoMoment> {
        let attribute = column(desc, &place.column).ok_or(NoMoment::NoColumn)?;
        // SAFETY: the attribute is one of this descriptor.
        let base = unsafe { pg_sys::getBaseType(pg_sys::SPI_gettypeid(desc, attribute.into())) };
        let path = match &place.path {
            None => None,
            Some(_) => Some(place.keys().ok_or(NoMoment::BadPath)?),
        };
        let kind = match (base, path) {
            (pg_sys::JSONBOID, Some(path)) => Kind::Jsonb(JsonbPath::new(&path), path),
            (pg_sys::JSONOID, Some(path)) => Kind::Json(path),
            (pg_sys::JSONBOID | pg_sys::JSONOID, None) => return Err(NoMoment::NoPath),
            (_, Some(_)) => return Err(NoMoment::BadPath),
            (pg_sys::TIMESTAMPTZOID, None) => Kind::Timestamptz,
            (pg_sys::TIMESTAMPOID, None) => Kind::Timestamp,
            (pg_sys::DATEOID, None) => Kind::Date,
            (pg_sys::INT4OID, None) => Kind::Integer,
            (pg_sys::INT8OID, None) => Kind::BigInteger,
            (pg_sys::FLOAT8OID, None) => Kind::Float,
            (pg_sys::FLOAT4OID, None) => Kind::Real,
            (pg_sys::NUMERICOID, None) => Kind::Numeric,
            (base, None) if is_text(base) => Kind::Text,
            _ => return Err(NoMoment::WrongType),
        };
        let zone = match &place.zone {
            Some(_) if kind.has_zone() => return Err(NoMoment::HasZone),
            Some(zone) => find_zone(zone).ok_or(NoMoment::NoZone)?,
            None => std::ptr::null_mut(),
        };
        Ok(Moment { attribute, kind, zone, bounds: Cell::new((0, bounds(0))) })
    }

    /// The column's number, from 1.
    pub fn attribute(&self) -> i16 {
        self.attribute
    }

    /// Whether reading it calls nothing of PostgreSQL's.
    pub fn is_bare(&self) -> bool {
        matches!(self.kind, Kind::Timestamptz)
    }

    /// The value as a timestamptz that is believed (see [`Bounds`]), or `now`, the time of the statement, where it is none.
    /// What should be a time and is none, or is not believed, is counted as unreadable. Pallocs.
    ///
    /// # Safety
    /// `datum` must be a value of the column.
    pub unsafe fn read(&self, datum: Datum, now: i64, tally: &mut Tally) -> i64 {
        // SAFETY: the kind was chosen by the column's type.
        unsafe {
            match &self.kind {
                Kind::Jsonb(path, keys) => match path.text(datum) {
                    Some(text) => self.said(text, now, tally),
                    None => {
                        missing(tally, || json_text(datum).unwrap_or_default(), keys);
                        now
                    }
                },
                Kind::Json(path) => {
                    let json = from_server(text_bytes(datum));
                    match json::at_path(json.as_bytes(), path).map(|found| (found, json::value(found))) {
                        None | Some((_, Value::Null)) => {
                            missing(tally, || json.clone(), path);
                            now
                        }
                        Some((_, Value::Text(text))) => self.said(&text, now, tally),
                        Some((found, _)) => self.said(found, now, tally),
                    }
                }
                Kind::Text => self.said(text_bytes(datum), now, tally),
                Kind::Numeric => self.believed(numeric(text_bytes(datum)), b"", now, tally),
                _ => self.believed(self.stored(datum), b"", now, tally),
            }
        }
    }

    /// The same inside a guard (see [`raw`]); `None`: [`Moment::read`] must be asked outside.
    ///
    /// # Safety
    /// As [`Moment::read`].
    #[inline]
    pub unsafe fn read_in_guard(&self, datum: Datum, now: i64, tally: &mut Tally) -> Option<i64> {
        // SAFETY: the kind was chosen by the column's type.
        unsafe {
            match &self.kind {
                Kind::Jsonb(path, _) => match path.in_guard(datum) {
                    Found::Text(text) => Some(self.said(text, now, tally)),
                    // Also to find out why there is none.
                    Found::Nothing | Found::Other => None,
                },
                Kind::Json(_) => None,
                Kind::Text => Some(self.said(raw::bytes(datum), now, tally)),
                Kind::Numeric => Some(self.believed(numeric(raw::bytes(datum)), b"", now, tally)),
                _ => Some(self.believed(self.stored(datum), b"", now, tally)),
            }
        }
    }

    /// A time by its text.
    fn said(&self, text: &[u8], now: i64, tally: &mut Tally) -> i64 {
        let moment = match spoken(text) {
            Some(Spoken::Local(local)) if !self.zone.is_null() => {
                // SAFETY: the zone is PostgreSQL's.
                unsafe { at_home(local, self.zone) }
            }
            Some(Spoken::Local(moment) | Spoken::Moment(moment)) => Some(moment),
            None => None,
        };
        self.believed(moment.filter(|moment| time::is_moment(*moment)), text, now, tally)
    }

    /// A time that is believed, or `now`.
    #[inline]
    fn believed(&self, moment: Option<i64>, text: &[u8], now: i64, tally: &mut Tally) -> i64 {
        if self.bounds.get().0 != now {
            self.bounds.set((now, bounds(now)));
        }
        let bounds = self.bounds.get().1;
        match moment {
            Some(moment) if bounds.has(moment) => {
                tally.has_time = true;
                moment
            }
            _ => {
                let why = match moment {
                    None => "no time",
                    Some(moment) if moment > bounds.last => "later than asn_inventory.event_time_ahead allows",
                    Some(_) => "earlier than asn_inventory.event_time_back allows",
                };
                tally.unreadable(text, format_args!("{OF_TIME}{why}"));
                now
            }
        }
    }

    /// A time by its type; `None` for `infinity` and for values outside the range of timestamptz.
    fn stored(&self, datum: Datum) -> Option<i64> {
        let mut overflow = 0;
        // SAFETY: conversions that report overflow instead of raising it.
        let moment = unsafe {
            match self.kind {
                Kind::Timestamptz => datum.value() as i64,
                Kind::Timestamp if self.zone.is_null() => {
                    pg_sys::timestamp2timestamptz_opt_overflow(datum.value() as i64, &mut overflow)
                }
                Kind::Date if self.zone.is_null() => {
                    pg_sys::date2timestamptz_opt_overflow(datum.value() as i32, &mut overflow)
                }
                Kind::Timestamp => at_home(datum.value() as i64, self.zone)?,
                Kind::Integer => since_1970(f64::from(datum.value() as i32))?,
                Kind::BigInteger => since_1970(datum.value() as i64 as f64)?,
                Kind::Float => since_1970(f64::from_bits(datum.value() as u64))?,
                Kind::Real => since_1970(f64::from(f32::from_bits(datum.value() as u32)))?,
                _ => match datum.value() as i32 {
                    i32::MIN | i32::MAX => return None,
                    days => at_home(i64::from(days) * 86_400_000_000, self.zone)?,
                },
            }
        };
        (overflow == 0 && time::is_moment(moment)).then_some(moment)
    }
}

fn bounds(now: i64) -> Bounds {
    let [ahead, back] = settings::event_times();
    Bounds::around(now, ahead, back)
}

/// A JSON value without the time: a path that is wrong in every row must be found. The reason costs more than all the
/// rest, and only the first of a statement is kept.
#[cold]
fn missing(tally: &mut Tally, json: impl FnOnce() -> String, path: &[String]) {
    if tally.unread.is_some() {
        tally.unparsable += 1;
        return;
    }
    let json = json();
    tally.unreadable(json.as_bytes(), format_args!("{OF_TIME}{}", enrich::miss::why(json.as_bytes(), path)));
}

/// A time without a zone, read in the given one, as `AT TIME ZONE` does; `None` if there is no such moment.
///
/// # Safety
/// `zone` must be PostgreSQL's.
unsafe fn at_home(local: i64, zone: *mut pg_sys::pg_tz) -> Option<i64> {
    if !time::is_moment(local) {
        return None;
    }
    let mut parts = pg_sys::pg_tm::default();
    let (mut fraction, mut moment) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: three functions of arithmetic, which report overflow.
    unsafe {
        if raw::timestamp2tm(local, none, &mut parts, &mut fraction, none.cast(), none.cast()) != 0 {
            return None;
        }
        let mut offset = raw::DetermineTimeZoneOffset(&mut parts, zone);
        (raw::tm2timestamp(&mut parts, fraction, &mut offset, &mut moment) == 0).then_some(moment)
    }
}

/// PostgreSQL's time zone of that name, which it keeps for as long as the process lives.
fn find_zone(name: &str) -> Option<*mut pg_sys::pg_tz> {
    let name = std::ffi::CString::new(name.trim()).ok().filter(|name| !name.is_empty())?;
    // SAFETY: reads a file of PostgreSQL's own directory of time zones, once a process and name.
    let zone = unsafe { pg_sys::pg_tzset(name.as_ptr()) };
    (!zone.is_null()).then_some(zone)
}
