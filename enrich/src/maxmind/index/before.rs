//! Records of versions 1 and 2: one place, or one origin. Such an index answers after an update of the extension, until
//! the next import has built a new one.

use super::format::{OriginRef, PlaceRef, RecordRef};
use crate::maxmind::role::Fields;

/// What the records of an old index are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Place,
    Origin,
}

impl Before {
    /// A record.
    pub fn record(self, bytes: &[u8]) -> Option<RecordRef<'_>> {
        Some(match self {
            Before::Place => RecordRef { place: Some(place(bytes)?), ..RecordRef::default() },
            Before::Origin => RecordRef { origin: Some(origin(bytes)?), ..RecordRef::default() },
        })
    }

    /// What its records may hold: nothing was counted.
    pub fn fields(self) -> Fields {
        match self {
            Before::Place => Fields::PLACE,
            Before::Origin => Fields::ORIGIN,
        }
    }
}

/// Country (2 bytes, NUL: none), radius (u16, 0xffff: none), latitude, longitude (f64, NaN: none), then region, city and
/// zone, each a length byte and text (0: none).
fn place(record: &[u8]) -> Option<PlaceRef<'_>> {
    let (head, mut rest) = record.split_at_checked(20)?;
    let radius = u16::from_le_bytes([head[2], head[3]]);
    let degrees = |at: usize| f64::from_le_bytes(head[at..at + 8].try_into().unwrap_or([0xff; 8]));
    let real = |d: f64| (!d.is_nan()).then_some(d);
    Some(PlaceRef {
        country_code: if head[0] == 0 { None } else { std::str::from_utf8(&head[..2]).ok() },
        registered_country_code: None,
        accuracy_radius_km: (radius != u16::MAX).then_some(radius),
        latitude: real(degrees(4)),
        longitude: real(degrees(12)),
        region: take_text(&mut rest),
        city: take_text(&mut rest),
        time_zone: take_text(&mut rest),
    })
}

/// ASN (u32, 0: none), then the organization as a length byte and text (0: none).
fn origin(record: &[u8]) -> Option<OriginRef<'_>> {
    let (head, mut rest) = record.split_at_checked(4)?;
    let asn = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    Some(OriginRef { asn: (asn != 0).then_some(asn), org: take_text(&mut rest) })
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (&len, tail) = rest.split_first()?;
    let (text, tail) = tail.split_at_checked(len.into())?;
    *rest = tail;
    if text.is_empty() { None } else { std::str::from_utf8(text).ok() }
}
