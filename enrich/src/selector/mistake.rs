//! What people write for a column or a path that is SQL, or another language's, and how it is written here.

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
        let name = text.split('(').next().unwrap_or_default();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        text.ends_with(')') && !name.is_empty() && name.chars().all(is_name)
    };
    Some(match text {
        _ if text.contains("#>") => "A path is written with arrows, one for each key: payload->src->>ip.",
        _ if text.contains("::") || text.to_ascii_lowercase().starts_with("cast(") => {
            "Leave the cast out: values are read as texts, and times as what they say."
        }
        _ if text.starts_with('(') => "Leave the parentheses out: payload->>src_ip.",
        _ if text.contains('[') => "A path is written with arrows, an index from 0: payload->hops->0->>ip.",
        _ if text.starts_with('$') => "A path begins with the column, and is written with arrows: payload->src->>ip.",
        _ if is_called(text) => {
            "No function is called here: name the column or the path itself. list(…) and text(…) say how a text is read."
        }
        _ if text.contains('.') && !text.contains("->") => {
            "A path into JSON is written with arrows: payload->>src_ip. The name of a column stands alone, without its table."
        }
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
            ("payload.src_ip", "arrows"),
        ] {
            assert!(mistake(text).is_some_and(|cure| cure.contains(word)), "{text}: {:?}", mistake(text));
        }
        for text in ["src_ip", "payload->src->>ip", "payload->>a.b", "at@Europe/Berlin", "Straße"] {
            assert_eq!(mistake(text), None, "{text}");
        }
    }
}
