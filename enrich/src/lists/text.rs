//! A list as text: an entry a line. `#` and `;` begin a comment, and behind the entry other columns may follow. A line that
//! says more than its first column, in a way that is not known, is a bad one: that column alone would be less.
//!
//! | form | a line of it |
//! |---|---|
//! | plain, FireHOL netsets | `203.0.113.0/24` |
//! | Spamhaus DROP | `203.0.113.0/24 ; SBL256894` |
//! | ranges | `203.0.113.0 - 203.0.113.255`, with any dash, or with `to` |
//! | columns | `"203.0.113.9",2026-01-01`; an address and its network, `203.0.113.9,203.0.113.0/24`; or DShield's first address, last one and prefix length |
//! | Tor | `ExitAddress 203.0.113.9 2026-01-01 00:00:00`, between lines of other words |

use std::io::{self, BufRead};

use super::parsed::{Parsed, Room};
use super::span::{self, Entry, Span, address, entry, is_to, is_within};

/// Bytes of a line that are looked at: no entry is longer, and a file without line breaks must not fill the memory.
const LONGEST_LINE: usize = 1024;
/// Lines between two looks at `breathe`.
const BREATH: u64 = 4096;

/// Why a file could not be read as a list.
#[derive(Debug)]
pub enum Unread {
    /// The file system's error.
    Io(io::Error),
    /// The reason against its content. It never repeats a byte of it.
    Refused(String),
    /// It has more entries than other lists leave room for.
    NoRoom(String),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Unread {
        Unread::Io(error)
    }
}

/// What one line is.
enum Line {
    /// Blank, a comment, or a line that belongs to a known form and names no network.
    Nothing,
    Entry(Entry),
    Bad,
}

/// Reads the lines of a text.
///
/// # Errors
/// [`Unread`]: binary data, a web page, or more bad lines than good ones.
pub fn read(source: &mut dyn BufRead, room: Room, breathe: &dyn Fn()) -> Result<Parsed, Unread> {
    let mut parsed = Parsed::default();
    let mut line = Vec::with_capacity(LONGEST_LINE);
    let (mut number, mut content) = (0, 0);
    while next_line(source, &mut line)? {
        number += 1;
        if number % BREATH == 0 {
            breathe();
        }
        let text = if number == 1 { line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&line) } else { &line };
        let text = text.trim_ascii();
        if is_binary(text) {
            return Err(Unread::Refused(format!("binary data in line {number}: not a list of networks")));
        }
        if is_markup(text) {
            return Err(Unread::Refused(format!("HTML or XML in line {number}: not a list of networks")));
        }
        match of_line(text) {
            Line::Nothing => continue,
            Line::Entry(entry) => parsed.add(entry, number, room).map_err(Unread::NoRoom)?,
            // A header of columns.
            Line::Bad if content == 0 && is_header(text) => {}
            Line::Bad => parsed.bad.note(number),
        }
        content += 1;
    }
    if parsed.bad.count > parsed.total() {
        return Err(Unread::Refused(format!(
            "{} of {} lines are not an address, a network or a range; the first is line {}",
            parsed.bad.count,
            parsed.bad.count + parsed.total(),
            parsed.bad.first
        )));
    }
    if parsed.total() == 0 {
        return Err(Unread::Refused("it holds no address, no network and no range".to_owned()));
    }
    Ok(parsed)
}

