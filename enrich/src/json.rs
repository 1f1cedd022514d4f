//! One value out of a JSON text, by its path, without reading more.
//!
//! The text comes from a `json` column: PostgreSQL found it well-formed when it was stored, and kept it as it was
//! written. Its own reader of such a text raises errors that must not fail an insert: for half a surrogate pair or
//! `\u0000` in any string, even one that is not requested, and for nesting that just fitted the stack before. Attackers
//! choose both. So this reads without recursion, unescapes only compared or returned strings, and never fails: a path
//! that it cannot follow has no value.

use std::borrow::Cow;

/// A value, as far as addresses are concerned.
#[derive(Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A string, unescaped.
    Text(Cow<'a, [u8]>),
    /// An array; its elements as JSON texts.
    Array(Elements<'a>),
    /// Anything else, and a string whose escapes make no text.
    Other,
}

/// The value at `path` in `json`, as JSON text. A step into an object is a key (of several equal ones the last counts,
/// as in jsonb), one into an array an index from 0, or from the end where negative.
///
/// ```
/// use enrich::json::at_path;
/// let event = br#"{"peer": {"ip": "203.0.113.9"}, "junk": "\ud800\u0000"}"#;
/// assert_eq!(at_path(event, &["peer", "ip"]), Some(&br#""203.0.113.9""#[..]));
/// assert_eq!(at_path(event, &["peer", "port"]), None);
/// ```
pub fn at_path<'a>(json: &'a [u8], path: &[impl AsRef<str>]) -> Option<&'a [u8]> {
    let start = blanks(json, 0);
    let mut value = &json[start..end_of_value(json, start)];
    for step in path {
        let step = step.as_ref();
        value = match value.first()? {
            b'{' => member(value, step)?,
            b'[' => {
                let index: i64 = step.parse().ok()?;
                let from_end = || index + Elements::of(value).count() as i64;
                let index = if index < 0 { from_end() } else { index };
                Elements::of(value).nth(usize::try_from(index).ok()?)?
            }
            _ => return None,
        };
    }
    Some(value)
}

/// Hands over the values at a path that goes through each element of arrays: `parts` are the keys before, between and
/// behind the places where it does. What is no array there has no elements.
///
/// ```
/// let event = br#"{"answers": [{"rdata": "203.0.113.9"}, {"type": "A"}, {"rdata": "2001:db8::1"}]}"#;
/// let mut found = Vec::new();
/// enrich::json::each_at(event, &[vec!["answers"], vec!["rdata"]], &mut |value| found.push(value));
/// assert_eq!(found, [&br#""203.0.113.9""#[..], br#""2001:db8::1""#]);
/// ```
pub fn each_at<'a>(json: &'a [u8], parts: &[Vec<impl AsRef<str>>], found: &mut impl FnMut(&'a [u8])) {
    let Some((part, rest)) = parts.split_first() else { return found(json) };
    let Some(value) = at_path(json, part) else { return };
    if rest.is_empty() {
        return found(value);
    }
    if let Value::Array(elements) = self::value(value) {
        elements.for_each(|element| each_at(element, rest, found));
    }
}

/// Whether a text, of any origin, is a JSON array.
pub fn is_array(text: &[u8]) -> bool {
    text.first() == Some(&b'[') && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

/// The value of a JSON text.
pub fn value(json: &[u8]) -> Value<'_> {
    match json.first() {
        Some(b'n') | None => Value::Null,
        Some(b'"') => unescape(json).map_or(Value::Other, Value::Text),
        Some(b'[') => Value::Array(Elements::of(json)),
        _ => Value::Other,
    }
}

/// The elements of an array, as JSON texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elements<'a> {
    array: &'a [u8],
    at: usize,
}

