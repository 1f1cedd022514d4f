//! The expected result of a look-up, from the bare `maxminddb` crate and the whole record as JSON.

use enrich::maxmind::Databases;
use enrich::text::{MAX_TEXT, clean};
use ipnetwork::IpNetwork;
use maxminddb::{Reader, WithinOptions};
use serde_json::Value as Json;
use std::net::IpAddr;
use std::path::Path;

type Mmdb = Reader<Vec<u8>>;

/// The operator's files, read with nothing in between.
pub struct Oracle {
    city: Option<Mmdb>,
    asn: Option<Mmdb>,
}

/// One address, answered.
#[derive(Debug, PartialEq)]
pub struct Said {
    place: Option<Place>,
    origin: Option<(Option<u32>, Option<String>)>,
    network: Option<IpNetwork>,
}

#[derive(Debug, Default, PartialEq)]
struct Place {
    country: Option<String>,
    region: Option<String>,
    city: Option<String>,
    degrees: (Option<f64>, Option<f64>),
    radius: Option<u64>,
    time_zone: Option<String>,
}

impl Oracle {
    pub fn new(city: Option<&Path>, asn: Option<&Path>) -> Oracle {
        let open = |path: Option<&Path>| path.map(|p| Mmdb::open_readfile(p).expect("a sound file"));
        Oracle { city: open(city), asn: open(asn) }
    }

    /// Every network of both files, aliases aside.
    pub fn networks(&self) -> Vec<IpNetwork> {
        let readers = self.city.iter().chain(&self.asn);
        let all = readers.flat_map(|r| r.networks(WithinOptions::default()).expect("networks"));
        all.map(|found| found.expect("a network").network().expect("a network")).collect()
    }

    /// The files' answer about an address that is its own effective address.
    pub fn says(&self, ip: IpAddr) -> Said {
        let place = look(&self.city, ip).map(|(json, network)| (place(&json), network));
        let place = place.filter(|(place, _)| *place != Place::default());
        let origin = look(&self.asn, ip).map(|(json, network)| (origin(&json), network));
        let origin = origin.filter(|(origin, _)| *origin != (None, None));
        Said {
            network: origin.as_ref().map(|o| o.1).or(place.as_ref().map(|p| p.1)),
            place: place.map(|p| p.0),
            origin: origin.map(|o| o.0),
        }
    }

    /// Both ways of asking, side by side: everything at once, and a field at a time.
    pub fn check(&self, databases: &Databases, ip: IpAddr) {
        let wanted = self.says(ip);
        assert_eq!(said(databases, ip), wanted, "{ip}");
        let answer = databases.answer(ip);
        assert_eq!(databases.place(ip), answer.place, "{ip}");
        assert_eq!(databases.origin(ip), answer.origin, "{ip}");
    }
}

/// The result of the code under test.
pub fn said(databases: &Databases, ip: IpAddr) -> Said {
    let answer = databases.answer(ip);
    let own = |text: Option<&str>| text.map(str::to_owned);
    Said {
        place: answer.place.map(|p| Place {
            country: own(p.country_code),
            region: own(p.region),
            city: own(p.city),
            degrees: (p.latitude, p.longitude),
            radius: p.accuracy_radius_km.map(u64::from),
            time_zone: own(p.time_zone),
        }),
        origin: answer.origin.map(|o| (o.asn, own(o.org))),
        network: answer.network,
    }
}

fn look(reader: &Option<Mmdb>, ip: IpAddr) -> Option<(Json, IpNetwork)> {
    let reader = reader.as_ref()?;
    if ip.is_ipv6() && reader.metadata().ip_version == 4 {
        return None;
    }
    let found = reader.lookup(ip).expect("a look-up");
    let record = found.decode().expect("a record")?;
    Some((record, found.network().expect("a network")))
}

fn place(record: &Json) -> Place {
    let text = |value: &Json| value.as_str().map(|text| clean(text, MAX_TEXT).into_owned());
    let continent = text(&record["continent"]["code"]).filter(|code| code == "EU" || code == "OC");
    let location = &record["location"];
    Place {
        country: text(&record["country"]["iso_code"]).or(text(&record["registered_country"]["iso_code"])).or(continent),
        region: text(&record["subdivisions"][0]["names"]["en"]),
        city: text(&record["city"]["names"]["en"]),
        degrees: (location["latitude"].as_f64(), location["longitude"].as_f64()),
        radius: location["accuracy_radius"].as_u64(),
        time_zone: text(&location["time_zone"]),
    }
}

fn origin(record: &Json) -> (Option<u32>, Option<String>) {
    let number = record["autonomous_system_number"].as_u64();
    let org = record["autonomous_system_organization"].as_str();
    (number.map(|n| u32::try_from(n).expect("an ASN")), org.map(|org| clean(org, MAX_TEXT).into_owned()))
}
