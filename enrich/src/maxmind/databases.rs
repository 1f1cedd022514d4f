//! The open set of editions, and the look-up that asks them together.

use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::edition::Edition;
use super::generation::Generation;
use super::index::{OriginRef, PlaceRef};
use super::role::Fields;
use crate::address::effective;

/// The generations that answer now: those that hold places, those that hold origins, and all for whole-record queries.
///
/// Editions are independent: with only ASN installed, ASN answers. Of several that hold the same, the first of the list
/// answers, and the next ones stand in for it field by field. Never changed in place; a newer generation is a new
/// `Databases`, so that everything read from one is of one set of files.
#[derive(Default)]
pub struct Databases {
    generations: Vec<Arc<Generation>>,
    place: Option<usize>,
    origin: Option<usize>,
    // Behind the first ones: mostly there are none, and a look-up does not look.
    more_places: Vec<usize>,
    more_origins: Vec<usize>,
    installed_at: Option<i64>,
}

/// MaxMind's answer about one address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// Where; `None` when no installed edition has a place for it.
    pub place: Option<PlaceRef<'a>>,
    /// Whose; `None` when no installed edition has an origin for it.
    pub origin: Option<OriginRef<'a>>,
    /// The network that the origin stands for, or, without one, that the place stands for: of the file that gave the
    /// ASN, else of the first one with a record.
    pub network: Option<IpNetwork>,
}

/// An answer and the network that it stands for.
type Found<T> = Option<(T, IpNetwork)>;

impl Databases {
    /// Arranges generations, given in the order in which they stand in for each other. `installed_at` (Unix
    /// microseconds) is when the last of them came.
    pub fn new(generations: Vec<Generation>, installed_at: Option<i64>) -> Databases {
        let all = |fields: Fields| {
            let holding = generations.iter().enumerate().filter(|(_, g)| g.fields().meets(fields));
            let mut holding = holding.map(|(at, _)| at);
            (holding.next(), holding.collect())
        };
        let ((place, more_places), (origin, more_origins)) = (all(Fields::PLACE), all(Fields::ORIGIN));
        let generations = generations.into_iter().map(Arc::new).collect();
        Databases { generations, place, origin, more_places, more_origins, installed_at }
    }

    /// No edition that could answer is installed.
    pub fn is_empty(&self) -> bool {
        self.place.is_none() && self.origin.is_none()
    }

    /// All editions. Code that uses one for longer than a statement shares it: it stays mapped until all are done.
    pub fn generations(&self) -> &[Arc<Generation>] {
        &self.generations
    }

    /// The generation of one edition.
    pub fn edition(&self, edition: &Edition) -> Option<&Arc<Generation>> {
        self.generations.iter().find(|g| g.edition() == edition)
    }

    /// Unix microseconds: a stored answer older than this came from files that are no longer the newest.
    pub fn installed_at(&self) -> Option<i64> {
        self.installed_at
    }

