//! What people write for a column or a path that is SQL, or another language's, and how it is written here.

use super::Selector;

const CAST: &str = "Leave the cast out: values are read as texts, and times as what they say.";
const EACH_KEY: &str = "A path is written with arrows, one for each key: payload->src->>ip.";
const INDEX: &str = "A path is written with arrows, an index from 0: payload->hops->0->>ip.";
const EACH_ELEMENT: &str = "A path to each element of an array is written with arrows: payload->hops->*->>ip.";
const ROOT: &str = "A path begins with the column, and is written with arrows: payload->src->>ip.";
const CALL: &str =
    "No function is called here: name the column or the path itself. list(…) and text(…) say how a text is read.";
const SEVERAL: &str =
    "Each path is an element of ip_columns of its own: ARRAY['payload->>src_ip', 'payload->>dst_ip'].";
const ZONE: &str = "A time zone stands behind an @: payload->>timestamp@Europe/Berlin.";
const QUOTES: &str = "A key stands in single quotes, or in none: payload->>src_ip.";
const PARENTHESES: &str = "Leave the parentheses out: payload->>src_ip.";
const NO_MORE: &str = "Behind the column and its keys nothing more is written: payload->src->>ip.";

/// How to write it instead; `None`: no known mistake.
///
/// ```
/// use enrich::selector::mistake;
/// assert!(mistake("payload#>>'{src,ip}'").is_some_and(|cure| cure.contains("payload->src->>ip")));
/// assert_eq!(mistake("payload->>src_ip"), None);
/// ```
#[must_use]
pub fn mistake(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let is_called = |text: &str| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        text.split_once('(').is_some_and(|(name, _)| !name.is_empty() && name.chars().all(is_name))
    };
    Some(match text {
        _ if text.contains("#>") => EACH_KEY,
        _ if text.contains("::") || text.to_ascii_lowercase().starts_with("cast(") => CAST,
        _ if text.starts_with('(') => PARENTHESES,
        _ if text.contains('[') => INDEX,
        _ if text.starts_with('$') => ROOT,
        _ if is_called(text) => CALL,
        _ if text.contains(',') => SEVERAL,
        _ if text.contains('.') && !text.contains("->") => {
            "A path into JSON is written with arrows: payload->>src_ip. The name of a column stands alone, without its table."
        }
        _ => return None,
    })
}

/// The first key of a path that is more likely a mistake than a key, and how to write what is meant; `None`: there is none. A key in
/// quotes is never one: it may be called anything.
///
/// ```
/// use enrich::selector::mistaken_key;
/// let (key, cure) = mistaken_key("payload->>ip::inet").unwrap();
/// assert!(key == "ip::inet" && cure.contains("cast"));
/// assert_eq!(mistaken_key("payload->>'ip::inet'"), None);
/// ```
#[must_use]
pub fn mistaken_key(text: &str) -> Option<(String, &'static str)> {
    let mut found = None;
    let look = |key: &str| {
        if found.is_none() {
            found = in_key(key).map(|cure| (key.to_owned(), cure));
        }
    };
    Selector::parse_telling(text, look).ok()?;
    found
}

/// What is wrong with a key. Dots, blanks and an `@` are parts of many.
fn in_key(key: &str) -> Option<&'static str> {
    let lower = key.to_ascii_lowercase();
    Some(match key {
        _ if key.contains("#>") => EACH_KEY,
        _ if key.contains("::") => CAST,
        _ if lower.contains(" at time zone ") => ZONE,
        _ if key.contains(',') => SEVERAL,
        _ if key == "$" || key.starts_with("$.") || key.starts_with("$[") => ROOT,
        _ if key.contains('*') => EACH_ELEMENT,
        _ if key.contains(['[', ']']) => INDEX,
        _ if key.contains(['\'', '"', '`']) => QUOTES,
        _ if key.contains('(') => CALL,
        _ if key.contains(')') => PARENTHESES,
        _ if key.contains([';', '<', '>']) || key.contains("||") || lower.contains(" as ") => NO_MORE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_apart() {
        for (text, word) in [
            ("payload#>>'{a,b}'", "arrows"),
            ("(payload->>'src_ip')::inet", "cast"),
            ("payload->>'at'::timestamptz", "cast"),
            ("(payload->>'src_ip')", "parentheses"),
            ("payload['src_ip']", "arrows"),
            ("$.src_ip", "begins with the column"),
            ("host(src_ip)", "No function"),
            ("to_timestamp(ts)", "No function"),
            // The column of coalesce(payload->>a, payload->>b).
            ("coalesce(payload", "No function"),
            ("src_ip, dst_ip", "Each path"),
            ("payload.src_ip", "arrows"),
        ] {
            assert!(mistake(text).is_some_and(|cure| cure.contains(word)), "{text}: {:?}", mistake(text));
        }
        for text in ["src_ip", "payload->src->>ip", "payload->>a.b", "at@Europe/Berlin", "Straße"] {
            assert_eq!(mistake(text), None, "{text}");
        }
    }

    #[test]
    fn keys_that_are_none_are_told_from_odd_ones() {
        for (text, key, word) in [
            ("payload->>ip::inet", "ip::inet", "cast"),
            ("payload->src::json->>ip", "src::json", "cast"),
            ("payload->>$.ip", "$.ip", "begins with the column"),
            ("payload->>$", "$", "begins with the column"),
            ("payload->>ip, payload->>ip2", "ip, payload", "Each path"),
            ("payload->>ip,", "ip,", "Each path"),
            ("payload->src#>>'{ip}'", "src#>>'{ip}'", "one for each key"),
            ("payload->>hops[0]", "hops[0]", "an index from 0"),
            ("payload->>hops[*]", "hops[*]", "->*->>"),
            ("payload->>\"src_ip\"", "\"src_ip\"", "single quotes"),
            ("payload->>ip'", "ip'", "single quotes"),
            ("list(payload->>xff::text)", "xff::text", "cast"),
            ("lower(payload->>ip)", "ip)", "parentheses"),
            ("payload->>lower(ip)", "lower(ip)", "No function"),
            ("payload->>>ip", ">ip", "nothing more"),
            ("payload->>ip;", "ip;", "nothing more"),
            ("payload->>ip AS src", "ip AS src", "nothing more"),
            ("payload->>ts AT TIME ZONE UTC", "ts AT TIME ZONE UTC", "Europe/Berlin"),
        ] {
            let found = mistaken_key(text);
            assert!(found.as_ref().is_some_and(|(of, cure)| of == key && cure.contains(word)), "{text}: {found:?}");
        }
        for text in [
            "src_ip",
            "payload->a->>src ip",
            "payload->>@timestamp",
            "payload->at->>$date",
            "payload->>source.ip",
            "payload->>bytes/in",
            "payload->hops->*->>ip",
            "payload->-1->>ip",
            "list(payload->>xff)",
            // In quotes, and no path at all.
            "payload->>'ip::inet'",
            "payload->'a, b'->>'$.ip'",
            "\"ip::inet\"",
            "payload->>'ip'::inet",
        ] {
            assert_eq!(mistaken_key(text), None, "{text}");
        }
    }
}
