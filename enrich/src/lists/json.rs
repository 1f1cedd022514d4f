//! A list as JSON: every string in it that is an address, a network or a range counts, names of members as well. So the
//! lists of AWS, Google, Azure, Cloudflare and Fastly are read by one rule, and so is one JSON value a line (Spamhaus).
//! Other strings say anything; of those that were meant to be entries ([`is_meant`]) the warning tells. Members that are only
//! together a network ([`parts`]) are one entry.
//!
//! It is read as a stream: memory holds one string at a time, of which [`Bounded`] refuses long ones. serde_json refuses what
//! is nested more than 128 deep.

mod parts;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, BufRead, Read};

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use self::parts::{Found, Part, Parts, Said};
use super::parsed::{Parsed, Room};
use super::span::{Entry, address, entry, with_hyphen};
use super::text::Unread;

/// Strings between two looks at `breathe`, and bytes, which may all be blanks or one number.
const BREATH: u64 = 4096;
const BREATH_BYTES: usize = 4 << 20;
/// Bytes of a string between its quotes. No entry comes near; texts about a list may be of some length.
const LONGEST_STRING: usize = 64 << 10;

/// Reads all strings of one or more JSON values. In warnings, the number of a string stands for that of a line.
///
/// # Errors
/// [`Unread`]: not JSON, or no network in it.
pub fn read(source: &mut dyn BufRead, room: Room, breathe: &dyn Fn()) -> Result<Parsed, Unread> {
    let strings = Strings { state: RefCell::default(), room, breathe };
    let is_too_long = Cell::new(false);
    let source = Bounded { source, breathe, is_too_long: &is_too_long, string: None, is_escaped: false, unbreathed: 0 };
    let mut values = serde_json::Deserializer::from_reader(source);
    loop {
        let read = (&strings).deserialize(&mut values).and_then(|found| strings.add(found));
        // Another value may follow.
        match read.map(|()| values.end()) {
            Ok(Ok(())) => break,
            Ok(Err(error)) if !error.is_io() => {}
            Ok(Err(_)) | Err(_) if is_too_long.get() => {
                let number = strings.state.into_inner().seen + 1;
                return Err(Unread::Refused(format!(
                    "string {number} of this JSON is longer than {LONGEST_STRING} bytes"
                )));
            }
            Ok(Err(error)) | Err(error) if error.is_io() => return Err(Unread::Io(error.into())),
            Ok(Err(error)) | Err(error) => {
                let no_room = strings.state.into_inner().no_room.map(Unread::NoRoom);
                return Err(no_room.unwrap_or_else(|| Unread::Refused(format!("broken JSON: {error}"))));
            }
        }
    }
    let parsed = strings.state.into_inner().parsed;
    if parsed.total() == 0 && parsed.bad.count > 0 {
        return Err(Unread::Refused(format!(
            "no entry of this JSON is plain; the first of {} is string {}",
            parsed.bad.count, parsed.bad.first
        )));
    }
    if parsed.total() == 0 {
        return Err(Unread::Refused("no string of this JSON is an address, a network or a range".to_owned()));
    }
    Ok(parsed)
}

/// Reads on as long as no string is too long: serde_json puts a whole one into memory before it gives it to anybody.
struct Bounded<'a> {
    source: &'a mut dyn BufRead,
    breathe: &'a dyn Fn(),
    is_too_long: &'a Cell<bool>,
    /// Bytes so far of the string that is being read; `None`: outside of strings.
    string: Option<usize>,
    /// Whether a backslash stands before the next byte.
    is_escaped: bool,
    unbreathed: usize,
}

impl Bounded<'_> {
    fn note(&mut self, byte: u8) -> io::Result<()> {
        match self.string {
            None => self.string = (byte == b'"').then_some(0),
            Some(_) if byte == b'"' && !self.is_escaped => self.string = None,
            Some(LONGEST_STRING) => {
                self.is_too_long.set(true);
                return Err(io::ErrorKind::InvalidData.into());
            }
            Some(length) => {
                self.string = Some(length + 1);
                self.is_escaped = byte == b'\\' && !self.is_escaped;
            }
        }
        Ok(())
    }
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        buffer[..read].iter().try_for_each(|byte| self.note(*byte))?;
        self.unbreathed += read;
        if self.unbreathed >= BREATH_BYTES {
            self.unbreathed = 0;
            (self.breathe)();
        }
        Ok(read)
    }
}

/// What has been read so far.
#[derive(Default)]
struct State {
    parsed: Parsed,
    seen: u64,
    no_room: Option<String>,
}

/// Takes every string, at any depth.
struct Strings<'a> {
    state: RefCell<State>,
    room: Room,
    breathe: &'a dyn Fn(),
}

