//! From bytes to a value that may be a secret. All intermediate copies are wiped.

use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::error::Why;
use super::{MAX_SECRET, Secret};

/// The text that a file or a program gave, without what editors leave around it: a byte order mark, blanks, and line
/// ends. Nothing that is sent in a header or in a URL begins or ends with one of them.
///
/// Control characters are refused: they cannot be meant, and a key with a line break in it would end an HTTP header
/// early.
pub(super) fn text(mut bytes: Zeroizing<Vec<u8>>) -> Result<Secret, Why> {
    if bytes.len() > MAX_SECRET {
        return Err(Why::Refused("is larger than 64 kB".to_owned()));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(Why::Refused("is UTF-16 text: save it as UTF-8".to_owned()));
    }
    let value = Zeroizing::new(match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(value) => value,
        Err(error) => {
            error.into_bytes().zeroize();
            return Err(Why::Refused("is not UTF-8 text".to_owned()));
        }
    });
    let around = |c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}');
    let line = value.trim_matches(around);
    if line.is_empty() {
        return Err(Why::Unset("is empty"));
    }
    if line.chars().any(char::is_control) {
        return Err(Why::Refused("has control characters or more than one line".to_owned()));
    }
    Ok(Secret::new(line.to_owned()))
}

/// Why a secret cannot be a key, if it cannot: a key is made of visible ASCII characters. Text around a key is refused
/// with its name, and not cut off: it may have another meaning.
pub(super) fn not_a_key(text: &str) -> Option<&'static str> {
    let quoted = |quote: char| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    if ['"', '\'', '`'].into_iter().any(quoted) || text.starts_with(['“', '”', '‘', '’', '„']) {
        return Some("is in quotes: store only the key itself");
    }
    if text.starts_with(['{', '[']) {
        return Some("looks like JSON: store only the key itself");
    }
    if is_assignment(text.strip_prefix("export ").unwrap_or(text)) {
        return Some("looks like NAME=value: store only the value");
    }
    if let Some((first, _)) = text.split_once(' ')
        && (first.ends_with(':') || LABELS.iter().any(|label| first.eq_ignore_ascii_case(label)))
    {
        return Some("begins with a word that is not part of a key: store only the key itself");
    }
    let visible = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    (!visible).then_some("has invalid characters")
}

/// As GeoIP.conf has it, and headers.
const LABELS: [&str; 6] = ["LicenseKey", "license_key", "Bearer", "Basic", "Token", "key"];

/// A name, an equals sign, and something behind it that is not the end of a base64 text.
fn is_assignment(text: &str) -> bool {
    let Some((name, value)) = text.split_once('=') else { return false };
    let name = name.trim_end();
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    is_name && !value.trim_matches('=').is_empty()
}

/// The value that stands under `keys` in a JSON document: a text, or a number or boolean as it is written.
pub(super) fn in_json<'a>(bytes: &[u8], keys: impl IntoIterator<Item = &'a str>) -> Result<Secret, Why> {
    // The parser's message may quote the document.
    let document = serde_json::from_slice(bytes).map_err(|_| Why::Failed("the answer is not JSON".to_owned()))?;
    let mut document = Wiped(document);
    let mut value = &mut document.0;
    for key in keys {
        let inner = match value {
            Value::Object(members) => members.get_mut(key),
            Value::Array(elements) => key.parse::<usize>().ok().and_then(|index| elements.get_mut(index)),
            _ => None,
        };
        value = inner.ok_or_else(|| Why::Refused("there is no such field".to_owned()))?;
    }
    match value {
        Value::String(value) => text(Zeroizing::new(std::mem::take(value).into_bytes())),
        Value::Number(_) | Value::Bool(_) => text(Zeroizing::new(value.to_string().into_bytes())),
        Value::Null => Err(Why::Unset("is null")),
        Value::Array(_) | Value::Object(_) => Err(Why::Refused("the field is not a string".to_owned())),
    }
}

