//! The meaning of the service's replies: TXT records about an address, TXT records about an AS, rows of a bulk session.
//! Fields are separated by `|`, split from the left, because the name at the end may contain `|` itself.
//!
//! Everything comes as plain text over the open Internet. Text that does not parse is not an answer. This differs from
//! the answer that the address is not announced: a mistake there would be kept for a day.

use std::net::IpAddr;

use chrono::{Datelike, NaiveDate};
use ipnetwork::IpNetwork;

use super::{Announcement, AsName, Origin};
use crate::text;

#[cfg(test)]
mod tests;

/// How many origin ASNs of one prefix are kept. Real ones have a handful.
const MAX_ORIGINS: usize = 32;

/// How many prefixes around one address are kept: more than there are lengths to announce in practice.
const MAX_ANNOUNCEMENTS: usize = 32;

/// How long the name of a registry may be.
const MAX_REGISTRY: usize = 32;

/// The merged records or rows about one address.
#[derive(Debug)]
pub struct Tally {
    ip: IpAddr,
    announcements: Vec<Announcement>,
    negative: bool,
}

impl Tally {
    /// Nothing said of `ip` yet.
    pub fn new(ip: IpAddr) -> Tally {
        Tally { ip, announcements: Vec::new(), negative: false }
    }

    /// Takes in one TXT record: `origins | prefix | country | registry | allocated`. Other texts are records of another
    /// service and are ignored.
    pub fn txt(&mut self, record: &[u8]) {
        let record = String::from_utf8_lossy(record);
        let mut fields = record.split('|').map(str::trim);
        let fields: [Option<&str>; 5] = std::array::from_fn(|_| fields.next());
        if let [Some(origins), Some(prefix), Some(country), Some(registry), Some(allocated)] = fields {
            self.fields(origins, prefix, country, registry, allocated, "");
        }
    }

    /// Takes in the fields of one bulk row but the address, which said that the row belongs here.
    fn row(&mut self, row: &Row<'_>) {
        self.fields(row.origins, row.prefix, row.country, row.registry, row.allocated, row.name);
    }

    fn fields(&mut self, origins: &str, prefix: &str, country: &str, registry: &str, allocated: &str, name: &str) {
        let Some(origins) = asns(origins) else { return };
        let Some(prefix) = prefix_around(self.ip, prefix) else { return };
        if origins.is_empty() {
            self.negative = true;
            return;
        }
        if let Some(known) = self.announcements.iter_mut().find(|known| known.prefix == prefix) {
            for asn in origins {
                if !known.origins.contains(&asn) && known.origins.len() < MAX_ORIGINS {
                    known.origins.push(asn);
                }
            }
            return;
        }
        if self.announcements.len() < MAX_ANNOUNCEMENTS {
            self.announcements.push(Announcement {
                prefix,
                origins,
                country: self::country(country),
                registry: words(registry, MAX_REGISTRY),
                allocated: date(allocated),
                as_name: words(name, text::MAX_TEXT),
            });
        }
    }

    /// Whether anything taken in was an answer.
    pub fn is_answered(&self) -> bool {
        self.negative || !self.announcements.is_empty()
    }

    /// The answer, or `None` where nothing taken in was one.
    pub fn origin(self) -> Option<Origin> {
        let Tally { mut announcements, negative, .. } = self;
        if announcements.is_empty() {
            return negative.then_some(Origin::NotAnnounced);
        }
        announcements.sort_by_key(|known| std::cmp::Reverse(known.prefix.prefix()));
        Some(Origin::Announced(announcements))
    }
}

/// The merged TXT records about `ip`, or `None` if none of them is an answer. Several records are nested prefixes.
pub fn origin<'a>(ip: IpAddr, records: impl IntoIterator<Item = &'a [u8]>) -> Option<Origin> {
    let mut tally = Tally::new(ip);
    for record in records {
        tally.txt(record);
    }
    tally.origin()
}

