//! Sources of files beside MaxMind's server: one edition or list of networks, one URL (`asn_inventory.mmdb_sources`).
//!
//! ```text
//! dbip-city-lite=https://download.example/free/dbip-city-lite-{year}-{month}.mmdb.gz,
//! ipinfo_lite=https://ipinfo.example/data/lite.mmdb?token={secret:env:IPINFO_TOKEN},
//! GeoLite2-City=https://reader:{secret:file:/run/secrets/mirror}@mirror.example/GeoLite2-City.tar.gz#sha256&every=6h,
//! tor-exits=https://lists.example/exits.txt#list&every=1h
//! ```

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::kind::Kind;
use super::template::{Template, outside_braces};
use crate::maxmind::edition::Edition;

/// A source of one edition, or of one list of networks.
#[derive(Clone, Debug)]
pub struct Site {
    name: Edition,
    kind: Kind,
    pub(super) url: Template,
    /// Whether its SHA-256 sum stands beside it.
    pub(super) has_sum: bool,
    /// A schedule of its own; `None`: that of all downloads.
    every: Option<Duration>,
    /// Tells it from what the setting named before.
    mark: String,
}

/// A text that cannot be a list of sources. It is not repeated: a key may stand in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSite {
    /// No equals sign, or no edition before it.
    #[error("entry {0} is not edition=https://…")]
    Entry(usize),
    /// Its URL.
    #[error("the source of {0}: {1}")]
    Url(String, String),
    /// Two for one edition.
    #[error("{0} has two sources")]
    Twice(String),
}

const MINUTE: u64 = 60;
/// No source wants to be asked more often.
const SHORTEST: u64 = 10 * MINUTE;
const LONGEST: u64 = 366 * 24 * 60 * MINUTE;

impl Site {
    /// A comma-separated list. A comma in a URL is written as `%2C`.
    ///
    /// # Errors
    /// [`BadSite`] for the first entry that is none.
    pub fn list(text: &str) -> Result<Vec<Site>, BadSite> {
        let mut sites: Vec<Site> = Vec::new();
        let mut from = 0;
        let commas = outside_braces(text).filter(|(_, c)| *c == ',').map(|(at, _)| at).chain([text.len()]);
        for (index, to) in commas.enumerate() {
            let entry = text[from..to].trim();
            from = (to + 1).min(text.len());
            if entry.is_empty() {
                continue;
            }
            let (name, url) = entry.split_once('=').ok_or(BadSite::Entry(index + 1))?;
            let edition = Edition::new(name.trim()).map_err(|_| BadSite::Entry(index + 1))?;
            let bad = |why: String| BadSite::Url(edition.name().to_owned(), why);
            let site = Site::of(edition.clone(), url.trim()).map_err(bad)?;
            if sites.iter().any(|other| other.is_named_as(&site)) {
                return Err(BadSite::Twice(edition.name().to_owned()));
            }
            sites.push(site);
        }
        Ok(sites)
    }

    fn of(name: Edition, text: &str) -> Result<Site, String> {
        let fragment = outside_braces(text).find(|(_, c)| *c == '#').map(|(at, _)| at);
        let (url, options) = match fragment {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, ""),
        };
        let url = Template::parse(url)?;
        let (mut kind, mut has_sum, mut every) = (Kind::Database, false, None);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                None if option == "sha256" => has_sum = true,
                None if option == "list" => kind = Kind::List,
                Some(("every", time)) => every = Some(interval(time)?),
                _ => return Err("Behind the # only list, sha256 and every=…h or every=…d may stand.".to_owned()),
            }
        }
        let mark = Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Site { name, kind, url, has_sum, every, mark })
    }

    /// The name of what comes from it: of an edition, or of a list.
    pub fn name(&self) -> &Edition {
        &self.name
    }

    /// Which of the two.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it is where this edition comes from.
    pub fn is_of(&self, edition: &Edition) -> bool {
        self.kind == Kind::Database && self.name == *edition
    }

    /// Whether it is for the same edition or the same list as another one.
    fn is_named_as(&self, other: &Site) -> bool {
        self.kind == other.kind && self.name == other.name
    }

    /// Where the ledger keeps it. The names of editions have no colon.
    pub(super) fn key(&self) -> String {
        match self.kind {
            Kind::Database => self.name.name().to_owned(),
            Kind::List => format!("list:{}", self.name.name()),
        }
    }

    /// For messages.
    pub fn host(&self) -> &str {
        self.url.host()
    }

    /// How long after it was last asked it is asked again; `None`: by the schedule of all downloads.
    pub fn every(&self) -> Option<Duration> {
        self.every
    }

    /// Whether two entries say the same.
    pub fn is_as(&self, other: &Site) -> bool {
        self.is_named_as(other) && self.mark == other.mark
    }

    /// Tells it from what the setting named before.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }
}

/// `30min`, `6h`, `7d`.
fn interval(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = match &text[digits..] {
        "min" => MINUTE,
        "h" => 60 * MINUTE,
        "d" => 24 * 60 * MINUTE,
        _ => 0,
    };
    let seconds = text[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    match seconds {
        Some(seconds) if (SHORTEST..=LONGEST).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err("Behind every= a time from 10min to 366d is expected, like 6h or 7d.".to_owned()),
    }
}

#[cfg(test)]
mod tests;