/// A document whose texts are wiped when it is dropped.
struct Wiped(Value);

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// The parser refuses documents deeper than 128 levels, so this does not run out of stack.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(elements) => elements.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(bytes: &[u8]) -> Result<String, Why> {
        text(Zeroizing::new(bytes.to_vec())).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn what_editors_leave_around_a_secret_is_no_part_of_it() {
        for text in
            ["key", "key\n", "key\r\n", "key\n\n", " key ", "\tkey\r\n \n", "\u{feff}key\n", "\u{a0}key\u{200b}"]
        {
            assert_eq!(of(text.as_bytes()).unwrap(), "key", "{text:?}");
        }
        assert_eq!(of(b"two words").unwrap(), "two words");
        assert!(matches!(of(b"a\nb"), Err(Why::Refused(_))));
        assert!(matches!(of(b"a\0b"), Err(Why::Refused(_))));
        assert!(matches!(of(b"a\xff"), Err(Why::Refused(_))));
        for utf16 in [b"\xff\xfek\0e\0y\0", b"\xfe\xff\0k\0e\0y"] {
            let Err(Why::Refused(why)) = of(utf16) else { panic!("taken") };
            assert!(why.contains("UTF-16"), "{why}");
        }
        assert!(matches!(of(&[b'x'; MAX_SECRET + 1]), Err(Why::Refused(_))));
        for empty in ["", "\n", " ", "\u{feff}", "\r\n\r\n"] {
            assert!(matches!(of(empty.as_bytes()), Err(Why::Unset(_))), "{empty:?}");
        }
    }

    #[test]
    fn what_people_put_around_a_key_is_refused_by_its_name() {
        for (text, word) in [
            ("\"key\"", "quotes"),
            ("'key'", "quotes"),
            ("`key`", "quotes"),
            ("“key”", "quotes"),
            ("GREYNOISE_API_KEY=key", "NAME=value"),
            ("GREYNOISE_API_KEY=\"key\"", "NAME=value"),
            ("GREYNOISE_API_KEY = key", "NAME=value"),
            ("export GREYNOISE_API_KEY=key", "NAME=value"),
            ("license-key=key", "NAME=value"),
            ("{\"key\":\"x\"}", "JSON"),
            ("LicenseKey 0123", "a word that is not part"),
            ("maxmind_key: 0123", "a word that is not part"),
            ("Bearer 0123", "a word that is not part"),
            ("a\u{a0}b", "characters"),
            ("kéy", "characters"),
        ] {
            let why = not_a_key(text).expect(text);
            assert!(why.contains(word), "{text}: {why}");
        }
        for key in [
            "key",
            "fake/maxmind+canary",
            "QUJD=",
            "QUJDRA==",
            "a=",
            "12=34",
            "two words",
            "\"",
            "a'b",
            "x\"y\"",
            "-=x",
        ] {
            assert_eq!(not_a_key(key), None, "{key}");
        }
    }

    #[test]
    fn a_field_is_found_by_names_and_indexes() {
        let json = br#"{"a":{"b":["x",{"c":"key"}],"n":12,"z":null}}"#;
        let at = |keys: &[&str]| in_json(json, keys.iter().copied()).map(|secret| secret.expose().to_owned());
        assert_eq!(at(&["a", "b", "1", "c"]).unwrap(), "key");
        assert_eq!(at(&["a", "n"]).unwrap(), "12");
        assert!(matches!(at(&["a", "z"]), Err(Why::Unset(_))));
        assert!(matches!(at(&["a", "b", "2"]), Err(Why::Refused(_))));
        assert!(matches!(at(&["a", "b"]), Err(Why::Refused(_))));
        assert!(matches!(at(&["a", "n", "x"]), Err(Why::Refused(_))));
    }

    #[test]
    fn a_broken_document_is_not_quoted() {
        let Err(why) = in_json(br#"hunter2"#, ["a"]) else { panic!("taken") };
        assert!(!format!("{why} {why:?}").contains("hunter2"));
        let deep = "[".repeat(100_000);
        assert!(matches!(in_json(deep.as_bytes(), ["a"]), Err(Why::Failed(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_secret_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = of(&bytes) {
                prop_assert!(!value.is_empty() && !value.chars().any(char::is_control));
            }
            let _ = in_json(&bytes, ["a"]);
        }
    }
}