    /// Which generations answer where and whose, in their order, for comparison: as long as it is the same, every
    /// answer is.
    pub fn answering(&self) -> String {
        let names = |first: Option<usize>, more: &[usize]| {
            let names: Vec<&str> = first.iter().chain(more).map(|at| self.generations[*at].name()).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(" + ") }
        };
        let place = names(self.place, &self.more_places);
        let origin = names(self.origin, &self.more_origins);
        let mut languages: Vec<&str> =
            self.generations.iter().filter_map(|generation| Some(generation.language()?.code())).collect();
        languages.dedup();
        let (version, languages) = (super::index::VERSION, languages.join(" "));
        format!("where {place}, whose {origin}, index {version} {languages}")
    }

    /// Everything MaxMind says of `ip`. Embedded IPv4 addresses (v4-mapped, 6to4, …) are answered as themselves.
    #[inline]
    pub fn answer(&self, ip: IpAddr) -> Answer<'_> {
        let ip = effective(ip);
        let (mut place, mut origin) = match (self.place, self.origin) {
            (Some(one), Some(other)) if one == other => {
                let (place, origin, network) = self.generations[one].both(ip);
                (place.zip(network), origin.zip(network))
            }
            (place, origin) => {
                (place.and_then(|i| self.generations[i].place(ip)), origin.and_then(|i| self.generations[i].origin(ip)))
            }
        };
        if !self.more_places.is_empty() {
            place = self.fill(ip, place);
        }
        if !self.more_origins.is_empty() {
            origin = self.next_origin(ip, origin);
        }
        Answer {
            network: origin.map(|(_, network)| network).or(place.map(|(_, network)| network)),
            place: place.map(|(place, _)| place),
            origin: origin.map(|(origin, _)| origin),
        }
    }

    /// Only where.
    #[inline]
    pub fn place(&self, ip: IpAddr) -> Option<PlaceRef<'_>> {
        let ip = effective(ip);
        let place = self.place.and_then(|i| self.generations[i].place(ip));
        let place = if self.more_places.is_empty() { place } else { self.fill(ip, place) };
        place.map(|(place, _)| place)
    }

    /// Only whose.
    #[inline]
    pub fn origin(&self, ip: IpAddr) -> Option<OriginRef<'_>> {
        let ip = effective(ip);
        let origin = self.origin.and_then(|i| self.generations[i].origin(ip));
        let origin = if self.more_origins.is_empty() { origin } else { self.next_origin(ip, origin) };
        origin.map(|(origin, _)| origin)
    }

    /// Only one field of where: later files are looked at only for that one.
    #[inline]
    pub fn of_place<'a, T>(&'a self, ip: IpAddr, field: Fields, read: impl Fn(PlaceRef<'a>) -> Option<T>) -> Option<T> {
        let ip = effective(ip);
        let of = |at: usize| self.generations[at].place(ip).and_then(|(place, _)| read(place));
        self.place.and_then(of).or_else(|| {
            let more = self.more_places.iter().filter(|at| self.generations[**at].fields().meets(field));
            more.copied().find_map(of)
        })
    }

    /// Fields that are missing in `first`, from the next files that may have them.
    #[inline(never)]
    fn fill<'a>(&'a self, ip: IpAddr, first: Found<PlaceRef<'a>>) -> Found<PlaceRef<'a>> {
        let mut found = first;
        for at in &self.more_places {
            let missing = found.map_or(Fields::PLACE, |(place, _)| missing(&place));
            if !self.generations[*at].fields().meets(missing) {
                continue;
            }
            let Some((other, network)) = self.generations[*at].place(ip) else { continue };
            match &mut found {
                None => found = Some((other, network)),
                Some((place, _)) => merge(place, &other),
            }
        }
        found
    }

    /// The first origin with an ASN; where none has one, the first with an organization. Both are of one file.
    #[inline(never)]
    fn next_origin<'a>(&'a self, ip: IpAddr, first: Found<OriginRef<'a>>) -> Found<OriginRef<'a>> {
        let has_asn = |found: &Found<OriginRef<'_>>| found.is_some_and(|(origin, _)| origin.asn.is_some());
        if has_asn(&first) {
            return first;
        }
        let mut rest = self.more_origins.iter().map(|at| self.generations[*at].origin(ip));
        let mut nameless = first;
        rest.find(|found| {
            nameless = nameless.or(*found);
            has_asn(found)
        })
        .unwrap_or(nameless)
    }
}

/// A point counts as one field, and with both of its numbers; its radius belongs to it.
fn has_point(place: &PlaceRef<'_>) -> bool {
    place.latitude.is_some() && place.longitude.is_some()
}

fn missing(place: &PlaceRef<'_>) -> Fields {
    Fields::COUNTRY.when(place.country_code.is_none())
        | Fields::REGION.when(place.region.is_none())
        | Fields::CITY.when(place.city.is_none())
        | Fields::POINT.when(!has_point(place))
        | Fields::TIME_ZONE.when(place.time_zone.is_none())
}

fn merge<'a>(place: &mut PlaceRef<'a>, other: &PlaceRef<'a>) {
    place.country_code = place.country_code.or(other.country_code);
    place.region = place.region.or(other.region);
    place.city = place.city.or(other.city);
    place.time_zone = place.time_zone.or(other.time_zone);
    let nothing = place.latitude.is_none() && place.longitude.is_none();
    if !has_point(place) && (has_point(other) || nothing && (other.latitude.is_some() || other.longitude.is_some())) {
        place.latitude = other.latitude;
        place.longitude = other.longitude;
        place.accuracy_radius_km = other.accuracy_radius_km;
    }
}
