//! The open set of editions, and the look-up that asks them together.

use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::edition::Edition;
use super::generation::Generation;
use super::index::{OriginRef, PlaceRef, RecordRef, TraitsRef, network_of};
use super::merge::Merged;
use super::overlay::Overlay;
use super::role::Fields;
use crate::address::effective;
use crate::lists::Lists;

/// The generations that answer now, in the order of the list, and their overlay.
///
/// Editions are independent: with only ASN installed, ASN answers. Of several that hold the same, the first of the list
/// answers, and the next ones stand in for it field by field. Never changed in place; a newer generation is a new
/// `Databases`, so that everything read from one is of one set of files.
#[derive(Default)]
pub struct Databases {
    generations: Vec<Arc<Generation>>,
    /// Those of them that answer.
    answering: Vec<Arc<Generation>>,
    /// The only one with ASNs, where there is just one: its index is smaller than the overlay.
    asns: Option<usize>,
    /// The only one with countries.
    countries: Option<usize>,
    overlay: Option<Overlay>,
    installed_at: Option<i64>,
    lists: Arc<Lists>,
}

/// The files' answer about one address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// Where; `None` when no installed edition has a place for it.
    pub place: Option<PlaceRef<'a>>,
    /// Whose; `None` when no installed edition has an origin for it.
    pub origin: Option<OriginRef<'a>>,
    /// Of what kind; `None` when no installed edition says so.
    pub traits: Option<TraitsRef<'a>>,
    /// The network that the origin stands for; without one, that the place stands for; without one, the traits: of the
    /// file that gave the ASN, else of the first one with a record.
    pub network: Option<IpNetwork>,
}

impl Databases {
    /// Arranges generations, given in the order in which they stand in for each other. `installed_at` (Unix
    /// microseconds) is when the last of them came. The overlay must be one of just these generations.
    pub(super) fn new(generations: Vec<Generation>, overlay: Option<Overlay>, installed_at: Option<i64>) -> Databases {
        let generations: Vec<Arc<Generation>> = generations.into_iter().map(Arc::new).collect();
        let only = |fields: Fields| {
            let mut all = generations.iter().enumerate().filter(|(_, g)| g.fields().meets(fields));
            all.next().filter(|_| all.next().is_none()).map(|(at, _)| at)
        };
        let (asns, countries) = (only(Fields::ASN), only(Fields::COUNTRY));
        let answering: Vec<_> = generations.iter().filter(|g| !g.fields().is_empty()).cloned().collect();
        let overlay = overlay.filter(|overlay| overlay.editions() == answering.len());
        Databases { generations, answering, asns, countries, overlay, installed_at, lists: Arc::default() }
    }

    /// The lists of networks that answer beside the files.
    pub fn lists(&self) -> &Arc<Lists> {
        &self.lists
    }

    /// Other lists from now on.
    pub fn set_lists(&mut self, lists: Arc<Lists>) {
        self.lists = lists;
    }

    /// No edition that could answer is installed.
    pub fn is_empty(&self) -> bool {
        self.answering.is_empty()
    }

    /// All editions. Code that uses one for longer than a statement shares it: it stays mapped until all are done.
    pub fn generations(&self) -> &[Arc<Generation>] {
        &self.generations
    }

    /// The generation of one edition.
    pub fn edition(&self, edition: &Edition) -> Option<&Arc<Generation>> {
        self.generations.iter().find(|g| g.edition() == edition)
    }

    /// Unix microseconds: a stored answer older than this came from files or lists that are no longer the newest. `None`
    /// without either: no stored answer is older then.
    pub fn installed_at(&self) -> Option<i64> {
        self.installed_at.max(self.lists.installed_at())
    }

    /// Whether IPv4 is answered from one index of all editions.
    pub fn has_overlay(&self) -> bool {
        self.overlay.is_some()
    }

    /// Which generations answer where, whose and of what kind, in their order, for comparison: as long as it is the same,
    /// every answer is.
    pub fn answering(&self) -> String {
        let names = |fields: Fields| {
            let answering = self.generations.iter().filter(|generation| generation.fields().meets(fields));
            let names: Vec<&str> = answering.map(|generation| generation.label()).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(" + ") }
        };
        let [place, origin, traits] = [Fields::PLACE, Fields::ORIGIN, Fields::TRAITS].map(names);
        let mut languages: Vec<&str> =
            self.generations.iter().filter_map(|generation| Some(generation.language()?.code())).collect();
        languages.dedup();
        let (version, languages) = (super::index::VERSION, languages.join(" "));
        format!("where {place}, whose {origin}, flags {traits}, index {version} {languages}")
    }

    /// Everything the files say of `ip`. Embedded IPv4 addresses (v4-mapped, 6to4, …) are answered as themselves.
    #[inline]
    pub fn answer(&self, ip: IpAddr) -> Answer<'_> {
        let ip = effective(ip);
        let merged = self.merged(ip, Fields::ALL);
        let RecordRef { place, origin, traits } = merged.record();
        Answer { place, origin, traits, network: merged.prefix().and_then(|prefix| network_of(ip, prefix)) }
    }

    /// Only the AS.
    #[inline]
    pub fn asn(&self, ip: IpAddr) -> Option<u32> {
        let ip = effective(ip);
        match self.asns {
            Some(only) => self.generations[only].asn_of(ip),
            None => self.merged(ip, Fields::ASN).record().origin?.asn,
        }
    }

    /// Only whose.
    #[inline]
    pub fn origin(&self, ip: IpAddr) -> Option<OriginRef<'_>> {
        self.merged(effective(ip), Fields::ORIGIN).record().origin
    }

    /// Only the country.
    #[inline]
    pub fn country_code(&self, ip: IpAddr) -> Option<&str> {
        let ip = effective(ip);
        match self.countries {
            Some(only) => self.generations[only].country_of(ip),
            None => self.merged(ip, Fields::COUNTRY).record().place?.country_code,
        }
    }

    /// Only where.
    #[inline]
    pub fn place(&self, ip: IpAddr) -> Option<PlaceRef<'_>> {
        self.merged(effective(ip), Fields::PLACE).record().place
    }

    /// What each edition says, put together, as far as `wanted` goes.
    #[inline]
    fn merged(&self, ip: IpAddr, wanted: Fields) -> Merged<'_> {
        let mut merged = Merged::default();
        let may_add =
            |generation: &Generation, merged: &Merged<'_>| generation.fields().meets(wanted & merged.missing());
        match (&self.overlay, ip) {
            (Some(overlay), IpAddr::V4(v4)) => {
                let Some(words) = overlay.find(v4.into()) else { return merged };
                for (generation, word) in self.answering.iter().zip(words) {
                    generation.fetch(*word);
                }
                for (generation, word) in self.answering.iter().zip(words) {
                    if *word != [0; 4]
                        && may_add(generation, &merged)
                        && let Some((record, prefix)) = generation.record_at(*word)
                    {
                        merged.add(&record, prefix);
                    }
                }
            }
            _ => {
                for generation in &self.answering {
                    if may_add(generation, &merged)
                        && let Some((record, prefix)) = generation.record_of(ip)
                    {
                        merged.add(&record, prefix);
                    }
                }
            }
        }
        merged
    }
}
