//! The open set of editions, and the look-up that asks them together.

use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::edition::{Edition, Kind};
use super::generation::Generation;
use super::index::{OriginRef, PlaceRef};
use crate::address::effective;

/// The generations that answer now: one of each kind for the cascade, and all for whole-record queries.
///
/// Editions are independent: with only ASN installed, ASN answers. Never changed in place; a newer generation is a
/// new `Databases`, so that everything read from one is of one set of files.
#[derive(Default)]
pub struct Databases {
    generations: Vec<Arc<Generation>>,
    place: Option<usize>,
    origin: Option<usize>,
    installed_at: Option<i64>,
}

/// MaxMind's answer about one address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// Where; `None` when no City-like edition is installed or it has no record.
    pub place: Option<PlaceRef<'a>>,
    /// Whose; `None` when no ASN-like edition is installed or it has no record.
    pub origin: Option<OriginRef<'a>>,
    /// The network that the origin stands for, or, without one, that the place stands for.
    pub network: Option<IpNetwork>,
}

impl Databases {
    /// Arranges generations, given in the order in which editions of one kind are preferred. `installed_at` (Unix
    /// microseconds) is when the last of them came.
    pub fn new(generations: Vec<Generation>, installed_at: Option<i64>) -> Databases {
        let first = |kind| generations.iter().position(|g| g.kind() == kind);
        let (place, origin) = (first(Kind::Place), first(Kind::Asn));
        Databases { place, origin, generations: generations.into_iter().map(Arc::new).collect(), installed_at }
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

    /// Which generations answer where and whose, for comparison: as long as it is the same, every answer is.
    pub fn answering(&self) -> String {
        let name = |at: Option<usize>| at.map_or("none", |at| self.generations[at].name());
        format!("where {}, whose {}, index {}", name(self.place), name(self.origin), super::index::VERSION)
    }

    /// Everything MaxMind says of `ip`. Embedded IPv4 addresses (v4-mapped, 6to4, …) are answered as themselves.
    #[inline]
    pub fn answer(&self, ip: IpAddr) -> Answer<'_> {
        let ip = effective(ip);
        let place = self.place.and_then(|i| self.generations[i].place(ip));
        let origin = self.origin.and_then(|i| self.generations[i].origin(ip));
        Answer {
            network: origin.map(|(_, network)| network).or(place.map(|(_, network)| network)),
            place: place.map(|(place, _)| place),
            origin: origin.map(|(origin, _)| origin),
        }
    }

    /// Only where.
    #[inline]
    pub fn place(&self, ip: IpAddr) -> Option<PlaceRef<'_>> {
        Some(self.generations[self.place?].place(effective(ip))?.0)
    }

    /// Only whose.
    #[inline]
    pub fn origin(&self, ip: IpAddr) -> Option<OriginRef<'_>> {
        Some(self.generations[self.origin?].origin(effective(ip))?.0)
    }
}