/// The next line without its end, of which no more than [`LONGEST_LINE`] bytes are kept. Lines end as in Unix, DOS or the
/// first Macintosh. False: there is none.
fn next_line(source: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let buffer = filled(source)?;
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = buffer.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let part = &buffer[..end.unwrap_or(buffer.len())];
        line.extend_from_slice(&part[..part.len().min(LONGEST_LINE - line.len())]);
        let is_return = end.is_some_and(|end| buffer[end] == b'\r');
        let used = end.map_or(buffer.len(), |end| end + 1);
        source.consume(used);
        if is_return && filled(source)?.first() == Some(&b'\n') {
            source.consume(1);
        }
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// What is read next; empty at the end.
fn filled(source: &mut dyn BufRead) -> io::Result<&[u8]> {
    loop {
        match source.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    // What is there already; a borrow may not leave a loop that goes on.
    source.fill_buf()
}

fn is_binary(text: &[u8]) -> bool {
    text.iter().any(|byte| *byte < b' ' && !b"\t\x0b\x0c\x1b".contains(byte))
}

/// Whether a line opens or closes an element: no list has one.
fn is_markup(text: &[u8]) -> bool {
    text.first() == Some(&b'<') && text.get(1).is_some_and(|byte| byte.is_ascii_alphabetic() || b"!?/".contains(byte))
}

/// Names of columns: no digits, and more than one.
fn is_header(text: &[u8]) -> bool {
    text.iter().any(|byte| b",;\t".contains(byte)) && !text.iter().any(u8::is_ascii_digit)
}

fn of_line(text: &[u8]) -> Line {
    let end = (0..text.len()).find(|at| is_comment(text, *at)).unwrap_or(text.len());
    let text = text[..end].trim_ascii();
    if text.is_empty() {
        return Line::Nothing;
    }
    // The whole line is the usual case, and a range may have blanks in it.
    if let Some(entry) = entry(text) {
        return Line::Entry(entry);
    }
    let (first, rest) = first_column(text);
    let mut columns = columns(rest);
    match first {
        b"ExitAddress" => return columns.next().and_then(entry).map_or(Line::Bad, Line::Entry),
        b"ExitNode" | b"Published" | b"LastStatus" => return Line::Nothing,
        _ => {}
    }
    let others = columns.map(unquoted);
    let mut next = others.clone();
    let [second, third] = [(); 2].map(|()| next.next().unwrap_or_default());
    // A range or a network with blanks in it, before other columns.
    if is_cut(first, second, third) {
        let close = [first, second].concat();
        return entry(&close).or_else(|| entry(&[&close, third].concat())).map_or(Line::Bad, Line::Entry);
    }
    if is_between(second) || !(first.is_ascii() && second.is_ascii()) {
        let range = |parts: &[&[u8]]| entry(&parts.join(&b' '));
        if let Some(entry) = range(&[first, second]).or_else(|| range(&[first, second, third])) {
            return Line::Entry(entry);
        }
    }
    let Some(found) = entry(first) else { return Line::Bad };
    let is_of_it = |other: Span| is_within(found.span, other) || is_within(other, found.span);
    let is_foreign = |column: &[u8]| entry(column).is_some_and(|other| !is_of_it(other.span));
    // Two addresses may be a range, and one behind another its mask.
    if let Some(last) = address(second).filter(|_| network(first).is_none()) {
        return from_to(found, last, third).or_else(|| masked(first, second)).map_or(Line::Bad, Line::Entry);
    }
    // The first alone is not what a line says that has others, whatever stands between them; nor is the first of several
    // networks. One around it is said of it, and one within it is in the list with it.
    let is_range = is_to(second) && entry(third).is_some();
    if is_range || others.clone().take(3).any(is_foreign) || !others.map_while(network).all(is_of_it) {
        return Line::Bad;
    }
    // A count, or the length of the network that begins there.
    match is_length(first, second) || is_length(first, third) {
        true => Line::Bad,
        false => Line::Entry(found),
    }
}

/// Whether a comment begins there. A semicolon that parts columns stands behind the one before, or before a number that has
/// no words behind it.
fn is_comment(text: &[u8], at: usize) -> bool {
    match text[at] {
        b'#' => true,
        b';' if at > 0 => {
            let rest = text[at + 1..].trim_ascii_start();
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let is_number = rest.get(digits).is_some_and(u8::is_ascii_whitespace);
            let words = if is_number { rest[digits..].trim_ascii_start() } else { rest };
            let is_word = |byte: &u8| !byte.is_ascii_digit() && !b"\"'#,;".contains(byte);
            text[at - 1].is_ascii_whitespace() && words.first().is_none_or(is_word)
        }
        byte => byte == b';',
    }
}

/// The first column, which may have blanks between its quotes, and what follows.
fn first_column(text: &[u8]) -> (&[u8], &[u8]) {
    let quoted = |quote: u8| {
        let inner = text.strip_prefix(&[quote])?;
        let end = inner.iter().position(|byte| *byte == quote)?;
        Some((inner[..end].trim_ascii(), &inner[end + 1..]))
    };
    quoted(b'"').or_else(|| quoted(b'\'')).unwrap_or_else(|| {
        let end = text.iter().position(is_parting).unwrap_or(text.len());
        text.split_at(end)
    })
}

fn columns(text: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    text.split(is_parting).filter(|column| !column.is_empty())
}

fn is_parting(byte: &u8) -> bool {
    byte.is_ascii_whitespace() || b",;".contains(byte)
}

/// Whether a range or a network has a blank beside its sign. Behind a slash, words may stand.
fn is_cut(first: &[u8], second: &[u8], third: &[u8]) -> bool {
    let is_number = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
    first.ends_with(b"-")
        || second.starts_with(b"-")
        || first.ends_with(b"/")
        || second.strip_prefix(b"/").is_some_and(|bits| is_number(if bits.is_empty() { third } else { bits }))
}

/// Whether a column is a sign or a word between two others.
fn is_between(text: &[u8]) -> bool {
    !text.is_empty() && (is_to(text) || !text.iter().any(u8::is_ascii_alphanumeric))
}

/// A column that is written as a network or as a range.
fn network(text: &[u8]) -> Option<Span> {
    text.iter().any(|byte| b"/-".contains(byte)).then(|| entry(text)).flatten().map(|entry| entry.span)
}

/// The network of three columns: its first address, its last one, and the prefix length that says the same.
fn from_to(first: Entry, last: Span, bits: &[u8]) -> Option<Entry> {
    let (Span::V4(from, end), Span::V4(to, _)) = (first.span, last) else { return None };
    let bits: u32 = std::str::from_utf8(bits).ok()?.parse().ok()?;
    let hosts = u32::MAX.checked_shr(bits).unwrap_or(0);
    (from == end && from & hosts == 0 && from | hosts == to)
        .then_some(Entry { span: Span::V4(from, to), has_host_bits: false })
}

/// The network of an address and its mask.
fn masked(first: &[u8], mask: &[u8]) -> Option<Entry> {
    let is_mask = mask.starts_with(b"255.") && mask != b"255.255.255.255";
    is_mask.then(|| span::network(first, mask)).flatten().filter(|network| !network.has_host_bits)
}

/// Whether a number may be the length of a network that begins at an address. Small networks are left out: scores and ports
/// meet their addresses by chance.
fn is_length(first: &[u8], bits: &[u8]) -> bool {
    let is_wide = |span: Span| match span {
        Span::V4(first, last) => last - first >= 0xff,
        Span::V6(first, last) => last - first >= u128::from(u64::MAX),
    };
    span::network(first, bits).is_some_and(|network| !network.has_host_bits && is_wide(network.span))
}

fn unquoted(text: &[u8]) -> &[u8] {
    let inner = |quote: u8| text.strip_prefix(&[quote])?.strip_suffix(&[quote]);
    inner(b'"').or_else(|| inner(b'\'')).unwrap_or(text)
}
