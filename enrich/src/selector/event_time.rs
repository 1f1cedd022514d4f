//! Where the time of an event stands: a column, or a path into a JSON column, and the zone of times without one.

use std::fmt;

use super::{Reading, Selector, Step};

/// `attach_ip_source`'s `observed_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// The column's name, unquoted.
    pub column: String,
    /// The path as it is written, column included, where the time is in JSON.
    pub path: Option<String>,
    /// The time zone's name.
    pub zone: Option<String>,
}

impl EventTime {
    /// Reads `column`, `column@zone`, `column->>key` and `column->>key@zone`. No zone is named where a column has the whole
    /// as its name, nor where what is before the `@` is only the beginning of a path.
    ///
    /// ```
    /// use enrich::selector::EventTime;
    /// let time = EventTime::parse("payload->>@timestamp", |column| column == "payload");
    /// assert_eq!((time.column.as_str(), time.zone), ("payload", None));
    /// ```
    pub fn parse(text: &str, is_column: impl Fn(&str) -> bool) -> EventTime {
        let plain = |column: &str, zone| EventTime { column: column.to_owned(), path: None, zone };
        if is_column(text) {
            return plain(text, None);
        }
        let in_json = |text: &str, zone| match Selector::parse(text) {
            Ok(selector) if !selector.path.is_empty() => {
                Some(EventTime { column: selector.column, path: Some(text.trim().to_owned()), zone })
            }
            _ => None,
        };
        let split = text.rsplit_once('@').map(|(head, zone)| (head, Some(zone.trim().to_owned())));
        let zoned = split.clone().and_then(|(head, zone)| in_json(head, zone));
        zoned
            .or_else(|| in_json(text, None))
            .unwrap_or_else(|| split.map_or(plain(text, None), |(head, zone)| plain(head, zone)))
    }

    /// What is read: the column, or the path. Without the zone, which [`fmt::Display`] adds.
    pub fn written(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.column)
    }

    /// The keys of the path, none for a column; `None` where it leads to more than one value, or to none.
    pub fn keys(&self) -> Option<Vec<String>> {
        let Some(path) = &self.path else { return Some(Vec::new()) };
        let selector = Selector::parse(path).ok()?;
        if selector.reading == Reading::Address { selector.keys() } else { None }
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.written())?;
        self.zone.as_ref().map_or(Ok(()), |zone| write!(f, "@{zone}"))
    }
}

impl Selector {
    /// The keys of a path without `*`; `None` where it has one.
    pub fn keys(&self) -> Option<Vec<String>> {
        let key = |step: &Step| match step {
            Step::Key(key) => Some(key.clone()),
            Step::Each => None,
        };
        self.path.iter().map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_told_from_a_key() {
        for (text, column, path, zone) in [
            ("at", "at", None, None),
            ("at@Europe/Berlin", "at", None, Some("Europe/Berlin")),
            ("odd@name", "odd@name", None, None),
            ("payload->>timestamp", "payload", Some("payload->>timestamp"), None),
            ("payload->>timestamp@UTC", "payload", Some("payload->>timestamp"), Some("UTC")),
            ("payload->>@timestamp", "payload", Some("payload->>@timestamp"), None),
            ("payload->>@timestamp@Asia/Tokyo", "payload", Some("payload->>@timestamp"), Some("Asia/Tokyo")),
            ("payload->>'@timestamp'", "payload", Some("payload->>'@timestamp'"), None),
            ("payload->>'a@b'", "payload", Some("payload->>'a@b'"), None),
            ("payload->>", "payload->>", None, None),
        ] {
            let time = EventTime::parse(text, |column| column == "odd@name");
            let expected =
                EventTime { column: column.to_owned(), path: path.map(str::to_owned), zone: zone.map(str::to_owned) };
            assert_eq!(time, expected, "{text}");
        }
    }

    #[test]
    fn a_time_is_one_value() {
        let keys = |text: &str| EventTime::parse(text, |_| false).keys();
        assert_eq!(keys("at"), Some(vec![]));
        assert_eq!(keys("p->a->>b"), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(keys("p->a->*->>b"), None);
        assert_eq!(keys("text(p->>a)"), None);
    }
}
