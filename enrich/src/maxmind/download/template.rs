//! The URL of a source, as the setting gives it: with places for the date and for references to secrets. What is shown of
//! it is its host alone.

use std::ops::Range;

use chrono::{Datelike, Days, Months, NaiveDate};
use zeroize::Zeroizing;

use super::http::escape;
use crate::secrets::{Reference, ReferenceError, Secret};
use crate::url;

/// A URL with places to be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// `https://` or `http://`.
    scheme: &'static str,
    user: Option<User>,
    /// With its port, where one is given.
    host: String,
    /// Path and query.
    rest: Vec<Part>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// A reference to `user:password`.
    Both(Reference),
    /// A name, and a reference to the password.
    Named(String, Reference),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Year,
    Month,
    Day,
    Secret(Reference),
}

/// Words in the names of a query's values that are keys. A key in a setting is shown by the setting.
const KEYS: [&str; 16] = [
    "token",
    "key",
    "apikey",
    "secret",
    "password",
    "passwd",
    "pass",
    "pwd",
    "auth",
    "authorization",
    "license",
    "licence",
    "credential",
    "credentials",
    "sig",
    "signature",
];
/// The same at the end of a word.
const ENDS: [&str; 7] = ["token", "secret", "password", "apikey", "accesskey", "licensekey", "licencekey"];

impl Template {
    /// Reads a URL without its fragment.
    ///
    /// # Errors
    /// The reason, as a sentence. It does not repeat the text, which may hold a key.
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let scheme = ["https://", "http://"]
            .into_iter()
            .find(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
        let Some(scheme) = scheme else { return Err("It must begin with https://.".to_owned()) };
        let rest = &text[scheme.len()..];
        let end = outside_braces(rest).find(|(_, c)| matches!(c, '/' | '?')).map_or(rest.len(), |(at, _)| at);
        let (authority, path) = rest.split_at(end);
        let at = outside_braces(authority).filter(|(_, c)| *c == '@').last().map(|(at, _)| at);
        let (user, host) = match at {
            Some(at) => (Some(user(&authority[..at])?), &authority[at + 1..]),
            None => (None, authority),
        };
        if host.contains(['{', '}']) {
            return Err("The host and its port cannot be filled in: they must stand there themselves.".to_owned());
        }
        url::base(&format!("https://{host}"))?;
        if scheme == "http://" && !url::is_loopback(host_alone(host)) {
            return Err("http:// is for this machine alone: https:// is needed.".to_owned());
        }
        let rest = parts(path)?;
        refuse_keys(&rest)?;
        let plain: String =
            rest.iter().map(|part| if let Part::Text(text) = part { text.as_str() } else { "0" }).collect();
        let sound = plain.chars().all(|c| c.is_ascii_graphic() && c != '\\' && c != '#');
        let parsed = format!("{scheme}{host}{plain}").parse::<ureq::http::Uri>();
        if !sound || parsed.is_err() {
            return Err("It is not a URL: other characters are written with % and two digits.".to_owned());
        }
        Ok(Template { scheme, user, host: host.to_owned(), rest })
    }

    /// Host, and port where one is given.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// All references in it.
    pub(super) fn references(&self) -> impl Iterator<Item = &Reference> {
        let user = self.user.iter().map(|user| match user {
            User::Both(reference) | User::Named(_, reference) => reference,
        });
        user.chain(
            self.rest.iter().filter_map(|part| if let Part::Secret(reference) = part { Some(reference) } else { None }),
        )
    }

    /// Today's date, and the one before: a file of this month may not be there yet.
    pub(super) fn dates(&self, today: NaiveDate) -> Vec<NaiveDate> {
        let has = |part| self.rest.contains(&part);
        let before = if has(Part::Day) {
            today.checked_sub_days(Days::new(1))
        } else if has(Part::Month) {
            today.with_day(1).and_then(|first| first.checked_sub_months(Months::new(1)))
        } else if has(Part::Year) {
            today.with_day(1).and_then(|first| first.checked_sub_months(Months::new(12)))
        } else {
            None
        };
        [Some(today), before].into_iter().flatten().collect()
    }

