//! The address in an event's text.

use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn says(text: &str, address: &str) {
    assert_eq!(parse_host(text.as_bytes()), Ok(Some(ip(address))), "{text:?}");
}

fn refuses(text: &[u8], why: NotAnAddress) {
    assert_eq!(parse_host(text), Err(why), "{:?}", text.escape_ascii().to_string());
}

#[test]
fn empty_and_blank_texts_say_nothing() {
    for text in ["", " ", "\t\r\n  ", &" ".repeat(100_000)] {
        assert_eq!(parse_host(text.as_bytes()), Ok(None));
    }
}

#[test]
fn a_bare_address_is_read_with_blanks_around_it() {
    says("203.0.113.9", "203.0.113.9");
    says("2001:DB8::1", "2001:db8::1");
    says(" \t203.0.113.9\r\n", "203.0.113.9");
    says("  ::  ", "::");
    // A char(n) column pads.
    says(&format!("203.0.113.9{}", " ".repeat(2000)), "203.0.113.9");
    says("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

#[test]
fn a_mapped_address_stays_what_it_was() {
    says("::ffff:8.8.8.8", "::ffff:8.8.8.8");
    says("[::ffff:8.8.8.8]:80", "::ffff:8.8.8.8");
}

#[test]
fn a_port_and_brackets_are_set_aside() {
    says("203.0.113.9:22", "203.0.113.9");
    says("203.0.113.9:0", "203.0.113.9");
    says("203.0.113.9:65535", "203.0.113.9");
    says("[2001:db8::1]", "2001:db8::1");
    says("[2001:db8::1]:22", "2001:db8::1");
    // As mail writes them.
    says("[203.0.113.9]", "203.0.113.9");
    says("[203.0.113.9]:25", "203.0.113.9");
    says("[IPv6:2001:db8::1]", "2001:db8::1");
    says("http://[203.0.113.9]/", "203.0.113.9");
    // Without brackets there is no port: all of it is the address.
    says("2001:db8::1:22", "2001:db8::1:22");
    for text in [
        "203.0.113.9:",
        "203.0.113.9:65536",
        "203.0.113.9:+1",
        "203.0.113.9:22:22",
        "203.0.113.9: 22",
        "203.0.113.9:ssh",
        "[2001:db8::1",
        "2001:db8::1]",
        "[2001:db8::1]22",
        "[2001:db8::1]:x",
        "[]",
        "[203.0.113.9",
        "[203.0.113.9%eth0]",
        "[203.0.113]",
        "[IPv6:203.0.113.9]",
        "[IPv6:]",
        "[IPv6:2001:db8::1",
        "[IPv4:203.0.113.9]",
        "[[::1]]",
        "[::1]]",
        ":22",
        "[",
        "]",
    ] {
        refuses(text.as_bytes(), Garbage);
    }
}

#[test]
fn a_zone_is_dropped() {
    says("fe80::1%eth0", "fe80::1");
    says("fe80::1%12", "fe80::1");
    says("[fe80::1%en0.100]:22", "fe80::1");
    says("http://[fe80::1%25eth0]:80/", "fe80::1");
    says("fe80::1%eth0/128", "fe80::1");
    for text in ["fe80::1%", "203.0.113.9%eth0", "fe80::1%eth 0", "fe80::1%a\0", "%eth0", "[fe80::1%]"] {
        refuses(text.as_bytes(), Garbage);
    }
}

#[test]
fn what_may_be_an_encoded_part_of_an_address_is_no_zone() {
    for text in [
        "2001:db8::%31",
        "2001:db8::1%2531",
        "2001:db8::1%u0031",
        "2001:db8::1%2e5",
        "[2001:db8::1%3a5]",
        "http://2001:db8::%31/",
    ] {
        refuses(text.as_bytes(), Garbage);
    }
    for address in ["fe80::1", "fec0::1", "ff01::1", "ff02::1", "ff12::fb"] {
        says(&format!("{address}%31"), address);
    }
    for text in ["ff0e::1%31", "fd00::1%31", "::1%31"] {
        refuses(text.as_bytes(), Garbage);
    }
    says("2001:db8::1%12", "2001:db8::1");
    says("2001:db8::1%25eth0", "2001:db8::1");
}

#[test]
fn a_zone_longer_than_any_interface_name_could_be_is_garbage() {
    refuses(format!("fe80::1%{}", "e".repeat(1000)).as_bytes(), Garbage);
}

#[test]
fn a_prefix_length_is_accepted_only_when_it_covers_the_whole_address() {
    says("203.0.113.9/32", "203.0.113.9");
    says("2001:db8::1/128", "2001:db8::1");
    for text in ["203.0.113.9/31", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::ffff:8.8.8.8/32", "::/127"] {
        refuses(text.as_bytes(), Network);
    }
    for text in [
        "203.0.113.9/33",
        "203.0.113.9/",
        "203.0.113.9/032",
        "203.0.113.9/+32",
        "::1/129",
        "::1/1280",
        "203.0.113.9/32/32",
        "203.0.113.9:22/32",
        "[::1]/128",
        "/32",
        "x/32",
        "203.0.113.9/index.html",
        "203.0.113.9/255.255.255.0",
        "203.0.113.9/4294967328",
    ] {
        refuses(text.as_bytes(), Garbage);
    }
}

#[test]
fn only_four_decimal_numbers_are_ipv4_outside_of_urls() {
    says("086.035.071.014", "86.35.71.14");
    says("010.000.00.1:22", "10.0.0.1");
    for text in [
        "1.2.3",
        "1.2.3.4.5",
        "0001.2.3.4",
        "1.2.3.256",
        "0x7f.0.0.1",
        "2130706433",
        "1.2.3.4.",
        "1,2,3,4",
        "1.2.3.-4",
        "1 .2.3.4",
        "http://1.2.3.999/x",
        "http://4294967296/",
        "http://0089.0.0.1/",
    ] {
        refuses(text.as_bytes(), Garbage);
    }
}

#[test]
fn the_host_of_a_url_is_read_as_browsers_read_it() {
    says("http://2130706433/", "127.0.0.1");
    says("http://0x7f000001/", "127.0.0.1");
    says("http://u@0x7f.1:80/", "127.0.0.1");
    says("http://127.1/", "127.0.0.1");
    says("http://010.0.0.1/", "8.0.0.1");
    says("http://203.0.113.9./", "203.0.113.9");
    says("http://%32%303.0.113%2e9:80/", "203.0.113.9");
    says("http://0x7f%2e1/", "127.0.0.1");
    refuses(b"http://203.0.113.9%2eexample.com/", Garbage);
    refuses(b"http://203.0.113.9%2520/", Garbage);
    // Numbers that are not octal are padded, as logs do.
    says("http://086.035.071.014/", "86.35.71.14");
}

#[test]
fn a_sip_address_counts_by_its_host() {
    says("sip:100@203.0.113.9", "203.0.113.9");
    says("SIPS:203.0.113.9:5061;transport=tls?x=@8.8.8.8", "203.0.113.9");
    says("sip:a:b@[2001:db8::1]:5060", "2001:db8::1");
    refuses(b"sip:100@example.com", HostName);
    // No browser reads it, and a number alone is a telephone's.
    says("sip:100@010.1.1.1:5060", "10.1.1.1");
    says("sips:086.035.071.014", "86.35.71.14");
    says("sip://100@010.1.1.1", "10.1.1.1");
    refuses(b"sip:2125551212", Garbage);
    // Nobody knows who reads it.
    says("//010.1.1.1/x", "10.1.1.1");
    says("//0x7f.1/x", "127.0.0.1");
    refuses(b"sip:", Garbage);
    refuses(b"zip:100@203.0.113.9", Garbage);
}

#[test]
fn a_defanged_address_is_read() {
    says("203[.]0[.]113[.]9", "203.0.113.9");
    says("203(dot)0(dot)113(dot)9:22", "203.0.113.9");
    says("hxxp://203[.]0[.]113[.]9:8080/x", "203.0.113.9");
    says("hxxps[://]203.0.113[.]9/x", "203.0.113.9");
    says("2001[:]db8[:][:]1", "2001:db8::1");
    refuses(b"evil[.]example[.]com", HostName);
    refuses(b"203[.]0[.]113[.]", Garbage);
}

#[test]
fn a_url_counts_by_its_host() {
    says("http://user:pw@203.0.113.9:8080/x?y", "203.0.113.9");
    says("tcp://[2001:db8::1]:22", "2001:db8::1");
    says("//203.0.113.9/path", "203.0.113.9");
    says("//[2001:db8::1]", "2001:db8::1");
    says("HTTPS://203.0.113.9", "203.0.113.9");
    says("http://203.0.113.9?q=http://8.8.8.8/", "203.0.113.9");
    says("http://203.0.113.9#f@8.8.8.8", "203.0.113.9");
    says("http://203.0.113.9:/", "203.0.113.9");
    says("http://[::1]:/", "::1");
    says("http://2001:db8::1/x", "2001:db8::1");
    says("tcp://u:p@2001:db8::1:80", "2001:db8::1:80");
    says("ldap://fe80::1%25eth0/", "fe80::1");
    says("http://::1/", "::1");
    says("git+ssh://git@203.0.113.9/r.git", "203.0.113.9");
    says("jndi:ldap://203.0.113.9:1389/a", "203.0.113.9");
    says("jdbc:postgresql://203.0.113.9/db", "203.0.113.9");
    says("http://a@b:p@203.0.113.9/", "203.0.113.9");
    says("http://pässword@203.0.113.9/", "203.0.113.9");
    says("  http://203.0.113.9/a b\tc  ", "203.0.113.9");
}

#[test]
fn only_the_authority_of_a_url_is_looked_at() {
    says(&format!("http://203.0.113.9/{}", "\0".repeat(1_000_000)), "203.0.113.9");
    let mut binary = b"http://203.0.113.9/".to_vec();
    binary.extend([0xff; 5000]);
    assert_eq!(parse_host(&binary), Ok(Some(ip("203.0.113.9"))));
    // The end of the authority has to be in sight, or `203.0.113.9` could be the start of anything.
    says(&format!("http://{}@203.0.113.9/x", "u".repeat(400)), "203.0.113.9");
    refuses(format!("http://{}@203.0.113.9/x", "u".repeat(600)).as_bytes(), Garbage);
    // Wherever the look ends, the address it ends in is not taken for the whole host.
    for user in 400..520 {
        let text = format!("http://{}@203.0.113.99.example/", "u".repeat(user));
        assert!(parse_host(text.as_bytes()).is_err(), "{user} bytes before");
    }
}

#[test]
fn a_host_name_is_told_from_garbage() {
    for text in [
        "http://example.com/",
        "http://user@example.com:80",
        "//example.com",
        "ftp://localhost/x",
        "http://xn--bcher-kva.example/",
        "http://bücher.example/",
        "http://a_b.example./",
        "http://3com.com",
        "http://203.0.113.9.nip.io/",
        "example.com",
        "mail.example.com:25",
        "www.example.com.",
        "http://10.0.0.1@example.com/",
    ] {
        refuses(text.as_bytes(), HostName);
    }
    for text in [
        "unknown",
        "-",
        "localhost",
        "http://",
        "http:///path",
        "http://-a.example/",
        "http://a..b/",
        "http://a b/",
        "http://%31.example/",
        "http://example.com:x/",
        "http://2001:db8::1]/",
        "http://2001:db8::1x/",
        "http://12:34:56/",
        "http:/203.0.113.9/",
        "http:203.0.113.9",
        "1http://203.0.113.9/",
        "://203.0.113.9/",
        "http://[v1.x]/",
        "http://a@/",
        "file:///etc/passwd",
        "//",
        "/",
        "///203.0.113.9",
    ] {
        refuses(text.as_bytes(), Garbage);
    }
    refuses(format!("http://{}/", "a.".repeat(127) + "com").as_bytes(), Garbage);
    refuses(format!("http://{}.com/", "a".repeat(64)).as_bytes(), Garbage);
}

#[test]
fn a_url_whose_host_programs_disagree_about_is_garbage() {
    for text in
        ["http://8.8.8.8\\@10.0.0.1/", "http://8.8.8.8\\/x", "http://8.8.8.8 @10.0.0.1/", "http://a\n@10.0.0.1/"]
    {
        refuses(text.as_bytes(), Garbage);
    }
}

#[test]
fn bytes_that_are_no_text_are_garbage() {
    for text in [
        &b"\xff\xfe"[..],
        b"203.0.113.9\xff",
        b"\0",
        b"203.0.113.9\0",
        b"203.0.113\09",
        b"http://\xff.example/",
        b"http://\xff@203.0.113.9/",
        b"\xc3.example.com",
        b"fe80::1%\xc3\xa4",
        b"203.0.113.9, 8.8.8.8",
        b"\xc2\xa0203.0.113.9",
    ] {
        refuses(text, Garbage);
    }
}

#[test]
fn a_megabyte_of_anything_is_refused_without_reading_it() {
    let ends =
        [("x", ""), ("1.", ""), (":", ""), ("/", ""), ("//", "."), ("[", ""), ("http://a", ""), ("@", "%"), ("\0", "")];
    for (unit, end) in ends {
        let text = unit.repeat(1 << 20) + end;
        // Reading every byte a thousand times takes far longer. A busy machine may pause us: the shortest of some rounds.
        let round = || {
            let start = Instant::now();
            for _ in 0..1000 {
                assert!(parse_host(text.as_bytes()).is_err(), "{unit:?}");
            }
            start.elapsed()
        };
        let shortest = (0..3).map(|_| round()).min().unwrap();
        assert!(shortest < Duration::from_secs(1), "{unit:?}: {shortest:?}");
    }
}

proptest! {
    #[test]
    fn ipv4_is_read_as_the_standard_library_reads_it_but_for_leading_zeros(
        parts in proptest::collection::vec(
            proptest::sample::select(&["0", "1", "9", "12", "25", "255", "256", "300", "1234", ".", ".", ".", ":", "a", " "][..]),
            0..9,
        ),
    ) {
        let text = parts.concat();
        // The standard library takes no leading zeros: they go before it is asked, from numbers that are not too long.
        let short = |number: &str| number.len() <= 3 && !number.is_empty();
        let plain: Vec<&str> = text
            .split('.')
            .map(|number| if short(number) { number.trim_start_matches('0') } else { number })
            .map(|number| if number.is_empty() { "0" } else { number })
            .collect();
        let whole = text.split('.').all(|number| short(number) && number.bytes().all(|b| b.is_ascii_digit()));
        let expected = if whole { plain.join(".").parse().ok() } else { None };
        prop_assert_eq!(literal_v4(text.as_bytes()), expected, "{:?}", text);
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..700)) {
        let _ = parse_host(&text);
    }

    #[test]
    fn arbitrary_texts_of_the_grammar_never_panic(
        parts in proptest::collection::vec(
            proptest::sample::select(&[
                "http", "://", "//", "/", ":", "::", "[", "]", "@", "%", "1.2.3.4", "fe80::1", "32", "eth0",
                " ", "\0", "é", "a.b", "?", "#", "\\",
            ][..]),
            0..12,
        ),
    ) {
        let text = parts.concat();
        if let Ok(None) = parse_host(text.as_bytes()) {
            prop_assert!(text.trim().is_empty());
        }
    }

    #[test]
    fn every_ipv4_address_is_read_back_in_every_form(bits: u32, port: u16) {
        let address = Ipv4Addr::from_bits(bits);
        for text in [
            format!("{address}"), format!("{address}:{port}"), format!("{address}/32"), format!(" {address}\n"),
            format!("http://{address}/"), format!("//u:p@{address}:{port}"),
        ] {
            prop_assert_eq!(parse_host(text.as_bytes()), Ok(Some(IpAddr::V4(address))), "{}", text);
        }
    }

    #[test]
    fn every_ipv6_address_is_read_back_in_every_form(
        // Random bits alone would hardly ever be shortened to `::`.
        bits in any::<(u128, u128)>().prop_map(|(bits, mask)| {
            let words = (0..8).filter(|i| mask >> i & 1 == 1);
            words.fold(bits, |bits, i| bits & !(0xffff << (16 * i)))
        }),
        port: u16,
    ) {
        let address = Ipv6Addr::from_bits(bits);
        for text in [
            format!("{address}"), format!("[{address}]"), format!("[{address}]:{port}"), format!("{address}/128"),
            format!("{address}%eth0"), format!("tcp://[{address}]:{port}/x"), format!("//[{address}]"),
        ] {
            prop_assert_eq!(parse_host(text.as_bytes()), Ok(Some(IpAddr::V6(address))), "{}", text);
        }
    }

    #[test]
    fn a_shorter_prefix_is_always_a_network(bits: u32, wide: u128, short in 0..32u32, shorter in 0..128u32) {
        let v4 = format!("{}/{short}", Ipv4Addr::from_bits(bits));
        prop_assert_eq!(parse_host(v4.as_bytes()), Err(Network));
        let v6 = format!("{}/{shorter}", Ipv6Addr::from_bits(wide));
        prop_assert_eq!(parse_host(v6.as_bytes()), Err(Network));
    }
}
