//! The data section: values as bytes, equal values stored once and pointed to.

use super::value::Value;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Values, encoded one after the other.
#[derive(Default)]
pub struct DataSection {
    bytes: Vec<u8>,
    /// Where values stand that are worth a pointer, by their fingerprints: a full-size file has millions.
    known: HashMap<u128, u32>,
    pointers: bool,
}

impl DataSection {
    /// Equal values are stored once.
    pub fn with_pointers() -> DataSection {
        DataSection { pointers: true, ..DataSection::default() }
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Stores a record that the tree refers to and returns its offset. A record stands at its offset
    /// itself, never as a pointer to an earlier one.
    pub fn record(&mut self, value: &Value) -> u32 {
        match self.known.get(&fingerprint(value)) {
            Some(&at) => at,
            None => self.put(value),
        }
    }

    /// Appends `value`, or a pointer to an equal one, and returns where it stands.
    pub fn put(&mut self, value: &Value) -> u32 {
        let print = (self.pointers && worth_sharing(value)).then(|| fingerprint(value));
        if let Some(&at) = print.and_then(|print| self.known.get(&print)) {
            self.pointer(at);
            return at;
        }
        let at = u32::try_from(self.bytes.len()).expect("a data section of less than 4 GB");
        match value {
            Value::Text(x) => {
                self.control(2, x.len());
                self.bytes.extend(x.as_bytes());
            }
            Value::Double(bits) => {
                self.control(3, 8);
                self.bytes.extend(bits.to_be_bytes());
            }
            Value::Raw(kind, x) => {
                self.control(*kind, x.len());
                self.bytes.extend(x);
            }
            Value::U16(x) => self.unsigned(5, u64::from(*x)),
            Value::U32(x) => self.unsigned(6, u64::from(*x)),
            Value::U64(x) => self.unsigned(9, *x),
            Value::I32(x) => {
                self.control(8, 4);
                self.bytes.extend(x.to_be_bytes());
            }
            Value::Bool(x) => self.control(14, usize::from(*x)),
            Value::Map(pairs) => {
                self.control(7, pairs.len());
                for (key, value) in pairs {
                    self.put(&Value::Text(key.clone()));
                    self.put(value);
                }
            }
            Value::Array(all) => {
                self.control(11, all.len());
                for value in all {
                    self.put(value);
                }
            }
        }
        if let Some(print) = print {
            self.known.insert(print, at);
        }
        at
    }

    /// Leading zero bytes are left out.
    fn unsigned(&mut self, kind: u8, x: u64) {
        let bytes = x.to_be_bytes();
        let zeros = x.leading_zeros() as usize / 8;
        self.control(kind, 8 - zeros);
        self.bytes.extend(&bytes[zeros..]);
    }

    /// The control byte: three bits of type, five of size; types above 7 and sizes above 28 follow in
    /// bytes of their own.
    fn control(&mut self, kind: u8, size: usize) {
        let (five, more, count) = match size {
            0..=28 => (size, 0, 0),
            29..=284 => (29, size - 29, 1),
            285..=65_820 => (30, size - 285, 2),
            _ => (31, size - 65_821, 3),
        };
        assert!(more < 1 << 24, "a value of {size} bytes is too large");
        let five = five as u8;
        if kind <= 7 {
            self.bytes.push(kind << 5 | five);
        } else {
            self.bytes.extend([five, kind - 7]);
        }
        let more = (more as u32).to_be_bytes();
        self.bytes.extend(&more[4 - count..]);
    }

    /// A pointer: 11, 19, 27 or 32 bits, each size counting from where the smaller one ends.
    fn pointer(&mut self, at: u32) {
        const SECOND: u32 = 1 << 11;
        const THIRD: u32 = SECOND + (1 << 19);
        const FOURTH: u32 = THIRD + (1 << 27);
        let (size, rest) = match at {
            0..SECOND => (0u8, at),
            SECOND..THIRD => (1, at - SECOND),
            THIRD..FOURTH => (2, at - THIRD),
            _ => (3, at),
        };
        let bytes = rest.to_be_bytes();
        let high = if size == 3 { 0 } else { bytes[2 - size as usize] };
        self.bytes.push(1 << 5 | size << 3 | high);
        let skip = if size == 3 { 0 } else { 3 - size as usize };
        self.bytes.extend(&bytes[skip..]);
    }
}

/// 128 bits that no two values of a file share in practice.
fn fingerprint(value: &Value) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        value.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

/// A pointer takes two to five bytes: small values are not worth one.
fn worth_sharing(value: &Value) -> bool {
    match value {
        Value::Text(x) => x.len() > 3,
        Value::Double(_) | Value::Map(_) | Value::Array(_) => true,
        _ => false,
    }
}
