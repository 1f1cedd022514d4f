//! From the text of a value to the tally: one address, a list of them, or free text.

use enrich::address::{MOST_ADDRESSES, MOST_BYTES, Once, entries, parse_host, scan};
use enrich::json;
use enrich::json::Value;
use enrich::selector::Reading;

use super::tally::Tally;
use crate::inventory::fold;

/// How the values of one row are read, and what was found in them so far. Calls nothing of PostgreSQL's: see
/// [`crate::pg::raw`].
pub struct Finder<'a> {
    reading: Reading,
    /// The time of the event.
    at: i64,
    tally: &'a mut Tally,
    /// A list and a free text count each address once a row.
    once: Once,
    /// Whether there were too many: nothing more of the row is read.
    is_full: bool,
}

impl Finder<'_> {
    /// Of a selector's value in one row.
    pub fn new(reading: Reading, at: i64, tally: &mut Tally) -> Finder<'_> {
        Finder { reading, at, tally, once: Once::default(), is_full: false }
    }

    /// Counts what a text holds.
    #[inline]
    pub fn text(&mut self, text: &[u8]) {
        if self.is_full {
            return;
        }
        match self.reading {
            Reading::Address => self.address(text),
            Reading::List => self.list(text),
            Reading::Text => self.free_text(text),
        }
    }

    fn address(&mut self, text: &[u8]) {
        match parse_host(text) {
            Ok(Some(ip)) => self.tally.observe(ip, self.at),
            Ok(None) => {}
            Err(error) => self.tally.unreadable(text, error),
        }
    }

    fn list(&mut self, text: &[u8]) {
        if text.first() == Some(&b'[') && json::is_array(text) {
            return self.json(text);
        }
        for entry in entries(text) {
            match parse_host(entry) {
                Ok(Some(ip)) => match self.once.is_first(fold::kept(ip)) {
                    Some(true) => self.tally.observe(ip, self.at),
                    Some(false) => {}
                    None => return self.too_many(text),
                },
                Ok(None) => {}
                Err(error) => self.tally.unreadable(entry, error),
            }
        }
        self.whole(text);
    }

    fn free_text(&mut self, text: &[u8]) {
        let mut too_many = false;
        scan(text, |ip| {
            match self.once.is_first(fold::kept(ip)) {
                Some(true) => self.tally.observe(ip, self.at),
                Some(false) => {}
                None => too_many = true,
            }
            !too_many
        });
        if too_many { self.too_many(text) } else { self.whole(text) }
    }

    #[cold]
    fn too_many(&mut self, text: &[u8]) {
        self.is_full = true;
        self.tally.unreadable(text, format_args!("more than {MOST_ADDRESSES} addresses: the rest is not read"));
    }

    fn whole(&mut self, text: &[u8]) {
        if text.len() > MOST_BYTES {
            self.tally.unreadable(text, format_args!("more than {MOST_BYTES} bytes: the rest is not read"));
        }
    }

    /// Counts what a JSON value holds: a string, or an array of strings. All of it is free text where that is wanted.
    pub fn json(&mut self, found: &[u8]) {
        if self.is_full {
            return;
        }
        match json::value(found) {
            Value::Null => {}
            Value::Text(text) => self.json_as_text(&text),
            _ if self.reading == Reading::Text => self.free_text(found),
            Value::Array(elements) => {
                for element in elements {
                    if self.is_full {
                        return;
                    }
                    match json::value(element) {
                        Value::Null => {}
                        Value::Text(text) => self.text(&text),
                        _ => self.tally.unreadable(element, "an element of an array that is no text"),
                    }
                }
            }
            Value::Other => self.tally.unreadable(found, "a value that is no text"),
        }
    }

    /// A JSON value as PostgreSQL makes it text, which is a string's content. (`[2001:db8::1]` starts like an array and is
    /// none.)
    pub fn json_as_text(&mut self, text: &[u8]) {
        if self.reading != Reading::Text && json::is_array(text) {
            self.json(text);
        } else {
            self.text(text);
        }
    }
}
