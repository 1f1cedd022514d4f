//! When something is due: the five-field form of crontab(5), in UTC.
//!
//! The `cron` crate knows the calendar, but not this form: it wants seconds first, counts weekdays from 1 = Sunday, and
//! knows no "or" between the two fields of days. So the fields are read here, strictly and with an error that names the
//! field, and handed over as plain lists of numbers.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::text;
use crate::time::Micros;

mod field;
#[cfg(test)]
mod tests;

use field::{Field, Values};

const MAX_LENGTH: usize = 256;

/// A text that is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// More text than a schedule needs.
    #[error("a schedule is at most {MAX_LENGTH} bytes long")]
    TooLong,
    /// Not five fields.
    #[error("a schedule has five fields (minute, hour, day of month, month, day of week), not {0}")]
    Fields(usize),
    /// One field is not understood.
    #[error("{field} \"{text}\" is not valid: use values from {min} to {max}, ranges (a-b), steps (/n), lists (a,b)")]
    Field {
        /// Which field.
        field: &'static str,
        /// Its text, cleaned and cut.
        text: String,
        /// Its least value.
        min: u32,
        /// Its greatest value.
        max: u32,
    },
    /// A day that does not exist, like the 30th of February.
    #[error("the schedule never matches a date")]
    NoSuchDay,
}

/// When something is due.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The next time is the earliest of all. None: never. Two: the "or" of the two fields of days.
    alternatives: Vec<cron::Schedule>,
}

impl Schedule {
    /// Reads the five fields minute, hour, day of month, month and day of week. An empty text is a schedule that never
    /// comes.
    ///
    /// As in crontab(5): `*`, numbers, ranges, lists, steps, the first three letters of English months and weekdays in
    /// any case, 0 and 7 for Sunday, and `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. If both fields of days
    /// are restricted (do not begin with `*`), a day that matches either of them will do.
    ///
    /// ```
    /// use enrich::schedule::Schedule;
    /// let tuesdays = Schedule::parse("30 4 * * tue").unwrap();
    /// assert_eq!(tuesdays.next(0), Some((5 * 86_400 + 4 * 3_600 + 30 * 60) * 1_000_000));
    /// ```
    pub fn parse(text: &str) -> Result<Schedule, ScheduleError> {
        if text.len() > MAX_LENGTH {
            return Err(ScheduleError::TooLong);
        }
        let fields: Vec<&str> = match text.trim() {
            "" => return Ok(Schedule { alternatives: Vec::new() }),
            shorthand if shorthand.starts_with('@') => expand(shorthand).split_whitespace().collect(),
            fields => fields.split_whitespace().collect(),
        };
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(ScheduleError::Fields(fields.len()));
        };
        let minute = read(&field::MINUTE, minute)?;
        let hour = read(&field::HOUR, hour)?;
        let day = read(&field::DAY, day)?;
        let month = read(&field::MONTH, month)?;
        let weekday = read(&field::WEEKDAY, weekday)?;

        let days: &[(&str, &str)] = if day.restricted && weekday.restricted {
            &[(&day.list, "*"), ("*", &weekday.list)]
        } else {
            &[(&day.list, &weekday.list)]
        };
        let mut alternatives = Vec::with_capacity(days.len());
        for (day, weekday) in days {
            let seconds_first = format!("0 {} {} {day} {} {weekday}", minute.list, hour.list, month.list);
            // Only numbers in their ranges are left, so this cannot fail; if it does, it must not panic.
            let schedule = cron::Schedule::from_str(&seconds_first).map_err(|_| ScheduleError::NoSuchDay)?;
            alternatives.push(schedule);
        }
        let schedule = Schedule { alternatives };
        if schedule.next(0).is_none() { Err(ScheduleError::NoSuchDay) } else { Ok(schedule) }
    }

    /// As [`Schedule::next`], but later by some part of the jitter: of half an hour, and of a tenth of the time to the
    /// turn after it where that is less, so that no turn runs into another. `chance` says which part; servers with
    /// other numbers come at other times.
    pub fn next_spread(&self, after: Micros, chance: u64) -> Option<Micros> {
        let at = self.next(after)?;
        let most = MAX_JITTER.as_micros() as u64;
        let most = match self.next(at) {
            Some(following) => most.min(following.abs_diff(at) / 10),
            None => most,
        };
        Some(crate::time::after(at, Duration::from_micros(chance % most.max(1))))
    }

    /// The first time that is later than `after`. `None`: never, or not before the year 2101, where the calendar of the
    /// `cron` crate ends.
    pub fn next(&self, after: Micros) -> Option<Micros> {
        // Its calendar begins in 1970, and takes no year before the year 0.
        let after = DateTime::<Utc>::from_timestamp_micros(after.max(-1))?;
        if after.timestamp() > LAST {
            return None;
        }
        self.alternatives.iter().filter_map(|s| s.after(&after).next()).map(|t| t.timestamp_micros()).min()
    }
}

/// How late the jitter of [`Schedule::next_spread`] ever makes anything.
const MAX_JITTER: Duration = Duration::from_secs(1800);

/// The last second of the year 2100.
const LAST: i64 = 4_133_980_799;

fn expand(shorthand: &str) -> &str {
    match shorthand.to_ascii_lowercase().as_str() {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        _ => shorthand,
    }
}

fn read(field: &Field, text: &str) -> Result<Values, ScheduleError> {
    field.read(text).ok_or_else(|| ScheduleError::Field {
        field: field.name,
        text: text::clean(text, 40).into_owned(),
        min: field.min,
        max: field.max,
    })
}
