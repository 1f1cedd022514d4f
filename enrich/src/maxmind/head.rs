//! The metadata of a file, read without the rest, so that a refused file is not copied.
//!
//! `maxminddb` requires `description` and `languages`, which the format's specification leaves to the vendor. Metadata
//! are therefore read here first; a copy that lacks them gets metadata of its own ([`Head::encode`]).

use maxminddb::Reader;
use serde::Deserialize;
use serde_json::Value;

use super::json::Json;
use crate::text::{MAX_TEXT, clean};

/// The metadata stand behind the last one of these.
pub(super) const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// The specification's limit for them, marker included.
pub(super) const MAX_METADATA: usize = 128 << 10;

/// The metadata that count.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Head {
    pub binary_format_major_version: u16,
    pub binary_format_minor_version: u16,
    pub build_epoch: u64,
    pub database_type: String,
    pub ip_version: u16,
    pub node_count: u32,
    pub record_size: u16,
    #[serde(default)]
    description: Option<Json>,
    #[serde(default)]
    languages: Option<Json>,
}

impl Head {
    /// Reads the end of a file, of [`MAX_METADATA`] bytes or all of it.
    ///
    /// # Errors
    /// In words, for a refusal.
    pub fn read(tail: &[u8]) -> Result<Head, String> {
        let Some(at) = tail.windows(MARKER.len()).rposition(|bytes| bytes == MARKER) else {
            return Err("invalid database: could not find MaxMind DB metadata in file".to_owned());
        };
        let metadata = &tail[at + MARKER.len()..];
        if metadata.is_empty() {
            return Err("invalid database: there is no metadata after its marker".to_owned());
        }
        let head = decode(metadata)?;
        if head.database_type.trim().is_empty() {
            return Err("invalid database: database_type is empty".to_owned());
        }
        Ok(head)
    }

    /// Its type, fit to be shown.
    pub fn database_type(&self) -> String {
        clean(&self.database_type, MAX_TEXT).into_owned()
    }

    /// Whether everything is there that `maxminddb` wants.
    pub fn is_complete(&self) -> bool {
        let texts = |mut of: Box<dyn Iterator<Item = &Value> + '_>| of.all(Value::is_string);
        let described = matches!(&self.description, Some(Json(Value::Object(of))) if !of.is_empty() && texts(Box::new(of.values())));
        let named = matches!(&self.languages, Some(Json(Value::Array(of))) if texts(Box::new(of.iter())));
        described && named
    }

    /// The same as metadata of the format, with the missing fields.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![7 << 5 | 9];
        let unsigned = |out: &mut Vec<u8>, key: &str, control: &[u8], bytes: &[u8]| {
            text(out, key);
            out.extend(control);
            out.extend(bytes);
        };
        for (key, value) in [
            ("binary_format_major_version", self.binary_format_major_version),
            ("binary_format_minor_version", self.binary_format_minor_version),
            ("ip_version", self.ip_version),
            ("record_size", self.record_size),
        ] {
            unsigned(&mut out, key, &[5 << 5 | 2], &value.to_be_bytes());
        }
        unsigned(&mut out, "node_count", &[6 << 5 | 4], &self.node_count.to_be_bytes());
        unsigned(&mut out, "build_epoch", &[8, 2], &self.build_epoch.to_be_bytes());
        text(&mut out, "database_type");
        text(&mut out, &self.database_type());
        text(&mut out, "description");
        out.push(7 << 5 | 1);
        text(&mut out, "en");
        text(&mut out, "none was given");
        text(&mut out, "languages");
        out.extend([0, 4]);
        out
    }
}

#[cfg(test)]
impl Head {
    /// Of a file of a test, under the name of one of MaxMind's.
    pub fn sample(ip_version: u16, record_size: u16, node_count: u32, build_epoch: u64) -> Head {
        Head {
            binary_format_major_version: 2,
            binary_format_minor_version: 0,
            build_epoch,
            database_type: "GeoLite2-ASN".to_owned(),
            ip_version,
            node_count,
            record_size,
            description: None,
            languages: None,
        }
    }
}

/// Decodes metadata by the decoder of records: as the only record of a file made up around them. Pointers inside count
/// from the beginning of either.
fn decode(metadata: &[u8]) -> Result<Head, String> {
    let around = Head {
        binary_format_major_version: 2,
        binary_format_minor_version: 0,
        build_epoch: 0,
        database_type: "metadata".to_owned(),
        ip_version: 4,
        node_count: 1,
        record_size: 24,
        description: None,
        languages: None,
    };
    // One node whose two branches lead to the data at 0: its place counts from the number of nodes and the separator.
    let mut file = vec![0, 0, 17, 0, 0, 17];
    file.extend([0; 16]);
    file.extend(metadata);
    file.extend(MARKER);
    file.extend(around.encode());
    let reader = Reader::from_source(file).map_err(|error| error.to_string())?;
    let told = |error: maxminddb::MaxMindDbError| format!("invalid database: its metadata cannot be read: {error}");
    let found = reader.lookup(std::net::Ipv4Addr::UNSPECIFIED.into()).map_err(told)?;
    found.decode().map_err(told)?.ok_or_else(|| "invalid database: it has no metadata".to_owned())
}

/// Of at most 284 bytes.
fn text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        short @ 0..29 => out.push(2 << 5 | short as u8),
        long => out.extend([2 << 5 | 29, (long - 29) as u8]),
    }
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            binary_format_major_version: 2,
            binary_format_minor_version: 1,
            build_epoch: 1 << 40,
            database_type: "GeoLite2-ASN \u{1b}[31mred\n".to_owned(),
            ip_version: 6,
            node_count: 70_000,
            record_size: 28,
            description: None,
            languages: None,
        }
    }

    fn tail(head: &Head) -> Vec<u8> {
        [b"data\xab\xcd\xefMaxMind.com and more", MARKER, &head.encode()].concat()
    }

    #[test]
    fn what_is_written_is_read_again_and_complete() {
        assert!(!head().is_complete());
        let read = Head::read(&tail(&head())).unwrap();
        assert!(read.is_complete());
        assert_eq!((read.node_count, read.record_size, read.build_epoch, read.ip_version), (70_000, 28, 1 << 40, 6));
        assert_eq!(read.database_type, "GeoLite2-ASN [31mred");
        let long = Head { database_type: "x".repeat(1000), ..head() };
        assert_eq!(Head::read(&tail(&long)).unwrap().database_type.len(), MAX_TEXT);
    }

    #[test]
    fn metadata_cut_anywhere_are_an_error_and_no_panic() {
        let whole = tail(&head());
        for length in 0..whole.len() {
            assert!(Head::read(&whole[..length]).is_err(), "{length}");
        }
    }
}
