//! The table: the measurement, its baseline, the ratio, the limit, and whether it is kept.

/// One line.
pub struct Row {
    what: String,
    measured: String,
    against: String,
    ratio: String,
    limit: String,
    kept: Option<bool>,
}

impl Row {
    /// A line with a figure and nothing to hold it against.
    pub fn new(what: impl Into<String>, measured: impl Into<String>) -> Row {
        Row {
            what: what.into(),
            measured: measured.into(),
            against: String::new(),
            ratio: String::new(),
            limit: String::new(),
            kept: None,
        }
    }

    /// Its baseline.
    pub fn against(mut self, against: impl Into<String>) -> Row {
        self.against = against.into();
        self
    }

    /// Measured to measured against.
    pub fn ratio(mut self, ratio: f64) -> Row {
        self.ratio = format!("{ratio:.3}");
        self
    }

    /// The maximum of `value`.
    pub fn at_most(self, value: f64, limit: f64, unit: &str) -> Row {
        self.limit(format!("≤ {limit}{unit}"), value <= limit)
    }

    /// The minimum of `value`.
    pub fn at_least(self, value: f64, limit: f64, unit: &str) -> Row {
        self.limit(format!("≥ {limit}{unit}"), value >= limit)
    }

    fn limit(mut self, limit: String, kept: bool) -> Row {
        self.limit = limit;
        self.kept = Some(kept);
        self
    }

    /// Has a limit, and it is not kept.
    pub fn missed(&self) -> bool {
        self.kept == Some(false)
    }

    /// Has a limit.
    pub fn has_limit(&self) -> bool {
        self.kept.is_some()
    }

    fn cells(&self) -> [&str; 6] {
        let verdict = match self.kept {
            Some(true) => "ok",
            Some(false) => "MISSED",
            None => "",
        };
        [&self.what, &self.measured, &self.against, &self.ratio, &self.limit, verdict]
    }
}

/// Prints all lines under a head.
pub fn print(rows: &[Row]) {
    let head = ["what", "measured", "measured against", "ratio", "limit", ""];
    let lines: Vec<[&str; 6]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        if number == 0 {
            let rules: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
            println!("{}", rules.join("  ").trim_end());
        }
    }
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
