use super::super::parsed::{Parsed, Room};
use super::super::ranges::{self, Ranges};
use super::super::span::{Span, entry};
use super::*;

fn file(entries: &[&str]) -> Vec<u8> {
    let mut parsed = Parsed::default();
    for text in entries {
        parsed.add(entry(text.as_bytes()).expect(text), 1, Room::default()).unwrap();
    }
    let mut bytes = Vec::new();
    ranges::write(&parsed.finish(), &mut bytes).unwrap();
    bytes
}

fn index(lists: &[(&str, &[&str])]) -> Vec<u8> {
    let files: Vec<Vec<u8>> = lists.iter().map(|(_, entries)| file(entries)).collect();
    let lists: Vec<(&str, Ranges)> =
        lists.iter().zip(&files).map(|((name, _), file)| (*name, Ranges::open(file).unwrap())).collect();
    let mut bytes = Vec::new();
    build(&lists, &mut bytes, &|| ()).unwrap();
    bytes
}

fn names<'a>(bytes: &'a [u8], ip: &str) -> Vec<&'a str> {
    let index = Index::open(bytes).expect("an index");
    index.names(bytes, index.find(bytes, ip.parse().expect(ip)))
}

#[test]
fn an_address_is_in_the_lists_that_hold_it() {
    let bytes = index(&[
        ("all", &["0.0.0.0/0", "::/0"]),
        ("b", &["10.0.0.0/8", "2001:db8::/32", "255.255.255.255"]),
        ("c", &["10.1.0.0/16", "10.0.255.255", "2001:db8:1::/48", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]),
        ("empty6", &["1.2.3.4"]),
    ]);
    for (ip, wanted) in [
        ("0.0.0.0", &["all"][..]),
        ("9.255.255.255", &["all"]),
        ("10.0.0.0", &["all", "b"]),
        ("10.0.255.254", &["all", "b"]),
        ("10.0.255.255", &["all", "b", "c"]),
        ("10.1.0.0", &["all", "b", "c"]),
        ("10.1.255.255", &["all", "b", "c"]),
        ("10.2.0.0", &["all", "b"]),
        ("10.255.255.255", &["all", "b"]),
        ("11.0.0.0", &["all"]),
        ("1.2.3.3", &["all"]),
        ("1.2.3.4", &["all", "empty6"]),
        ("1.2.3.5", &["all"]),
        ("255.255.255.254", &["all"]),
        ("255.255.255.255", &["all", "b"]),
        ("::", &["all"]),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", &["all"]),
        ("2001:db8::", &["all", "b"]),
        ("2001:db8:1::1", &["all", "b", "c"]),
        ("2001:db9::", &["all"]),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", &["all"]),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &["all", "c"]),
    ] {
        assert_eq!(names(&bytes, ip), wanted, "{ip}");
    }
}

#[test]
fn without_a_list_nothing_holds() {
    for bytes in [index(&[]), index(&[("a", &["1.1.1.1"])]), index(&[("a", &["::1"])])] {
        for ip in ["0.0.0.0", "1.1.1.0", "255.255.255.255", "::", "::2", "ffff::"] {
            assert_eq!(names(&bytes, ip), [""; 0], "{ip}");
        }
    }
}

#[test]
fn an_address_that_stands_for_another_is_in_the_lists_of_both() {
    let bytes = index(&[("sixtofour", &["2002::/16"]), ("v4", &["1.2.3.0/24"]), ("w6", &["64:ff9b::/96"])]);
    assert_eq!(names(&bytes, "::ffff:1.2.3.4"), ["v4"]);
    assert_eq!(names(&bytes, "2002:102:304::1"), ["sixtofour", "v4"]);
    assert_eq!(names(&bytes, "2002:102:404::1"), ["sixtofour"]);
    assert_eq!(names(&bytes, "64:ff9b::1.2.3.4"), ["v4", "w6"]);
    assert_eq!(names(&bytes, "1.2.3.4"), ["v4"]);
}

/// Against a plain look at every entry, on many small random lists.
#[test]
fn it_says_what_a_look_at_every_entry_says() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as u32 % below
    };
    for _ in 0..200 {
        // Few addresses, on both sides of a bucket's border, so that borders meet.
        let v4 =
            |n: u32| format!("10.{}.{}.{}", n >> 7, if n & 64 == 0 { 0 } else { 255 }, 224 * (n >> 6 & 1) + n % 32);
        let lists: Vec<(String, Vec<String>)> = (0..1 + random(5))
            .map(|list| {
                let count = random(12);
                let entry = |_| match random(3) {
                    0 => v4(random(256)),
                    1 => format!("{}/{}", v4(random(256)), 12 + random(21)),
                    _ => format!("2001:db8::{:x}/{}", random(64), 120 + random(9)),
                };
                (format!("l{list}"), (0..count).map(entry).collect())
            })
            .collect();
        let entries: Vec<Vec<&str>> = lists.iter().map(|(_, e)| e.iter().map(String::as_str).collect()).collect();
        let given: Vec<(&str, &[&str])> =
            lists.iter().zip(&entries).map(|((name, _), entries)| (name.as_str(), &entries[..])).collect();
        let bytes = index(&given);
        for n in 0..256 {
            for ip in [v4(n), format!("2001:db8::{n:x}")] {
                let at: IpAddr = ip.parse().unwrap();
                let holds = |text: &&str| match (entry(text.as_bytes()).unwrap().span, at) {
                    (Span::V4(first, last), IpAddr::V4(ip)) => (first..=last).contains(&ip.to_bits()),
                    (Span::V6(first, last), IpAddr::V6(ip)) => (first..=last).contains(&ip.to_bits()),
                    _ => false,
                };
                let wanted: Vec<&str> =
                    given.iter().filter(|(_, entries)| entries.iter().any(holds)).map(|(name, _)| *name).collect();
                assert_eq!(names(&bytes, &ip), wanted, "{ip} in {given:?}");
            }
        }
    }
}

#[test]
fn many_ranges_of_ipv6_are_found_beyond_the_first_sample() {
    let entries: Vec<String> = (0..2000).map(|n| format!("2001:db8:{:x}::/48", n * 2)).collect();
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    let bytes = index(&[("v6", &entries)]);
    for n in 0..4000 {
        let wanted = if n % 2 == 0 { &["v6"][..] } else { &[] };
        for end in ["", "ffff:ffff:ffff:ffff:ffff"] {
            let ip = if end.is_empty() { format!("2001:db8:{n:x}::") } else { format!("2001:db8:{n:x}:{end}") };
            assert_eq!(names(&bytes, &ip), wanted, "{ip}");
        }
    }
}

#[test]
fn a_file_that_is_cut_or_damaged_neither_opens_nor_panics() {
    let bytes = index(&[("a", &["10.0.0.0/8", "2001:db8::/32"]), ("b", &["10.1.0.0/16"])]);
    for end in (0..bytes.len()).step_by(bytes.len() / 50) {
        assert!(Index::open(&bytes[..end]).is_none(), "{end}");
    }
    for at in (0..bytes.len()).step_by(97) {
        let mut bad = bytes.clone();
        bad[at] ^= 0xff;
        if let Some(index) = Index::open(&bad) {
            for ip in ["10.1.2.3", "10.255.255.255", "2001:db8::1", "::ffff:10.1.2.3"] {
                index.names(&bad, index.find(&bad, ip.parse().unwrap()));
            }
        }
    }
}
