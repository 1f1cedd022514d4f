//! A list as JSON: every string in it that is an address, a network or a range counts, names of members as well. So the
//! lists of AWS, Google, Azure, Cloudflare and Fastly are read by one rule, and so is one JSON value a line (Spamhaus).
//! Other strings say anything; of those that were meant to be entries ([`is_meant`]) the warning tells.
//!
//! It is read as a stream: memory holds one string at a time, of which [`Bounded`] refuses long ones. serde_json refuses what
//! is nested more than 128 deep.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, BufRead, Read};

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::parsed::{Parsed, Room};
use super::span::entry;
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
        let read = (&strings).deserialize(&mut values);
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
                let reason = strings.state.into_inner().refused;
                return Err(Unread::Refused(reason.unwrap_or_else(|| format!("broken JSON: {error}"))));
            }
        }
    }
    let parsed = strings.state.into_inner().parsed;
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
    refused: Option<String>,
}

/// Takes every string, at any depth.
struct Strings<'a> {
    state: RefCell<State>,
    room: Room,
    breathe: &'a dyn Fn(),
}

impl Strings<'_> {
    fn take<E: Error>(&self, text: &str) -> Result<(), E> {
        let mut state = self.state.borrow_mut();
        state.seen += 1;
        let number = state.seen;
        match entry(text.as_bytes()) {
            Some(entry) => {
                if let Err(reason) = state.parsed.add(entry, number, self.room) {
                    state.refused = Some(reason);
                    return Err(E::custom("too many"));
                }
            }
            None if is_meant(text.as_bytes()) => state.parsed.bad.note(number),
            None => {}
        }
        drop(state);
        if number.is_multiple_of(BREATH) {
            (self.breathe)();
        }
        Ok(())
    }
}

/// Whether a string that is no entry looks as if it were meant to be one or several: `1.2.3.4/33`, `1.2.3.4 5.6.7.8`,
/// `2001:db8::/129`, `1.2.3.4:80`. Times, hardware addresses, versions and identifiers with dots are other things.
fn is_meant(text: &[u8]) -> bool {
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
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Strings<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.take(text)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_key_seed(self)?.is_some() {
            members.next_value_seed(self)?;
        }
        Ok(())
    }
}
