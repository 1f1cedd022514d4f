//! Random texts: nothing panics, and what is found is what was written.

use super::tests::found;
use super::*;
use crate::address::parse_host;
use proptest::prelude::*;

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        found(&text);
    }

    #[test]
    fn arbitrary_texts_of_its_characters_never_panic(
        parts in proptest::collection::vec(
            proptest::sample::select(&[
                "1", "25", "%", "%2", ".", "[.]", "(dot)", ":", "::", "[:]", "://", "[://]", "[@]", "@", "/", "/8", "[",
                "]", "f", "\\n", "\\x", "$", " ", "é", "“",
            ][..]),
            0..20,
        ),
    ) {
        found(parts.concat().as_bytes());
    }

    #[test]
    fn what_is_found_is_the_address_that_was_written_or_nothing(
        v4: u32, v6: u128, is_v6: bool,
        // How each character is written; most stay as they are.
        ways in proptest::collection::vec(prop_oneof![3 => Just(0usize), 1 => 0..18usize], 40),
        before in proptest::sample::select(&[
            "", " ", "x ", "http://", "hxxp[:]//", "http:", "https:/", "http:\\\\", "u@", "//", "sip:1@", "=", "[", "(", "%20", "%5B",
            "\\x20", "\\n", "\\\\", "&#32;", "&amp;#32;", "\\U00000020", "%2F", "http%3A%2F%2F", "'%20",
        ][..]),
        after in proptest::sample::select(&[
            "", " ", "/", ":80", "]", ")", "%20", "%3A80", "\\n", "&x", "%", "'", "-x.example", "_a.example.com", ".example",
            "%2eexample", "é.example", ". ", ",", "\\u0020", "%2dx.example.com", "\\.example", "&#x2e;example",
        ][..]),
    ) {
        // Before a first group of two digits a percent sign may encode nothing: LIKE.
        let v6 = v6 | 1 << 124;
        let ip = if is_v6 { IpAddr::V6(Ipv6Addr::from_bits(v6)) } else { IpAddr::V4(Ipv4Addr::from_bits(v4)) };
        let written = ip.to_string();
        let spelled: String = written.chars().zip(ways.into_iter().cycle()).map(|(c, way)| {
            let code = u32::from(c);
            match (way, c) {
                (1, _) => format!("%{code:02x}"),
                (2, _) => format!("%25{code:02X}"),
                (3, _) => format!("\\x{code:02x}"),
                (4, _) => format!("\\u{code:04x}"),
                (5, _) => format!("&#{code};"),
                (6, '.' | ':' | '0'..='9') => format!("\\{code:03o}"),
                (7, '.') => "[.]".into(),
                (8, '.') => "[.".into(),
                (9, '.') => "\\.".into(),
                (10, '.') => "(dot)".into(),
                (7..=10, ':') => "[:]".into(),
                (11, _) => format!("%u{code:04x}"),
                (12, _) => format!("\\\\u{code:04x}"),
                (13, _) => format!("\\x{{{code:x}}}"),
                (14, _) => format!("\\U{code:08x}"),
                (15, _) => format!("&amp;#x{code:x};"),
                (16, '.') => "&period;".into(),
                (16, ':') => "&colon;".into(),
                (17, _) => format!("%25u{code:04x}"),
                _ => c.to_string(),
            }
        }).collect();
        // An address without brackets has no port, and one behind a letter is a word with a label.
        prop_assume!(!is_v6 || !after.starts_with(':'));
        // What looks like an escape behind it is a zone.
        prop_assume!(!may_have_zone(Ipv6Addr::from_bits(v6)));
        // Two percent signs that both may encode nothing: LIKE.
        prop_assume!(after != "%" || !format!("{before}{spelled}").contains('%'));
        let text = format!("{before}{spelled}{after}");
        for found in found(text.as_bytes()) {
            prop_assert_eq!(&found, &written, "{}", text);
        }
        if let Ok(Some(found)) = parse_host(text.as_bytes()) {
            prop_assert_eq!(found, ip, "{}", text);
        }
    }

    #[test]
    fn a_text_that_says_one_address_holds_no_other(
        parts in proptest::collection::vec(
            proptest::sample::select(&[
                "0", "1", "010", "089", "25", "0x7f", "2130706433", ".", ".", ".", "[.]", "%2e", "%31", ":80", "::",
                ":", "IPv6:", "f",
            ][..]),
            0..14,
        ),
        before in proptest::sample::select(&["", "[", "http://", "http://[", "http://u@", "sip:", "sip:u@", "sips://", "//", "ldap://", "jndi:ldap://"][..]),
        after in proptest::sample::select(&["", "]", "]:80", "/", "]/", "/x", "?x", ":80"][..]),
    ) {
        let text = format!("{before}{}{after}", parts.concat());
        if let Ok(Some(ip)) = parse_host(text.as_bytes()) {
            // Anything may be a zone.
            prop_assume!(before.ends_with('[') == after.starts_with(']'));
            prop_assume!(ip.is_ipv4() || !text.contains('%'));
            let found = found(text.as_bytes());
            prop_assert!(found.is_empty() || found[0] == ip.to_string(), "{}: {} and {:?}", text, ip, found);
        }
    }

    #[test]
    fn every_address_is_found_between_words(
        v4: u32, v6: u128,
        before in proptest::sample::select(&[
            "", " ", "x ", "http://", "hxxp[:]//", "u:p@", "\"", "=", "(", "%20", "%5B", "\\x20", "\\u003c", "é", "[", "@",
            "\n",
        ][..]),
        after in proptest::sample::select(&[
            "", " ", " x", ":80", "\"", ")", "]", "%5D", "&", "$x", "é", "\n", ". ", ", ",
        ][..]),
    ) {
        let v4 = Ipv4Addr::from_bits(v4);
        let text = format!("{before}{v4}{after}");
        prop_assert_eq!(found(text.as_bytes()), [v4.to_string()], "{}", text);
        // Behind an address without brackets a colon belongs to it.
        let v6 = Ipv6Addr::from_bits(v6 | 1 << 124);
        if after != ":80" {
            let text = format!("{before}{v6}{after}");
            prop_assert_eq!(found(text.as_bytes()), [v6.to_string()], "{}", text);
        }
    }
}
