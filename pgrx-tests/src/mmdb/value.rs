//! The values that an mmdb file can hold, and how JSON becomes them.

use serde_json::Value as Json;

/// A value of the format. Numbers have a fixed type, which JSON does not say: see `From<Json>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// UTF-8 text.
    Text(String),
    /// A double, as its bits, so that values can be compared and hashed.
    Double(u64),
    /// Unsigned, 16 bits.
    U16(u16),
    /// Unsigned, 32 bits.
    U32(u32),
    /// Unsigned, 64 bits.
    U64(u64),
    /// Signed, 32 bits.
    I32(i32),
    /// Truth.
    Bool(bool),
    /// Keys and values, in order.
    Map(Vec<(String, Value)>),
    /// Values, in order.
    Array(Vec<Value>),
    /// Any type by its number, and its bytes.
    Raw(u8, Vec<u8>),
}

impl Value {
    /// A double.
    #[must_use]
    pub fn double(x: f64) -> Value {
        Value::Double(x.to_bits())
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(x: &[u8]) -> Value {
        Value::Raw(4, x.to_vec())
    }

    /// A float.
    #[must_use]
    pub fn float(x: f32) -> Value {
        Value::Raw(15, x.to_be_bytes().to_vec())
    }

    /// Unsigned, 128 bits; leading zeros are left out.
    #[must_use]
    pub fn u128(x: u128) -> Value {
        Value::Raw(10, x.to_be_bytes()[x.leading_zeros() as usize / 8..].to_vec())
    }

    /// Text.
    #[must_use]
    pub fn text(x: &str) -> Value {
        Value::Text(x.to_string())
    }

    /// A map of the given pairs.
    #[must_use]
    pub fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
        Value::Map(pairs.map(|(key, value)| (key.to_string(), value)).into())
    }

    fn from_json(key: &str, json: Json) -> Value {
        match json {
            // The format has no null; MaxMind leaves such fields out.
            Json::Null => panic!("an mmdb file cannot hold null (in {key:?})"),
            Json::Bool(x) => Value::Bool(x),
            Json::String(x) => Value::Text(x),
            Json::Array(all) => Value::Array(all.into_iter().map(|x| Value::from_json(key, x)).collect()),
            Json::Object(all) => Value::Map(
                all.into_iter()
                    .map(|(name, x)| {
                        let value = Value::from_json(&name, x);
                        (name, value)
                    })
                    .collect(),
            ),
            Json::Number(x) => number(key, &x),
        }
    }
}

/// MaxMind's types for the fields of its databases; other integers take the smallest of 32 and 64 bits.
fn number(key: &str, x: &serde_json::Number) -> Value {
    let small = matches!(key, "accuracy_radius" | "metro_code" | "confidence" | "ip_version" | "record_size");
    if let (true, Some(Ok(x))) = (small, x.as_u64().map(u16::try_from)) {
        return Value::U16(x);
    }
    let fractional = matches!(key, "latitude" | "longitude");
    match (x.as_u64(), x.as_i64().map(i32::try_from), x.as_f64()) {
        (Some(x), _, _) if !fractional => u32::try_from(x).map_or(Value::U64(x), Value::U32),
        (None, Some(Ok(x)), _) if !fractional => Value::I32(x),
        (_, _, Some(x)) => Value::double(x),
        _ => panic!("{x} (in {key:?}) has no type in the format"),
    }
}

/// Numbers get the type that MaxMind gives the field of that name.
impl From<Json> for Value {
    fn from(json: Json) -> Self {
        Value::from_json("", json)
    }
}