    /// The URL of a day, with every secret in it. `suffix` is put to the end of the file's name: of the path, or of
    /// `suffix=tar.gz` in the query, by which MaxMind's own URLs name it.
    ///
    /// # Errors
    /// That of `secret`.
    pub(super) fn url<E>(
        &self,
        date: NaiveDate,
        suffix: &str,
        secret: &mut dyn FnMut(&Reference) -> Result<Secret, E>,
    ) -> Result<Zeroizing<String>, E> {
        let mut path = Zeroizing::new(String::with_capacity(4096));
        for part in &self.rest {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Year => path.push_str(&format!("{:04}", date.year())),
                Part::Month => path.push_str(&format!("{:02}", date.month())),
                Part::Day => path.push_str(&format!("{:02}", date.day())),
                Part::Secret(reference) => path.push_str(&escape(secret(reference)?.expose())),
            }
        }
        let (path, query) = path.split_once('?').map_or((path.as_str(), None), |(path, query)| (path, Some(query)));
        let mut whole = Zeroizing::new(String::with_capacity(4096));
        for piece in [self.scheme, &self.host, if path.is_empty() { "/" } else { path }] {
            whole.push_str(piece);
        }
        let in_query = query.and_then(name_in_query);
        if in_query.is_none() {
            whole.push_str(suffix);
        }
        if let Some(query) = query {
            let (before, behind) = query.split_at(in_query.unwrap_or(query.len()));
            let suffix = if in_query.is_some() { suffix } else { "" };
            for piece in ["?", before, suffix, behind] {
                whole.push_str(piece);
            }
        }
        Ok(whole)
    }
}

/// Where the name of the file ends in a query as MaxMind has it.
fn name_in_query(query: &str) -> Option<usize> {
    let mut at = 0;
    for value in query.split('&') {
        let end = at + value.len();
        if matches!(value, "suffix=tar.gz" | "suffix=zip") {
            return Some(end);
        }
        at = end + 1;
    }
    None
}

fn host_alone(host: &str) -> &str {
    if host.ends_with(']') { host } else { host.rsplit_once(':').map_or(host, |(host, _)| host) }
}

/// The characters that do not stand in `{…}`. References have characters of every kind.
pub(super) fn outside_braces(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let mut depth = 0u32;
    text.char_indices().filter(move |(_, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    })
}

fn user(text: &str) -> Result<User, String> {
    let refused = "Before the @ stands {secret:…}, a reference to user:password, or a name, a colon and {secret:…}.";
    let parts = parts(text).map_err(|_| refused.to_owned())?;
    match parts.as_slice() {
        [Part::Secret(both)] => Ok(User::Both(both.clone())),
        [Part::Text(name), Part::Secret(password)] => {
            let name = name.strip_suffix(':').filter(|name| !name.is_empty() && !name.contains(':'));
            let name = percent_encoding::percent_decode_str(name.ok_or(refused)?).decode_utf8_lossy().into_owned();
            let fits = !name.contains(':') && !name.chars().any(char::is_control);
            if fits { Ok(User::Named(name, password.clone())) } else { Err(refused.to_owned()) }
        }
        _ => Err(refused.to_owned()),
    }
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(Range { start, end }) = braces(rest)? {
        if start > 0 {
            parts.push(Part::Text(rest[..start].to_owned()));
        }
        parts.push(match &rest[start + 1..end] {
            "year" => Part::Year,
            "month" => Part::Month,
            "day" => Part::Day,
            other => match other.strip_prefix("secret:") {
                Some(reference) => Part::Secret(
                    Reference::parse(reference)
                        .map_err(|e: ReferenceError| format!("Behind {{secret: stands {e}. {}", e.hint()))?,
                ),
                None => return Err("In braces only {year}, {month}, {day} and {secret:…} may stand.".to_owned()),
            },
        });
        rest = &rest[end + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

fn braces(text: &str) -> Result<Option<Range<usize>>, String> {
    let unpaired = "It has a brace without the other one.";
    match (text.find('{'), text.find('}')) {
        (None, None) => Ok(None),
        (Some(start), Some(end)) if start < end && !text[start + 1..end].contains('{') => Ok(Some(start..end)),
        _ => Err(unpaired.to_owned()),
    }
}

/// Refuses a query in which a key stands itself.
fn refuse_keys(parts: &[Part]) -> Result<(), String> {
    // No text of a URL has this character.
    const FILLED_IN: &str = "\u{1}";
    let text: String = parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Secret(_) => FILLED_IN,
            Part::Year | Part::Month | Part::Day => "0",
        })
        .collect();
    let query = text.split_once('?').map_or("", |(_, query)| query);
    let query = percent_encoding::percent_decode_str(query).decode_utf8_lossy();
    let stands_itself =
        |pair: &str| pair.split_once('=').is_some_and(|(name, value)| is_key(name) && value != FILLED_IN);
    if query.split(['&', ';']).any(stands_itself) {
        return Err("A key itself does not belong in a setting: {secret:…} names the place where it stands.".to_owned());
    }
    Ok(())
}

/// Whether a name says that its value is a key: by one of its words, `X-Amz-Signature`, `apiToken`.
fn is_key(name: &str) -> bool {
    let mut words = String::with_capacity(name.len() + 8);
    let mut before = ' ';
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || c.is_ascii_uppercase() && before.is_ascii_lowercase() {
            words.push(' ');
        }
        if c.is_ascii_alphanumeric() {
            words.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    words.split(' ').any(|word| KEYS.contains(&word) || ENDS.iter().any(|end| word.ends_with(end)))
}

#[cfg(test)]
mod tests;