impl Strings<'_> {
    /// Takes a string, but for one address: it may be a part of something.
    fn take<E: Error>(&self, text: &str) -> Result<Found, E> {
        let number = {
            let mut state = self.state.borrow_mut();
            state.seen += 1;
            state.seen
        };
        if number.is_multiple_of(BREATH) {
            (self.breathe)();
        }
        let text = text.as_bytes();
        match entry(text) {
            Some(Entry { span, .. }) if address(text.trim_ascii()).is_some() => {
                return Ok(Found::Address(span, number));
            }
            Some(entry) => {
                self.put(entry, number)?;
                return Ok(Found::Whole(entry.span));
            }
            None if is_meant(text) => self.state.borrow_mut().parsed.bad.note(number),
            None => return Ok(length(text).map_or(Found::Nothing, Found::Text)),
        }
        Ok(Found::Nothing)
    }

    /// Takes an address that is no part of anything.
    fn add<E: Error>(&self, found: Found) -> Result<(), E> {
        match found {
            Found::Address(span, number) | Found::Nested(span, number) => {
                self.put(Entry { span, has_host_bits: false }, number)
            }
            Found::Pair((first, number), (last, other)) => {
                self.add(Found::Address(first, number))?;
                self.add(Found::Address(last, other))
            }
            Found::Whole(_) | Found::Number(_) | Found::Text(_) | Found::Nothing => Ok(()),
        }
    }

    fn put<E: Error>(&self, entry: Entry, number: u64) -> Result<(), E> {
        let mut state = self.state.borrow_mut();
        if let Err(reason) = state.parsed.add(entry, number, self.room) {
            state.no_room = Some(reason);
            return Err(E::custom("too many"));
        }
        Ok(())
    }
}

/// The length of a prefix as text: `24`, `/24`, and `ffffff00`, its mask.
fn length(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let mask = || {
        let mask = u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()?;
        (mask.leading_ones() > 0 && mask.leading_ones() + mask.trailing_zeros() >= 32)
            .then(|| mask.leading_ones().into())
    };
    text.strip_prefix('/').unwrap_or(text).parse().ok().or_else(mask)
}

/// Whether a string that is no entry looks as if it were meant to be one or several: `1.2.3.4/33`, `1.2.3.4 5.6.7.8`,
/// `2001:db8::/129`, `1.2.3.4:80`. Times, hardware addresses, versions and identifiers with dots are other things.
fn is_meant(text: &[u8]) -> bool {
    if let Some(text) = with_hyphen(text) {
        return is_meant(&text);
    }
    let is_known = |byte: &u8| byte.is_ascii_hexdigit() || b".:/-,;[] \t".contains(byte);
    text.iter().all(is_known)
        && text.split(|byte| b"/-,;[] \t".contains(byte)).any(|word| is_quad(word) || is_groups(word))
}

/// Four numbers, of which some may be missing, and perhaps a port.
fn is_quad(word: &[u8]) -> bool {
    let host = word.split(|byte| *byte == b':').next().unwrap_or(word);
    let is_number = |part: &[u8]| part.len() <= 3 && part.iter().all(u8::is_ascii_digit);
    host.split(|byte| *byte == b'.').count() == 4
        && host.split(|byte| *byte == b'.').all(is_number)
        && host.iter().any(u8::is_ascii_digit)
}

/// Groups between colons that are no time of day and no hardware address.
fn is_groups(word: &[u8]) -> bool {
    let groups = || word.split(|byte| *byte == b':');
    let is_time =
        groups().count() < 8 && !word.iter().any(u8::is_ascii_alphabetic) && !word.windows(2).any(|two| two == b"::");
    let is_hardware = groups().all(|group| group.len() == 2);
    groups().count() >= 3 && word.iter().any(u8::is_ascii_digit) && !is_time && !is_hardware
}

impl<'de> DeserializeSeed<'de> for &Strings<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Found, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Strings<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Found, E> {
        self.take(text)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Found, E> {
        Ok(Found::Number(number))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_unit<E: Error>(self) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Found, A::Error> {
        // Two addresses and no more may be a range: what is around them says so.
        let (mut pair, mut count) = ([None; 2], 0);
        while let Some(found) = elements.next_element_seed(self)? {
            match (found, pair.get_mut(count)) {
                (Found::Address(span, number), Some(place)) => *place = Some((span, number)),
                (found, _) => self.add(found)?,
            }
            count += 1;
        }
        if let ([Some(first), Some(last)], 2) = (pair, count) {
            return Ok(Found::Pair(first, last));
        }
        for (span, number) in pair.into_iter().flatten() {
            self.add(Found::Address(span, number))?;
        }
        Ok(Found::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Found, A::Error> {
        let mut parts = Parts::default();
        while let Some(part) = members.next_key_seed(Name(self))? {
            let found = members.next_value_seed(self)?;
            self.add(parts.put(part, found))?;
        }
        let mut around = Found::Nothing;
        for said in parts.said() {
            match said {
                Said::Entry(entry, number) => self.put(entry, number)?,
                Said::Address(span, number) => self.add(std::mem::replace(&mut around, Found::Nested(span, number)))?,
                Said::Bad(number) => self.state.borrow_mut().parsed.bad.note(number),
            }
        }
        Ok(around)
    }
}

/// The name of a member, which is a string like others.
struct Name<'a, 'b>(&'a Strings<'b>);

impl<'de> DeserializeSeed<'de> for Name<'_, '_> {
    type Value = Option<Part>;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Option<Part>, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_, '_> {
    type Value = Option<Part>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<Part>, E> {
        let found = self.0.take(name)?;
        self.0.add(found)?;
        Ok(Part::of(name))
    }
}
