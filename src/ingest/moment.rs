//! The time of an event: a column that holds it, and the time zone in which a time without one is read.
#![allow(unsafe_code, reason = "reads times by the types of their columns, without a guard around each")]

use enrich::moment::plausible;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use super::extract::column;
use crate::pg::raw;
use crate::pg::time;

/// A column that holds the time of the event.
pub struct Moment {
    attribute: i16,
    kind: pg_sys::Oid,
    /// Where a `timestamp` or `date` is at home; the session's where it is null.
    zone: *mut pg_sys::pg_tz,
}

/// Why a column gives no time.
pub enum NoMoment {
    /// No such column.
    NoColumn,
    /// Its type is not a time.
    WrongType,
    /// It has a zone by itself, and needs none.
    HasZone,
    /// No such time zone.
    NoZone,
}

/// `observed_at` as it is written: a column, or `column@zone`, where no column has the whole as its name.
///
/// # Safety
/// `desc` must be a valid descriptor.
pub unsafe fn split(desc: pg_sys::TupleDesc, text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once('@') {
        Some((name, zone)) if column(desc, text).is_none() => (name, Some(zone)),
        _ => (text, None),
    }
}

impl Moment {
    /// The time that `text` names.
    ///
    /// # Safety
    /// `desc` must be a valid descriptor.
    pub unsafe fn parse(desc: pg_sys::TupleDesc, text: &str) -> Result<Moment, NoMoment> {
        // SAFETY: see above.
        let (name, zone) = unsafe { split(desc, text) };
        // SAFETY: see above.
        unsafe { Moment::new(desc, name, zone) }
    }

    /// The column `name` as a time in `zone`.
    ///
    /// # Safety
    /// `desc` must be a valid descriptor.
    pub unsafe fn new(desc: pg_sys::TupleDesc, name: &str, zone: Option<&str>) -> Result<Moment, NoMoment> {
        let attribute = column(desc, name).ok_or(NoMoment::NoColumn)?;
        // SAFETY: the attribute is one of this descriptor.
        let kind = unsafe { pg_sys::getBaseType(pg_sys::SPI_gettypeid(desc, attribute.into())) };
        if ![pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPOID, pg_sys::DATEOID].contains(&kind) {
            return Err(NoMoment::WrongType);
        }
        let zone = match zone {
            Some(_) if kind == pg_sys::TIMESTAMPTZOID => return Err(NoMoment::HasZone),
            Some(zone) => find_zone(zone).ok_or(NoMoment::NoZone)?,
            None => std::ptr::null_mut(),
        };
        Ok(Moment { attribute, kind, zone })
    }

    /// The column's number, from 1.
    pub fn attribute(&self) -> i16 {
        self.attribute
    }

    /// The value as a timestamptz that can be (see [`plausible`]); `None` for `infinity` and for values outside the
    /// range of timestamptz. `now` is the time of the statement.
    pub fn read(&self, datum: Datum, now: i64) -> Option<i64> {
        let mut overflow = 0;
        // SAFETY: conversions that report overflow instead of raising it.
        let moment = unsafe {
            match self.kind {
                pg_sys::TIMESTAMPTZOID => datum.value() as i64,
                pg_sys::TIMESTAMPOID if self.zone.is_null() => {
                    pg_sys::timestamp2timestamptz_opt_overflow(datum.value() as i64, &mut overflow)
                }
                _ if self.zone.is_null() => pg_sys::date2timestamptz_opt_overflow(datum.value() as i32, &mut overflow),
                pg_sys::TIMESTAMPOID => at_home(datum.value() as i64, self.zone)?,
                _ => match datum.value() as i32 {
                    i32::MIN | i32::MAX => return None,
                    days => at_home(i64::from(days) * 86_400_000_000, self.zone)?,
                },
            }
        };
        (overflow == 0 && time::is_moment(moment)).then(|| plausible(moment, now))
    }
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
