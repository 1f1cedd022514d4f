//! Both registries, row by row, against the patterns in `class.rs`.

use super::AddressClass::*;
use super::*;
use proptest::prelude::*;

/// One row: prefix, length, and the expected class of the addresses inside, unless a longer row claims them. `Err`
/// names a translation prefix, whose addresses take the class of the IPv4 address inside.
type Row = (&'static str, u32, Result<AddressClass, Embeds>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Embeds {
    /// The IPv4 address starts this many bits from the right.
    At(u32),
    Inverted,
}

/// The IANA IPv4 Special-Purpose Address Registry (2025-10), complete, and multicast.
const V4: &[Row] = &[
    ("0.0.0.0", 8, Ok(ThisNetwork)),
    ("0.0.0.0", 32, Ok(Unspecified)),
    ("10.0.0.0", 8, Ok(Private)),
    ("100.64.0.0", 10, Ok(Cgnat)),
    ("127.0.0.0", 8, Ok(Loopback)),
    ("169.254.0.0", 16, Ok(LinkLocal)),
    ("172.16.0.0", 12, Ok(Private)),
    ("192.0.0.0", 24, Ok(IetfProtocol)),
    ("192.0.0.0", 29, Ok(IetfProtocol)),
    ("192.0.0.8", 32, Ok(IetfProtocol)),
    ("192.0.0.9", 32, Ok(Public)),
    ("192.0.0.10", 32, Ok(Public)),
    ("192.0.0.170", 32, Ok(IetfProtocol)),
    ("192.0.0.171", 32, Ok(IetfProtocol)),
    ("192.0.2.0", 24, Ok(Documentation)),
    ("192.31.196.0", 24, Ok(Public)),
    ("192.52.193.0", 24, Ok(Public)),
    ("192.88.99.0", 24, Ok(Reserved)),
    ("192.88.99.2", 32, Ok(Reserved)),
    ("192.168.0.0", 16, Ok(Private)),
    ("192.175.48.0", 24, Ok(Public)),
    ("198.18.0.0", 15, Ok(Benchmarking)),
    ("198.51.100.0", 24, Ok(Documentation)),
    ("203.0.113.0", 24, Ok(Documentation)),
    ("224.0.0.0", 4, Ok(Multicast)),
    ("240.0.0.0", 4, Ok(Reserved)),
    ("255.255.255.255", 32, Ok(Broadcast)),
];

/// The IANA IPv6 Special-Purpose Address Registry (2025-10), complete; then the additions of the address space registry
/// and RFC 4291.
const V6: &[Row] = &[
    ("::1", 128, Ok(Loopback)),
    ("::", 128, Ok(Unspecified)),
    ("::ffff:0:0", 96, Err(Embeds::At(0))),
    ("64:ff9b::", 96, Err(Embeds::At(0))),
    ("64:ff9b:1::", 48, Ok(Private)),
    ("100::", 64, Ok(DiscardOnly)),
    ("100:0:0:1::", 64, Ok(IetfProtocol)),
    ("2001::", 23, Ok(IetfProtocol)),
    ("2001::", 32, Err(Embeds::Inverted)),
    ("2001:1::1", 128, Ok(Public)),
    ("2001:1::2", 128, Ok(Public)),
    ("2001:1::3", 128, Ok(Public)),
    ("2001:2::", 48, Ok(Benchmarking)),
    ("2001:3::", 32, Ok(Public)),
    ("2001:4:112::", 48, Ok(Public)),
    ("2001:10::", 28, Ok(Reserved)),
    ("2001:20::", 28, Ok(Public)),
    ("2001:30::", 28, Ok(Public)),
    ("2001:db8::", 32, Ok(Documentation)),
    ("2002::", 16, Err(Embeds::At(80))),
    ("2620:4f:8000::", 48, Ok(Public)),
    ("3fff::", 20, Ok(Documentation)),
    ("5f00::", 16, Ok(IetfProtocol)),
    ("fc00::", 7, Ok(Private)),
    ("fe80::", 10, Ok(LinkLocal)),
    // Beside the registry.
    ("::", 96, Ok(Reserved)),
    ("2000::", 3, Ok(Public)),
    ("fec0::", 10, Ok(Reserved)),
    ("ff00::", 8, Ok(Multicast)),
];

