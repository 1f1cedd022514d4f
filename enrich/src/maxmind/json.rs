//! A whole record as JSON: every type of the format has a form.
//!
//! | in the file | as JSON |
//! |---|---|
//! | bytes | text, base64 |
//! | uint128 | a number, above 2⁶⁴ − 1 text in decimal: a number of JSON would lose digits |
//! | float | the shortest number that reads as the same float |
//! | double, float: NaN, infinities | null |
//! | everything else | as it is, without NUL: a text of PostgreSQL has none |
//!
//! How deep and how large a record may be, the decoder of `maxminddb` bounds.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A value of any type, read into JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Json(pub Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(AsJson).map(Json)
    }
}

struct AsJson;

impl<'de> Visitor<'de> for AsJson {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(printable(v)))
    }
    fn visit_bytes<E>(self, v: &[u8]) -> Result<Value, E> {
        Ok(Value::String(STANDARD.encode(v)))
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_f32<E>(self, v: f32) -> Result<Value, E> {
        // By way of its digits: 1.1 as a float must not become 1.100000023841858.
        Ok(if v.is_finite() { v.to_string().parse::<f64>().map_or(Value::Null, Value::from) } else { Value::Null })
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::from(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }
    fn visit_i128<E>(self, v: i128) -> Result<Value, E> {
        Ok(i64::try_from(v).map_or_else(|_| Value::String(v.to_string()), Value::from))
    }
    fn visit_u128<E>(self, v: u128) -> Result<Value, E> {
        Ok(u64::try_from(v).map_or_else(|_| Value::String(v.to_string()), Value::from))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((key, Json(value))) = map.next_entry::<String, Json>()? {
            fields.insert(printable(&key), value);
        }
        Ok(Value::Object(fields))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Json(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
}

fn printable(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::{BytesDeserializer, Error, F32Deserializer, F64Deserializer, U128Deserializer};
    use serde_json::json;

    fn read<'de>(d: impl Deserializer<'de, Error = Error>) -> Value {
        Json::deserialize(d).unwrap().0
    }

    #[test]
    fn bytes_are_base64() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"\x00\x00\x00\x2a", "AAAAKg==")]
        {
            assert_eq!(read(BytesDeserializer::new(bytes)), json!(text));
        }
    }

    #[test]
    fn numbers_lose_no_digit() {
        let of = |n: u128| -> U128Deserializer<Error> { n.into_deserializer() };
        assert_eq!(read(of(0)), json!(0));
        assert_eq!(read(of(u64::MAX.into())), json!(u64::MAX));
        assert_eq!(read(of(u128::MAX)), json!("340282366920938463463374607431768211455"));
        let of = |n: f32| -> F32Deserializer<Error> { n.into_deserializer() };
        assert_eq!(read(of(1.1)), json!(1.1));
        assert_eq!(read(of(f32::MAX)), json!(3.4028235e38));
    }

    #[test]
    fn what_is_no_number_is_null() {
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let of: F64Deserializer<Error> = odd.into_deserializer();
            assert_eq!(read(of), Value::Null);
            let of: F32Deserializer<Error> = (odd as f32).into_deserializer();
            assert_eq!(read(of), Value::Null);
        }
    }

    #[test]
    fn nul_is_left_out_of_texts_and_keys() {
        let read = |json: &str| serde_json::from_str::<Json>(json).unwrap().0;
        assert_eq!(read(r#"{"a\u0000b": ["\u0000c", {"d": "e\u0007"}]}"#), json!({ "ab": ["c", { "d": "e\u{7}" }] }));
    }
}