impl<'a> Elements<'a> {
    fn of(array: &'a [u8]) -> Elements<'a> {
        Elements { array, at: blanks(array, 1) }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = end_of_value(self.array, self.at);
        let element = &self.array[self.at..end];
        let separator = blanks(self.array, end);
        self.at = match self.array.get(separator) {
            Some(b',') => blanks(self.array, separator + 1),
            _ => self.array.len(),
        };
        (!element.is_empty()).then_some(element)
    }
}

/// The keys of an object, in its order; none for other values, and without keys with invalid escapes.
pub fn keys(json: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    let mut at = if json.first() == Some(&b'{') { blanks(json, 1) } else { json.len() };
    std::iter::from_fn(move || {
        while json.get(at) == Some(&b'"') {
            let key_end = end_of_value(json, at);
            let key = unescape(&json[at..key_end]);
            let separator = blanks(json, end_of_value(json, blanks(json, blanks(json, key_end) + 1)));
            at = match json.get(separator) {
                Some(b',') => blanks(json, separator + 1),
                _ => json.len(),
            };
            if let Some(key) = key {
                return Some(match key {
                    Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
                    Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
                });
            }
        }
        None
    })
}

/// The last member of that name.
fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    let mut at = blanks(object, 1);
    while object.get(at) == Some(&b'"') {
        let key_end = end_of_value(object, at);
        let start = blanks(object, blanks(object, key_end) + 1);
        let end = end_of_value(object, start);
        if unescape(&object[at..key_end]).is_some_and(|key| *key == *name.as_bytes()) {
            found = Some(&object[start..end]);
        }
        let separator = blanks(object, end);
        if object.get(separator) != Some(&b',') {
            break;
        }
        at = blanks(object, separator + 1);
    }
    found
}

/// The place of the next byte that is not a blank, or the end.
fn blanks(json: &[u8], from: usize) -> usize {
    let from = from.min(json.len());
    let blank = |b: &&u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
    from + json[from..].iter().take_while(blank).count()
}

