//! The cost of a look-up without PostgreSQL: the `maxminddb` crate, mapped files, one tree walk a file, and the fields
//! that the extension serves, decoded once a record and found again by the record's offset.

use maxminddb::{Mmap, Reader, geoip2};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::stage::{ASN, CITY, Outcome};

/// The served fields of a City record.
struct Place {
    country_code: Option<String>,
    _region: Option<String>,
    _city: Option<String>,
    _latitude: Option<f64>,
    _longitude: Option<f64>,
    _accuracy_radius_km: Option<u16>,
    _time_zone: Option<String>,
}

/// The served fields of an ASN record.
struct Origin {
    asn: Option<u32>,
    _org: Option<String>,
}

/// Both files, and the records seen so far.
pub struct Bare {
    city: Reader<Mmap>,
    asn: Reader<Mmap>,
    places: HashMap<usize, Place>,
    origins: HashMap<usize, Origin>,
}

impl Bare {
    pub fn open(dir: &Path) -> Outcome<Bare> {
        // SAFETY: files of our own under the target directory, which are replaced by renaming only.
        let (city, asn) = unsafe { (Reader::open_mmap(dir.join(CITY))?, Reader::open_mmap(dir.join(ASN))?) };
        Ok(Bare { city, asn, places: HashMap::new(), origins: HashMap::new() })
    }

    fn place(&mut self, ip: IpAddr) -> Outcome<Option<&Place>> {
        let found = self.city.lookup(ip)?;
        let Some(offset) = found.offset() else { return Ok(None) };
        let slot = match self.places.entry(offset) {
            Entry::Occupied(known) => return Ok(Some(known.into_mut())),
            Entry::Vacant(slot) => slot,
        };
        let record: geoip2::City = found.decode()?.unwrap_or_default();
        let own = |text: Option<&str>| text.map(str::to_owned);
        Ok(Some(slot.insert(Place {
            country_code: own(record.country.iso_code.or(record.registered_country.iso_code)),
            _region: own(record.subdivisions.first().and_then(|region| region.names.english)),
            _city: own(record.city.names.english),
            _latitude: record.location.latitude,
            _longitude: record.location.longitude,
            _accuracy_radius_km: record.location.accuracy_radius,
            _time_zone: own(record.location.time_zone),
        })))
    }

    fn origin(&mut self, ip: IpAddr) -> Outcome<Option<&Origin>> {
        let found = self.asn.lookup(ip)?;
        let Some(offset) = found.offset() else { return Ok(None) };
        let slot = match self.origins.entry(offset) {
            Entry::Occupied(known) => return Ok(Some(known.into_mut())),
            Entry::Vacant(slot) => slot,
        };
        let record: Option<geoip2::Asn> = found.decode()?;
        Ok(Some(slot.insert(Origin {
            asn: record.as_ref().and_then(|record| record.autonomous_system_number),
            _org: record.and_then(|record| Some(record.autonomous_system_organization?.to_owned())),
        })))
    }

    /// As `count(lookup_ip(ip))`: both.
    pub fn both(&mut self, addresses: &[Ipv4Addr]) -> Outcome<u64> {
        for &address in addresses {
            black_box(self.place(address.into())?);
            black_box(self.origin(address.into())?);
        }
        Ok(addresses.len() as u64)
    }

    /// As `count(ip_asn(ip))`.
    pub fn asns(&mut self, addresses: &[Ipv4Addr]) -> Outcome<u64> {
        let mut count = 0;
        for &address in addresses {
            count += u64::from(self.origin(address.into())?.is_some_and(|origin| origin.asn.is_some()));
        }
        Ok(count)
    }

    /// As `count(ip_country(ip))`.
    pub fn countries(&mut self, addresses: &[Ipv4Addr]) -> Outcome<u64> {
        let mut count = 0;
        for &address in addresses {
            count += u64::from(self.place(address.into())?.is_some_and(|place| place.country_code.is_some()));
        }
        Ok(count)
    }
}