/// The range of a row, as numbers: first and last address.
fn bounds(row: &Row, width: u32) -> (u128, u128) {
    let first = match row.0.parse().expect("a registry prefix") {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let hosts = (u128::MAX >> (128 - width)).checked_shr(row.1).unwrap_or(0);
    assert_eq!(first & hosts, 0, "{}/{} has host bits", row.0, row.1);
    (first, first | hosts)
}

/// The longest row that covers an address: slow and plain, so that it errs elsewhere than the patterns do.
fn longest(rows: &'static [Row], width: u32, bits: u128) -> Option<&'static Row> {
    rows.iter()
        .filter(|row| {
            let (first, last) = bounds(row, width);
            (first..=last).contains(&bits)
        })
        .max_by_key(|row| row.1)
}

fn expected_v4(bits: u32) -> AddressClass {
    longest(V4, 32, u128::from(bits)).map_or(Public, |row| row.2.expect("no translation in IPv4"))
}

fn expected_v6(bits: u128) -> AddressClass {
    match longest(V6, 128, bits).map(|row| row.2) {
        None => Reserved,
        Some(Ok(class)) => class,
        Some(Err(Embeds::At(shift))) => expected_v4((bits >> shift) as u32),
        Some(Err(Embeds::Inverted)) => expected_v4(!(bits as u32)),
    }
}

fn check_v4(bits: u32) {
    let ip = Ipv4Addr::from_bits(bits);
    assert_eq!(classify(ip.into()), expected_v4(bits), "{ip}");
}

fn check_v6(bits: u128) {
    let ip = Ipv6Addr::from_bits(bits);
    assert_eq!(classify(ip.into()), expected_v6(bits), "{ip}");
}

#[test]
fn every_ipv4_registry_entry_has_its_class_up_to_both_ends_and_not_beyond() {
    for row in V4 {
        let (first, last) = bounds(row, 32);
        let (first, last) = (first as u32, last as u32);
        for bits in [first, last, first.wrapping_sub(1), last.wrapping_add(1)] {
            check_v4(bits);
        }
    }
}

#[test]
fn every_ipv6_registry_entry_has_its_class_up_to_both_ends_and_not_beyond() {
    for row in V6 {
        let (first, last) = bounds(row, 128);
        for bits in [first, last, first.wrapping_sub(1), last.wrapping_add(1)] {
            check_v6(bits);
        }
    }
}

#[test]
fn a_registry_entry_expects_what_it_says_at_its_first_address() {
    // The oracle itself: where no longer row starts at the same address, its own class counts.
    for (rows, width) in [(V4, 32), (V6, 128)] {
        for row in rows {
            let (first, _) = bounds(row, width);
            let claimed = rows.iter().any(|other| other.1 > row.1 && bounds(other, width).0 == first);
            if !claimed {
                assert_eq!(longest(rows, width, first).map(|found| found.2), Some(row.2));
            }
        }
    }
}

#[test]
fn addresses_of_daily_life_have_their_classes() {
    let cases = [
        ("10.0.0.1", "private"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("100.64.0.1", "cgnat"),
        ("224.0.0.1", "multicast"),
        ("192.0.2.1", "documentation"),
        ("fe80::1", "link_local"),
        ("fc00::1", "private"),
        ("2001:db8::1", "documentation"),
        ("0.0.0.1", "this_network"),
        ("255.255.255.255", "broadcast"),
        ("198.19.255.255", "benchmarking"),
        ("100::1", "discard_only"),
        ("::", "unspecified"),
        ("240.0.0.1", "reserved"),
        ("192.0.0.1", "ietf_protocol"),
        ("8.8.8.8", "public"),
        ("172.15.255.255", "public"),
        ("172.32.0.0", "public"),
        ("2606:4700:4700::1111", "public"),
        ("2001:200::", "public"),
        ("::8.8.8.8", "reserved"),
        ("4000::", "reserved"),
    ];
    for (text, class) in cases {
        assert_eq!(classify(text.parse().unwrap()).as_str(), class, "{text}");
    }
}

#[test]
fn an_address_that_embeds_ipv4_stands_for_it() {
    let cases = [
        ("::ffff:8.8.8.8", "8.8.8.8", Public),
        ("2002:808:808::", "8.8.8.8", Public),
        ("2002:a00:1::", "10.0.0.1", Private),
        ("2002:a00:1:ffff::1", "10.0.0.1", Private),
        ("::ffff:192.168.1.1", "192.168.1.1", Private),
        ("64:ff9b::7f00:1", "127.0.0.1", Loopback),
        ("64:ff9b::808:808", "8.8.8.8", Public),
        // RFC 4380, 2.6: server 65.54.227.120, client 192.0.2.45 behind port 40000.
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45", Documentation),
        ("2001:0:4136:e378:8000:63bf:f7f7:f7f7", "8.8.8.8", Public),
    ];
    for (text, stands_for, class) in cases {
        let ip: IpAddr = text.parse().unwrap();
        assert_eq!(effective(ip), stands_for.parse::<IpAddr>().unwrap(), "{text}");
        assert_eq!(classify(ip), class, "{text}");
    }
}

#[test]
fn an_address_that_embeds_nothing_stays_what_it_is() {
    for text in [
        "8.8.8.8",
        "2606:4700:4700::1111",
        "::808:808",            // IPv4-compatible: long deprecated, nobody's IPv4 address
        "::ffff:0:808:808",     // IPv4-translated (SIIT), not mapped
        "64:ff9b:0:1::808:808", // beside the NAT64 prefix
        "64:ff9b:1::808:808",   // local-use translation
        "2001:1::1",            // beside Teredo
        "2003:808:808::",       // beside 6to4
        "fe80::5efe:808:808",   // ISATAP stays link-local
    ] {
        let ip: IpAddr = text.parse().unwrap();
        assert_eq!(effective(ip), ip, "{text}");
    }
}

#[test]
fn every_class_reads_back_from_its_name_and_only_from_that() {
    let mut names: Vec<_> = AddressClass::all().iter().map(|class| class.as_str()).collect();
    for class in AddressClass::all() {
        assert_eq!(class.as_str().parse(), Ok(*class));
        assert_eq!(class.to_string(), class.as_str());
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 14);
    for text in ["", "Public", "public ", "link-local"] {
        assert_eq!(text.parse::<AddressClass>(), Err(UnknownClass), "{text:?}");
    }
}

#[test]
fn the_registries_speak_of_every_class_and_only_one_is_public() {
    for class in AddressClass::all() {
        let named = V4.iter().chain(V6).any(|row| row.2 == Ok(*class));
        assert!(named, "no row expects {class}");
        assert_eq!(class.is_public(), *class == Public);
    }
}

proptest! {
    #[test]
    fn any_ipv4_address_has_the_class_of_its_longest_registry_entry(bits: u32) {
        check_v4(bits);
    }

    #[test]
    fn any_ipv6_address_has_the_class_of_its_longest_registry_entry(bits: u128) {
        check_v6(bits);
    }

    #[test]
    fn any_address_inside_a_registry_entry_has_the_class_of_its_longest_entry(
        row in proptest::sample::select(V6),
        noise: u128,
    ) {
        let (first, last) = bounds(&row, 128);
        check_v6(first | (noise & (first ^ last)));
    }

    #[test]
    fn what_an_address_stands_for_stands_for_itself(bits: u128) {
        let ip = effective(Ipv6Addr::from_bits(bits).into());
        prop_assert_eq!(effective(ip), ip);
    }

    #[test]
    fn an_embedded_address_comes_back_whatever_surrounds_it(bits: u32, noise: u128) {
        let (v4, wide) = (IpAddr::V4(Ipv4Addr::from_bits(bits)), u128::from(bits));
        let around_6to4 = noise & !(u128::MAX << 80);
        let around_teredo = noise & (u128::MAX >> 32) & (u128::MAX << 32);
        for carrier in [
            0xffff << 32 | wide,
            0x0064_ff9b << 96 | wide,
            0x2002 << 112 | wide << 80 | around_6to4,
            0x2001_0000 << 96 | around_teredo | u128::from(!bits),
        ] {
            let ip = IpAddr::V6(Ipv6Addr::from_bits(carrier));
            prop_assert_eq!(effective(ip), v4, "{}", ip);
            prop_assert_eq!(classify(ip), classify(v4));
        }
    }
}