/// A TXT record about `asn`: `asn | country | registry | allocated | name`. `None`: not an answer to that question.
pub fn as_name(asn: u32, record: &[u8]) -> Option<AsName> {
    let record = String::from_utf8_lossy(record);
    let mut fields = record.splitn(5, '|').map(str::trim);
    if asns(fields.next()?)? != [asn] {
        return None;
    }
    Some(AsName {
        asn,
        country: country(fields.next()?),
        registry: words(fields.next()?, MAX_REGISTRY),
        allocated: date(fields.next()?),
        name: words(fields.next()?, text::MAX_TEXT),
    })
}

/// How many `|` a whole bulk row has. A row cut after the last one lacks only a part of the name.
pub const ROW_BARS: usize = 6;

/// The fields of one bulk row: `origins | address | prefix | country | registry | allocated | name`.
struct Row<'a> {
    origins: &'a str,
    prefix: &'a str,
    country: &'a str,
    registry: &'a str,
    allocated: &'a str,
    name: &'a str,
}

/// Takes in one line of a bulk reply. `tally_of` finds the tally of an address, or `None` if it was not asked about.
/// Headers, error lines and other lines that are not rows are ignored. Fields missing at the end count as empty.
pub fn bulk_line<'t>(line: &[u8], tally_of: impl FnOnce(IpAddr) -> Option<&'t mut Tally>) {
    let line = String::from_utf8_lossy(line);
    let mut fields = line.splitn(ROW_BARS + 1, '|').map(str::trim);
    let (Some(origins), Some(address)) = (fields.next(), fields.next()) else { return };
    // Compared as an address: IPv6 comes back in another spelling than it was sent in.
    let Ok(ip) = address.parse() else { return };
    let Some(tally) = tally_of(ip) else { return };
    let mut next = || fields.next().unwrap_or_default();
    tally.row(&Row { origins, prefix: next(), country: next(), registry: next(), allocated: next(), name: next() });
}

/// The ASNs of a field, each once; empty where it says there is none (`NA`, 0). `None`: not such a field.
fn asns(field: &str) -> Option<Vec<u32>> {
    if field.is_empty() {
        return None;
    }
    let mut asns = Vec::new();
    for word in field.split_ascii_whitespace().take(MAX_ORIGINS) {
        if word == "NA" {
            continue;
        }
        let asn = number(word)?;
        if asn != 0 && !asns.contains(&asn) {
            asns.push(asn);
        }
    }
    Some(asns)
}

/// The prefix that a field names. The service leaves it out for a few addresses: those stand for themselves.
/// `None`: no network, or not one around `ip`, or the whole Internet.
fn prefix_around(ip: IpAddr, field: &str) -> Option<IpNetwork> {
    if matches!(field, "" | "NA") {
        return Some(IpNetwork::from(ip));
    }
    let (address, length) = field.split_once('/')?;
    let length = u8::try_from(number(length)?).ok()?;
    let prefix = IpNetwork::new(address.parse().ok()?, length).ok()?;
    (length > 0 && prefix.network() == prefix.ip() && prefix.contains(ip)).then_some(prefix)
}

/// A decimal number without sign, which `parse` alone would let through.
fn number(word: &str) -> Option<u32> {
    word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

fn country(field: &str) -> Option<String> {
    (field.len() == 2 && field.bytes().all(|b| b.is_ascii_uppercase())).then(|| field.to_owned())
}

/// `YYYY-MM-DD`. PostgreSQL has no year 0.
fn date(field: &str) -> Option<NaiveDate> {
    if field.len() != "YYYY-MM-DD".len() {
        return None;
    }
    NaiveDate::parse_from_str(field, "%Y-%m-%d").ok().filter(|date| date.year() > 0)
}

/// A field of free text.
fn words(field: &str, max_bytes: usize) -> Option<String> {
    let words = text::clean(field, max_bytes);
    (!words.is_empty() && words != "NA").then(|| words.into_owned())
}
