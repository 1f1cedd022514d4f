//! One field of a schedule, read into the list of its values.

/// The values of a field.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) min: u32,
    pub(super) max: u32,
    /// Where `*` and `n/step` end: Sunday is 0 and 7, and must not come twice.
    last: u32,
    /// Names of the values from `min` on.
    names: &'static [&'static str],
    /// Turns a value into the one that the `cron` crate means.
    translate: fn(u32) -> u32,
}

/// The content of a field.
pub(super) struct Values {
    /// For the `cron` crate: `*`, or numbers with commas between.
    pub(super) list: String,
    /// Does not begin with `*`: crontab's own measure of whether a field of days restricts.
    pub(super) restricted: bool,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

pub(super) const MINUTE: Field = Field { name: "minute", min: 0, max: 59, last: 59, names: &[], translate: same };
pub(super) const HOUR: Field = Field { name: "hour", min: 0, max: 23, last: 23, names: &[], translate: same };
pub(super) const DAY: Field = Field { name: "day of month", min: 1, max: 31, last: 31, names: &[], translate: same };
pub(super) const MONTH: Field = Field { name: "month", min: 1, max: 12, last: 12, names: &MONTHS, translate: same };
pub(super) const WEEKDAY: Field =
    Field { name: "day of week", min: 0, max: 7, last: 6, names: &WEEKDAYS, translate: |day| day % 7 + 1 };

fn same(value: u32) -> u32 {
    value
}

impl Field {
    /// The values of a list like `*/15`, `1-5`, `mon,wed-fri` or `3-21/6`. `None` if it is none.
    pub(super) fn read(&self, text: &str) -> Option<Values> {
        // A field holds at most 60 values: one bit each.
        let mut set = 0u64;
        for item in text.split(',') {
            set |= self.item(item)?;
        }
        let numbers: Vec<String> = (0..u64::BITS).filter(|n| set >> n & 1 == 1).map(|n| n.to_string()).collect();
        let list = if text == "*" { "*".to_owned() } else { numbers.join(",") };
        Some(Values { list, restricted: !text.starts_with('*') })
    }

    fn item(&self, item: &str) -> Option<u64> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|step| *step > 0)?)),
            None => (item, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.last),
            Some((first, last)) => (self.value(first)?, self.range_end(last)?),
            None => {
                let first = self.value(range)?;
                // With a step a single value is where to begin.
                (first, if step.is_some() { self.last.max(first) } else { first })
            }
        };
        if first > last {
            return None;
        }
        let values = (first..=last).step_by(step.unwrap_or(1) as usize);
        Some(values.fold(0, |set, value| set | 1 << (self.translate)(value)))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = match named {
            Some(position) => self.min + u32::try_from(position).ok()?,
            None => number(text)?,
        };
        (self.min..=self.max).contains(&value).then_some(value)
    }

    /// The end of a range: `fri-sun` ends on the Sunday after, which is 7.
    fn range_end(&self, text: &str) -> Option<u32> {
        let value = self.value(text)?;
        Some(if text.eq_ignore_ascii_case("sun") { self.max } else { value })
    }
}

/// Digits only: `u32`'s own parser takes a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
