//! Figures as people read them.

use chrono::DateTime;

/// `1234567` as `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `1234567` as `1.2M`, for axes.
pub fn short(n: f64) -> String {
    let (value, unit) = match n.abs() {
        v if v >= 1e9 => (n / 1e9, "G"),
        v if v >= 1e6 => (n / 1e6, "M"),
        v if v >= 1e3 => (n / 1e3, "k"),
        _ => (n, ""),
    };
    let digits = if value.fract().abs() < 0.05 || value.abs() >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$}{unit}")
}

/// A share in percent. Never `0 %` or `100 %` unless it is.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".into();
    }
    let share = 100.0 * part as f64 / whole as f64;
    match share {
        _ if part == 0 => "0 %".into(),
        _ if part == whole => "100 %".into(),
        s if s < 0.1 => "< 0.1 %".into(),
        s if s > 99.9 => "> 99.9 %".into(),
        s => format!("{s:.1} %"),
    }
}

/// Unix seconds in `chrono`'s format, UTC.
pub fn time(unix: i64, format: &str) -> String {
    DateTime::from_timestamp(unix, 0).map_or_else(|| "–".into(), |time| time.format(format).to_string())
}

/// How long before `now` something was.
pub fn ago(then: i64, now: i64) -> String {
    let s = now.saturating_sub(then).max(0);
    let (n, unit) = match s {
        0..120 => (s, "second"),
        120..7_200 => (s / 60, "minute"),
        7_200..172_800 => (s / 3_600, "hour"),
        _ => (s / 86_400, "day"),
    };
    format!("{} {unit}{} ago", thousands(n as u64), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!([0, 999, 1000, 1234567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 950.0, 1500.0, 20000.0, 2.5e6, 1.34e9].map(short),
            ["0", "950", "1.5k", "20k", "2.5M", "1.3G"]
        );
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(
            [percent(0, 9), percent(9, 9), percent(1, 100_000), percent(99_999, 100_000), percent(0, 0)],
            ["0 %", "100 %", "< 0.1 %", "> 99.9 %", "–"]
        );
        assert_eq!(time(0, "%Y-%m-%d %H:%M"), "1970-01-01 00:00");
        assert_eq!(time(i64::MAX, "%Y"), "–");
        assert_eq!(
            [ago(99, 100), ago(0, 7_199), ago(0, 864_000), ago(5, 0)],
            ["1 second ago", "119 minutes ago", "10 days ago", "0 seconds ago"]
        );
    }
}
