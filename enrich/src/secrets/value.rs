//! From bytes to a value that may be a secret. Whatever is read on the way is wiped.

use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::resolver::Why;
use super::{MAX_SECRET, Secret};

/// The text that a file or a program gave, without the newline that editors and `echo` leave at its end.
///
/// Control characters are refused: they can't be meant, and a key with a line break in it would end an HTTP header
/// early.
pub(super) fn text(mut bytes: Zeroizing<Vec<u8>>) -> Result<Secret, Why> {
    if bytes.len() > MAX_SECRET {
        return Err(Why::Refused("is larger than 64 kB".to_owned()));
    }
    let value = Zeroizing::new(match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(value) => value,
        Err(error) => {
            error.into_bytes().zeroize();
            return Err(Why::Refused("is not UTF-8 text".to_owned()));
        }
    });
    let line = value.strip_suffix('\n').unwrap_or(&value);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(Why::Unset("is empty"));
    }
    if line.chars().any(char::is_control) {
        return Err(Why::Refused("holds control characters, or more than one line".to_owned()));
    }
    Ok(Secret::new(line.to_owned()))
}

/// The value that stands under `keys` in a JSON document: a text, or a number or boolean as it is written.
pub(super) fn in_json<'a>(bytes: &[u8], keys: impl IntoIterator<Item = &'a str>) -> Result<Secret, Why> {
    // What the parser has to say may quote the document.
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
        Value::Array(_) | Value::Object(_) => Err(Why::Refused("the field is not a text".to_owned())),
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
    fn one_trailing_newline_is_no_part_of_a_secret() {
        assert_eq!(of(b"key").unwrap(), "key");
        assert_eq!(of(b"key\n").unwrap(), "key");
        assert_eq!(of(b"key\r\n").unwrap(), "key");
        assert_eq!(of(b" key ").unwrap(), " key ");
        assert!(matches!(of(b"key\n\n"), Err(Why::Refused(_))));
        assert!(matches!(of(b"a\nb"), Err(Why::Refused(_))));
        assert!(matches!(of(b"a\0b"), Err(Why::Refused(_))));
        assert!(matches!(of(b"\xff\xfe"), Err(Why::Refused(_))));
        assert!(matches!(of(&[b'x'; MAX_SECRET + 1]), Err(Why::Refused(_))));
        assert!(matches!(of(b"\n"), Err(Why::Unset(_))));
        assert!(matches!(of(b""), Err(Why::Unset(_))));
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
