//! The entries of a list in one text: `X-Forwarded-For`, `Forwarded` (RFC 7239), or what people write by hand.

use super::scan::MOST_BYTES;

/// The entries in the first [`MOST_BYTES`] of a list that is separated by commas, semicolons or blanks, as they are written
/// but for quotes around them. Of the pairs of RFC 7239 only `for=` counts: `by=`, `host=` and `proto=` do not say who
/// asked.
///
/// ```
/// use enrich::address::entries;
/// let entries = |text: &'static str| entries(text.as_bytes()).map(|e| str::from_utf8(e).unwrap()).collect::<Vec<_>>();
/// assert_eq!(entries("81.2.69.142, 10.0.0.1"), ["81.2.69.142", "10.0.0.1"]);
/// assert_eq!(entries(r#"for="[2001:db8::1]:4711";proto=http, for=192.0.2.43"#), ["[2001:db8::1]:4711", "192.0.2.43"]);
/// ```
pub fn entries(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    // What touches the cut may be longer.
    let mut rest = match text.get(..MOST_BYTES).filter(|head| head.len() < text.len()) {
        Some(head) => &head[..head.iter().rposition(separates).unwrap_or(0)],
        None => text,
    };
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (entry, tail) = split(rest);
            rest = tail;
            if let Some(entry) = meant(entry) {
                return Some(entry);
            }
        }
        None
    })
}

/// The first entry, and what is behind its separator. A separator in quotes is none, and neither is a semicolon in a URL.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let mut quoted = false;
    let mut in_url = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b':' if text[at..].starts_with(b"://") => in_url = true,
            b';' if in_url => {}
            byte if separates(byte) => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, &[])
}

fn separates(byte: &u8) -> bool {
    matches!(byte, b',' | b';') || byte.is_ascii_whitespace()
}

/// The part of an entry that should be an address; `None` where nothing should.
fn meant(entry: &[u8]) -> Option<&[u8]> {
    let pair = entry.iter().position(|byte| *byte == b'=').map(|at| (&entry[..at], &entry[at + 1..]));
    let value = match pair {
        Some((name, value)) if name.eq_ignore_ascii_case(b"for") => value,
        Some((name, _)) if ["by", "host", "proto"].iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes())) => {
            return None;
        }
        _ => entry,
    };
    let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    (!bare.is_empty()).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<&str> {
        entries(text.as_bytes()).map(|entry| str::from_utf8(entry).expect("cut between characters")).collect()
    }

    #[test]
    fn lists_are_separated_as_people_separate_them() {
        for text in [
            "1.1.1.1,2.2.2.2",
            " 1.1.1.1 , 2.2.2.2 ",
            "1.1.1.1;2.2.2.2;",
            "1.1.1.1\n\t2.2.2.2",
            ",,1.1.1.1, ,\"2.2.2.2\"",
        ] {
            assert_eq!(read(text), ["1.1.1.1", "2.2.2.2"], "{text:?}");
        }
        assert_eq!(read(""), [""; 0]);
        assert_eq!(read(" ,; \n"), [""; 0]);
        assert_eq!(read("unknown, 1.1.1.1"), ["unknown", "1.1.1.1"]);
        assert_eq!(read("http://1.1.1.1/a;b=c, 2.2.2.2"), ["http://1.1.1.1/a;b=c", "2.2.2.2"]);
    }

    #[test]
    fn of_a_long_list_the_entries_of_the_first_megabyte_are_read() {
        for separator in [",", ";", " ", "\t", "\r", "\n", "\x0c"] {
            let text = format!("10.1.1.1{separator}").repeat(MOST_BYTES / 9 + 9);
            let read = read(&text);
            assert_eq!((read.len(), read.last()), (MOST_BYTES / 9, Some(&"10.1.1.1")), "{separator:?}");
        }
        assert_eq!(read(&"1".repeat(MOST_BYTES)).len(), 1);
        assert_eq!(read(&"1".repeat(MOST_BYTES + 1)), [""; 0], "it touches the cut");
    }

    #[test]
    fn of_a_forwarded_header_only_the_senders_count() {
        assert_eq!(
            read(r#"For="[2001:db8:cafe::17]:4711", for=192.0.2.60;proto=http;by=203.0.113.43;host=x, for=_hidden"#),
            ["[2001:db8:cafe::17]:4711", "192.0.2.60", "_hidden"]
        );
        // Another pair is named as what could not be read, not passed over.
        assert_eq!(read("client=1.1.1.1"), ["client=1.1.1.1"]);
        assert_eq!(read("for=\"1.1.1.1"), ["\"1.1.1.1"]);
        assert_eq!(read("for=;by="), [""; 0]);
    }
}
