//! Why a path into a JSON text leads to no address: one line for the author of the path.

use crate::json::{self, Value};

/// Keys that are named at most.
const KEYS: usize = 12;

/// Why nothing was found along a path through each element of arrays (see [`json::each_at`]), where nothing was: by the
/// first element.
///
/// ```
/// use enrich::miss::why_each;
/// let event = br#"{"answers": [{"Rdata": "203.0.113.9"}]}"#;
/// let reason = r#"no key "rdata"; the keys are: Rdata"#;
/// assert_eq!(why_each(event, &[vec!["answers"], vec!["rdata"]]), reason);
/// ```
pub fn why_each(json: &[u8], parts: &[Vec<impl AsRef<str>>]) -> String {
    let Some((part, rest)) = parts.split_first() else { return "no address".to_owned() };
    let found = json::at_path(json, part);
    match found.map(json::value) {
        Some(Value::Array(mut elements)) if !rest.is_empty() => match elements.next() {
            Some(element) => why_each(element, rest),
            None => "an empty array".to_owned(),
        },
        Some(Value::Null) if !rest.is_empty() => "null, not an array for *".to_owned(),
        Some(_) if !rest.is_empty() => "no array for *".to_owned(),
        _ => why(json, part),
    }
}

/// Why nothing was found at `path` in `json`, where nothing was.
///
/// ```
/// use enrich::miss::why;
/// let event = br#"{"src_ip": "203.0.113.9", "port": 22}"#;
/// assert_eq!(why(event, &["Src_IP"]), r#"no key "Src_IP"; the keys are: src_ip, port"#);
/// ```
pub fn why(json: &[u8], path: &[impl AsRef<str>]) -> String {
    for (at, step) in path.iter().enumerate() {
        let (above, step) = (&path[..at], step.as_ref());
        let Some(parent) = json::at_path(json, above) else { continue };
        if json::at_path(json, &path[..=at]).is_some() {
            continue;
        }
        let place = match above.last() {
            Some(key) => format!(" in {}", key.as_ref()),
            None => String::new(),
        };
        return match parent.first() {
            Some(b'{') => format!("no key \"{step}\"{place}{}", there(parent)),
            Some(b'[') if step.parse::<i64>().is_ok() => format!("no element {step}{place} of an array"),
            Some(b'[') => {
                format!("an array{place}, not an object with a key \"{step}\": use ->*->>{step} for each element")
            }
            Some(b'n') => format!("null{place}, not an object with a key \"{step}\""),
            _ => format!("a single value{place}, not an object with a key \"{step}\""),
        };
    }
    let value = json::at_path(json, path).unwrap_or_default();
    match json::value(value) {
        Value::Null => "null".to_owned(),
        Value::Array(_) => "an array without an address".to_owned(),
        Value::Text(text) if text.trim_ascii().is_empty() => "an empty text".to_owned(),
        _ => "no address".to_owned(),
    }
}

/// The keys of an object, cut.
fn there(object: &[u8]) -> String {
    let mut keys: Vec<String> = json::keys(object).take(KEYS + 1).map(|key| key.into_owned()).collect();
    if keys.is_empty() {
        return "; the object is empty".to_owned();
    }
    if keys.len() > KEYS {
        keys[KEYS] = "…".to_owned();
    }
    format!("; the keys are: {}", keys.join(", "))
}

#[cfg(test)]
mod tests {
    use super::why;

    #[test]
    fn the_first_step_that_leads_nowhere_is_named() {
        for (json, path, reason) in [
            (r#"{"a":{"b":"x","c":1}}"#, &["a", "B"][..], r#"no key "B" in a; the keys are: b, c"#),
            (r#"{"a":{}}"#, &["a", "b"], r#"no key "b" in a; the object is empty"#),
            (r#"{"a":"x"}"#, &["a", "b"], r#"a single value in a, not an object with a key "b""#),
            (r#"{"a":null}"#, &["a", "b"], r#"null in a, not an object with a key "b""#),
            (r#"[{"a":"8.8.8.8"}]"#, &["a"], r#"an array, not an object with a key "a": use ->*->>a for each element"#),
            ("[]", &["0", "a"], "no element 0 of an array"),
            ("7", &["a"], r#"a single value, not an object with a key "a""#),
            (r#"{"a":null}"#, &["a"], "null"),
            (r#"{"a":" "}"#, &["a"], "an empty text"),
            (r#"{"a":[null]}"#, &["a"], "an array without an address"),
            ("", &["a"], r#"a single value, not an object with a key "a""#),
        ] {
            assert_eq!(why(json.as_bytes(), path), reason, "{json}");
        }
    }

    #[test]
    fn through_arrays_the_first_element_tells() {
        use super::why_each;
        for (json, parts, reason) in [
            (r#"{"a":[{"b":1}]}"#, &[vec!["x"], vec!["b"]][..], r#"no key "x"; the keys are: a"#),
            (r#"{"a":{"b":1}}"#, &[vec!["a"], vec!["b"]], "no array for *"),
            (r#"{"a":null}"#, &[vec!["a"], vec!["b"]], "null, not an array for *"),
            (r#"{"a":[]}"#, &[vec!["a"], vec!["b"]], "an empty array"),
            (r#"{"a":[[{"c":1}]]}"#, &[vec!["a"], vec![], vec!["b"]], r#"no key "b"; the keys are: c"#),
        ] {
            assert_eq!(why_each(json.as_bytes(), parts), reason, "{json}");
        }
    }

    #[test]
    fn of_many_keys_some_are_named() {
        let object: Vec<String> = (0..1000).map(|i| format!("\"k{i}\":{i}")).collect();
        let reason = why(format!("{{{}}}", object.join(",")).as_bytes(), &["x"]);
        assert!(reason.ends_with("k10, k11, …"), "{reason}");
    }
}