/// Where the value that starts at `start` ends; `start` itself where none does.
fn end_of_value(json: &[u8], start: usize) -> usize {
    let mut at = start;
    let mut depth = 0usize;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => at = end_of_string(json, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' if depth == 0 => break,
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => break,
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Where the string that starts at `start` ends, quotes included.
fn end_of_string(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

/// The bytes of a string in quotes; `None` where its escapes make no text.
fn unescape(quoted: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !inner.contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_slice::<String>(quoted).ok().map(|text| Cow::Owned(text.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(json: &'a str, path: &[&str]) -> Option<&'a str> {
        at_path(json.as_bytes(), path).map(|value| str::from_utf8(value).expect("cut between characters"))
    }

    #[test]
    fn values_are_found_by_keys_and_indexes() {
        let json = r#" { "a" : [ 1, {"b": "x"} , [ ] ], "c":{"d":null,"e":-1.5e3},"f,]}":"\"}]", "g\u0041":true } "#;
        assert_eq!(at(json, &["a", "0"]), Some("1"));
        assert_eq!(at(json, &["a", "1", "b"]), Some("\"x\""));
        assert_eq!(at(json, &["a", "-1"]), Some("[ ]"));
        assert_eq!(at(json, &["a", "-3"]), Some("1"));
        assert_eq!(at(json, &["c"]), Some(r#"{"d":null,"e":-1.5e3}"#));
        assert_eq!(at(json, &["c", "d"]), Some("null"));
        assert_eq!(at(json, &["c", "e"]), Some("-1.5e3"));
        assert_eq!(at(json, &["f,]}"]), Some(r#""\"}]""#));
        assert_eq!(at(json, &["gA"]), Some("true"));
        let nowhere: [&[&str]; 8] =
            [&["b"], &["a", "3"], &["a", "-4"], &["a", "x"], &["a", "0", "0"], &["c", "0"], &["a", "2", "0"], &["d"]];
        for path in nowhere {
            assert_eq!(at(json, path), None, "{path:?}");
        }
        assert_eq!(at("\"x\"", &[]), Some("\"x\""));
        assert_eq!(at("\"x\"", &["x"]), None);
    }

    #[test]
    fn keys_are_those_of_the_object_itself() {
        let found = |json: &str| keys(json.as_bytes()).map(Cow::into_owned).collect::<Vec<_>>().join("|");
        assert_eq!(found(r#"{ "a" : {"x":1}, "b,":[{"y":2}] , "\u0063":"}", "\ud800":0,"d":null }"#), "a|b,|c|d");
        assert_eq!(["{}", "[{\"a\":1}]", "\"a\"", "", "{"].map(found), [""; 5]);
    }

    #[test]
    fn of_equal_keys_the_last_counts() {
        assert_eq!(at(r#"{"a":1,"b":2,"a":{"c":3}}"#, &["a"]), Some(r#"{"c":3}"#));
    }

    #[test]
    fn bad_escapes_elsewhere_hide_nothing() {
        let json = r#"{"\ud800":"\u0000","a":["\udc00",["\u0000"],"x\\"],"\u0000":{},"b":"y"}"#;
        assert_eq!(at(json, &["b"]), Some("\"y\""));
        let Value::Array(elements) = value(at(json, &["a"]).expect("an array").as_bytes()) else { panic!("no array") };
        let texts: Vec<Value> = elements.map(value).collect();
        assert_eq!(texts[0], Value::Other);
        assert!(matches!(texts[1], Value::Array(_)));
        assert_eq!(texts[2], Value::Text(Cow::Borrowed(b"x\\")));
    }

    #[test]
    fn values_are_what_they_start_with() {
        for (json, expected) in [
            ("null", Value::Null),
            ("\"\"", Value::Text(Cow::Borrowed(b""))),
            (r#""8.8.8.\u0038""#, Value::Text(Cow::Borrowed(b"8.8.8.8"))),
            (r#""\u0000""#, Value::Text(Cow::Borrowed(b"\0"))),
            ("7", Value::Other),
            ("true", Value::Other),
            ("{}", Value::Other),
        ] {
            assert_eq!(value(json.as_bytes()), expected, "{json}");
        }
        let Value::Array(elements) = value(b"[ ]") else { panic!("no array") };
        assert_eq!(elements.count(), 0);
    }

    #[test]
    fn an_array_is_one_to_its_end() {
        assert!(["[]", "[1,[\"\\ud800\"]]"].iter().all(|text| is_array(text.as_bytes())));
        assert!(
            ["", "[", "{}", "[2001:db8::1]", "[]:80", "[1,]", "[\"a]"].iter().all(|text| !is_array(text.as_bytes()))
        );
    }

    #[test]
    fn a_path_goes_through_each_element() {
        let found = |json: &'static str, parts: &[Vec<&str>]| {
            let mut found = Vec::new();
            each_at(json.as_bytes(), parts, &mut |value| found.push(str::from_utf8(value).unwrap()));
            found
        };
        let json = r#"[{"a":[1,{"b":2}]}, {"a":{"b":3}}, 4, {"a":[{"b":[5]}]}]"#;
        assert_eq!(found(json, &[vec![], vec!["a"]]), [r#"[1,{"b":2}]"#, r#"{"b":3}"#, r#"[{"b":[5]}]"#]);
        assert_eq!(found(json, &[vec![], vec!["a"], vec!["b"]]), ["2", "[5]"]);
        assert_eq!(found(json, &[vec![], vec!["a"], vec!["b"], vec![]]), ["5"]);
        assert_eq!(found(json, &[vec!["0", "a", "1"], vec![]]), [""; 0]);
        assert_eq!(found("[]", &[vec![], vec![]]), [""; 0]);
    }

    #[test]
    fn depth_costs_no_stack() {
        let json = format!("{{\"deep\":{}{},\"ip\":\"x\"}}", "[{\"a\":".repeat(500_000) + "1", "}]".repeat(500_000));
        assert_eq!(at(&json, &["ip"]), Some("\"x\""));
        assert!(is_array(at(&json, &["deep"]).expect("an array").as_bytes()));
    }

    #[test]
    fn what_is_no_json_ends_and_never_panics() {
        let pieces = ["{", "}", "[", "]", "\"", "\\", ",", ":", " ", "a", "\"k\":", "1", "null", "\\u00"];
        let mut texts: Vec<String> = vec![String::new()];
        for _ in 0..4 {
            texts = texts.iter().flat_map(|text| pieces.iter().map(move |piece| format!("{text}{piece}"))).collect();
            for text in &texts {
                for path in [&["k"][..], &["0", "k"], &["-1"]] {
                    if let Some(found) = at_path(text.as_bytes(), path)
                        && let Value::Array(elements) = value(found)
                    {
                        assert!(elements.count() <= text.len());
                    }
                }
            }
        }
    }
}
