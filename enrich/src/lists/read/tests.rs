use std::io::Cursor;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::parsed::Lines;
use super::*;

fn parse(bytes: impl AsRef<[u8]>) -> Result<Parsed, String> {
    // A small buffer: lines and marks are cut in the middle.
    let mut source = io::BufReader::with_capacity(64, Cursor::new(bytes.as_ref().to_vec()));
    read(&mut source, Room::default(), &|| ()).map_err(|unread| match unread {
        Unread::Io(error) => error.to_string(),
        Unread::Refused(reason) | Unread::NoRoom(reason) => reason,
    })
}

fn spans(bytes: impl AsRef<[u8]>) -> Vec<String> {
    let parsed = parse(bytes).expect("a list");
    let v4 = parsed.v4.iter().map(|(a, b)| format!("{}-{}", Ipv4Addr::from(*a), Ipv4Addr::from(*b)));
    v4.chain(parsed.v6.iter().map(|(a, b)| format!("{}-{}", Ipv6Addr::from(*a), Ipv6Addr::from(*b)))).collect()
}

fn reason(bytes: impl AsRef<[u8]>) -> String {
    parse(bytes).expect_err("refused")
}

#[test]
fn spamhaus_drop() {
    let text = "; Spamhaus DROP List 2026/01/01 - (c) 2026 The Spamhaus Project\n1.10.16.0/20 ; SBL256894\n1.19.0.0/16 ; SBL434604\n";
    assert_eq!(spans(text), ["1.10.16.0-1.10.31.255", "1.19.0.0-1.19.255.255"]);
    let lines = r#"{"cidr":"1.10.16.0/20","sblid":"SBL256894","rir":"apnic"}
{"cidr":"2.57.122.0/24","sblid":"SBL1"}
{"type":"metadata","timestamp":1767225600,"size":2}
"#;
    assert_eq!(spans(lines), ["1.10.16.0-1.10.31.255", "2.57.122.0-2.57.122.255"]);
}

#[test]
fn firehol_netset_with_dos_line_ends_and_a_mark() {
    let text = "\u{feff}#\r\n# firehol_level1\r\n#\r\n0.0.0.0/8\r\n1.10.16.0/20\r\n\r\n2001:db8::/32\r\n";
    assert_eq!(
        spans(text),
        ["0.0.0.0-0.255.255.255", "1.10.16.0-1.10.31.255", "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"]
    );
    // The mark before an entry.
    assert_eq!(spans("\u{feff}1.1.1.1"), ["1.1.1.1-1.1.1.1"]);
}

#[test]
fn tor_exit_addresses() {
    let text = "ExitNode 0011BD2485AD45D984EC4159C88FC066E5E3300E\nPublished 2026-01-01 01:02:03\nLastStatus 2026-01-01 02:00:00\nExitAddress 162.247.74.201 2026-01-01 02:11:02\nExitNode 00\nExitAddress 2001:db8::7 2026-01-01 02:11:02\n";
    let parsed = parse(text).unwrap();
    assert_eq!((parsed.entries, parsed.bad), ([1, 1], Lines::default()));
}

#[test]
fn columns_ranges_and_quotes() {
    let text = "network,provider\n\"1.2.3.0/24\",\"a, b\"\n2.2.2.2\t2026\n'3.3.3.3',x\n4.0.0.0 - 4.0.0.9\n5.0.0.0-5.0.0.1 # five\n";
    assert_eq!(
        spans(text),
        ["1.2.3.0-1.2.3.255", "2.2.2.2-2.2.2.2", "3.3.3.3-3.3.3.3", "4.0.0.0-4.0.0.9", "5.0.0.0-5.0.0.1"]
    );
    assert_eq!(parse(text).unwrap().bad.count, 0);
    for header in ["ip;first;last", "Start\tEnd", "ip,score"] {
        assert_eq!(parse(format!("{header}\n1.1.1.1\n")).unwrap().bad.count, 0, "{header}");
    }
    // DShield: only where the three columns say the same.
    assert_eq!(spans("80.94.92.0\t80.94.92.255\t24\t4000\tX\tRO\tx@example.com\n"), ["80.94.92.0-80.94.92.255"]);
    let unsure = parse("80.94.92.0\t80.94.92.255\t24\n80.94.92.0\t80.94.92.255\t23\t4000\n").unwrap();
    assert_eq!((unsure.entries, unsure.bad), ([1, 0], Lines { count: 1, first: 2 }));
    // Nor is the first of several networks all that a line says.
    let several =
        parse("1.2.3.0/24\n10.0.0.0/8, 192.168.0.0/16\n2400:cb00::/32 2606:4700::/32\n1.2.4.0/24 2026-01-01 a/b")
            .unwrap();
    assert_eq!((several.entries, several.bad), ([2, 0], Lines { count: 2, first: 2 }));
}

#[test]
fn columns_that_say_where_an_entry_lies_belong_to_it() {
    for (line, wanted) in [
        ("203.0.113.9,203.0.113.0/24,AS64500", "203.0.113.9-203.0.113.9"),
        ("203.0.113.9 203.0.113.0/24 203.0.0.0/16", "203.0.113.9-203.0.113.9"),
        ("\"203.0.113.9\",\"203.0.113.0-203.0.113.99\"", "203.0.113.9-203.0.113.9"),
        ("1.0.0.0/24,1.0.0.0-1.0.0.255", "1.0.0.0-1.0.0.255"),
        ("1.0.0.0-1.0.0.255,1.0.0.0/24", "1.0.0.0-1.0.0.255"),
        // Nothing is lost of what lies in the entry.
        ("10.0.0.0/8,10.1.0.0/16", "10.0.0.0-10.255.255.255"),
        ("1.0.0.0/24,1.0.0.0,1.0.0.255,AU", "1.0.0.0-1.0.0.255"),
        ("2001:db8::7\t2001:db8::/32\tx", "2001:db8::7-2001:db8::7"),
    ] {
        let parsed = parse(line).expect(line);
        assert_eq!((spans(line), parsed.bad.count), (vec![wanted.to_owned()], 0), "{line}");
    }
    for line in [
        "10.0.0.0/8, 192.168.0.0/16",
        "203.0.113.9,198.51.100.0/24",
        "203.0.113.9,203.0.113.0/24,198.51.100.0/24",
        "203.0.113.9,2001:db8::/32",
        "1.0.0.0/24,1.0.1.0",
        "1.0.0.0/24 1.0.0.128-1.0.1.127",
    ] {
        assert!(reason(line).starts_with("1 of 1 lines"), "{line}: {}", reason(line));
    }
}

#[test]
fn a_range_before_other_columns_is_a_range_and_two_addresses_are_not_one() {
    for line in [
        "1.2.3.0 - 1.2.3.9 , 000 , bad guys",
        "001.002.003.000 - 001.002.003.009 , 000 , x",
        "1.2.3.0- 1.2.3.9,x",
        "1.2.3.0 -1.2.3.9\tx",
        "1.2.3.0-1.2.3.9,x",
    ] {
        assert_eq!(spans(line), ["1.2.3.0-1.2.3.9"], "{line}");
    }
    for line in
        ["1.2.3.0,1.2.3.9", "1.2.3.0 1.2.3.9 x", "\"1.2.3.0\",\"1.2.3.9\"", "1.2.3.0 - x", "1.2.3.9 - 1.2.3.0 , 1"]
    {
        assert!(reason(line).starts_with("1 of 1 lines"), "{line}: {}", reason(line));
    }
    // A file without line breaks is none of one entry.
    assert!(reason("1.2.3.4 ".repeat(100_000)).starts_with("1 of 1 lines"));
    assert!(reason("1.2.3.4,".repeat(100_000)).starts_with("1 of 1 lines"));
}

#[test]
fn a_range_with_another_dash_or_a_word_is_one() {
    for line in [
        "1.2.3.0 \u{2013} 1.2.3.9",
        "1.2.3.0\u{2013}1.2.3.9 # x",
        "1.2.3.0 \u{2014} 1.2.3.9 , 000 , bad guys",
        "1.2.3.0 \u{2013}1.2.3.9\tx",
        "1.2.3.0\u{2013} 1.2.3.9 x",
        "1.2.3.0\u{2013}1.2.3.9,x",
        "1.2.3.0 to 1.2.3.9",
        "1.2.3.0 To 1.2.3.9, x",
        "\"1.2.3.0\" through \"1.2.3.9\"",
    ] {
        assert_eq!((spans(line), parse(line).unwrap().bad.count), (vec!["1.2.3.0-1.2.3.9".to_owned()], 0), "{line}");
    }
    for line in ["1.2.3.9 \u{2013} 1.2.3.0", "1.2.3.9 to 1.2.3.0", "1.2.3.0 > 1.2.3.9", "1.2.3.0 to 2001:db8::1"] {
        assert!(reason(line).starts_with("1 of 1 lines"), "{line}: {}", reason(line));
    }
    // Other words, behind the entry.
    for line in ["1.2.3.4 \u{2013} a scanner", "1.2.3.4 to block", "1.2.3.4 | x | 1.2.3.9", "1.2.3.4 \u{e9}"] {
        assert_eq!((spans(line), parse(line).unwrap().bad.count), (vec!["1.2.3.4-1.2.3.4".to_owned()], 0), "{line}");
    }
}

#[test]
fn a_line_that_says_more_than_its_first_address_is_read_or_bad() {
    for (line, wanted) in [
        ("1.2.3.0 255.255.255.0", "1.2.3.0-1.2.3.255"),
        ("1.2.3.0;255.255.255.0;x", "1.2.3.0-1.2.3.255"),
        ("1.2.3.0 / 24", "1.2.3.0-1.2.3.255"),
        ("1.2.3.0 /24 x", "1.2.3.0-1.2.3.255"),
        ("1.2.3.0/ 24,x", "1.2.3.0-1.2.3.255"),
        ("1.2.3.0,/24", "1.2.3.0-1.2.3.255"),
        ("\"1.2.3.0 - 1.2.3.255\"", "1.2.3.0-1.2.3.255"),
        ("'1.2.3.0 to 1.2.3.255',x", "1.2.3.0-1.2.3.255"),
        ("1.2.3.0/24;24", "1.2.3.0-1.2.3.255"),
        // Counts, comments, and what is said of an address.
        ("1.2.3.4 10", "1.2.3.4-1.2.3.4"),
        ("1.2.3.4\t28\t3", "1.2.3.4-1.2.3.4"),
        ("1.2.3.4,10", "1.2.3.4-1.2.3.4"),
        ("1.2.3.4;10;x", "1.2.3.4-1.2.3.4"),
        ("1.2.3.4;x", "1.2.3.4-1.2.3.4"),
        // Scores and ports.
        ("1.2.3.4,31,US", "1.2.3.4-1.2.3.4"),
        ("1.2.3.128,25", "1.2.3.128-1.2.3.128"),
        ("\"1.2.3.4\",\"30\"", "1.2.3.4-1.2.3.4"),
        ("2001:db8:1::,80,tcp", "2001:db8:1::-2001:db8:1::"),
        ("1.2.3.4;30 days", "1.2.3.4-1.2.3.4"),
        ("1.2.4.0 ; 24 reports", "1.2.4.0-1.2.4.0"),
        ("1.2.3.4 ; see 5.6.7.8", "1.2.3.4-1.2.3.4"),
        ("1.2.3.0#24", "1.2.3.0-1.2.3.0"),
        ("1.2.3.4 /index.html", "1.2.3.4-1.2.3.4"),
        ("1.2.3.4,US,1.2.3.0/24", "1.2.3.4-1.2.3.4"),
        ("2001:db8::1 64", "2001:db8::1-2001:db8::1"),
    ] {
        let parsed = parse(line).expect(line);
        assert_eq!((spans(line), parsed.bad.count), (vec![wanted.to_owned()], 0), "{line}");
    }
    for line in [
        "1.2.3.0;24",
        "1.2.3.0 ; 24",
        "1.2.3.0 ; 24 ; x",
        "1.2.3.0 ; 24 # x",
        "1.2.3.0,24",
        "1.2.3.0 24",
        "\"1.2.3.0\",\"24\"",
        "1.2.3.0 prefix 24",
        "2001:db8::,32",
        "2001:db8:: 32",
        "1.2.3.0;1.2.3.255",
        "1.2.3.0 ; 1.2.3.255",
        "1.2.3.0 ; \"1.2.3.255\"",
        "1.2.3.0;US;1.2.3.255",
        "1.2.3.0 0.0.0.255",
        "1.2.3.4 255.255.255.0",
        "1.2.3.0 until 1.2.3.255",
        "1.2.3.0 bis 1.2.3.255",
        "1.2.3.0 and 1.2.3.255",
        "1.2.3.0 up to 1.2.3.255",
        "1.2.3.0 mask 255.255.255.0",
        "1.2.3.0/24 to 1.2.4.0/24",
        "1.2.3.0 to 1.2.3.0/24",
        "\"1.2.3.0, 1.2.3.255\"",
        "2001:db8::1 bis 2001:db8::9",
    ] {
        let parsed = parse(format!("9.9.9.9\n{line}\n")).unwrap();
        assert_eq!((parsed.entries, parsed.bad), ([1, 0], Lines { count: 1, first: 2 }), "{line}");
    }
}

#[test]
fn lines_end_as_on_any_system() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["8.8.8.8", "# nine", "", "x", "9.9.9.9", ""].join(end);
        let parsed = parse(&text).unwrap();
        assert_eq!((parsed.entries, parsed.bad), ([2, 0], Lines { count: 1, first: 4 }), "{end:?}");
    }
}

#[test]
fn json_of_the_clouds() {
    let aws = r#"{"syncToken": "1", "createDate": "2026-01-01", "prefixes": [{"ip_prefix": "3.4.12.4/32", "region": "eu-west-1", "service": "AMAZON"}],
        "ipv6_prefixes": [{"ipv6_prefix": "2600:1ff2:4000::/40"}]}"#;
    assert_eq!(parse(aws).unwrap().entries, [1, 1]);
    let google =
        r#"{"prefixes": [{"ipv4Prefix": "34.1.208.0/20"}, {"ipv6Prefix": "2600:1900:8000::/44", "scope": "x"}]}"#;
    assert_eq!(parse(google).unwrap().entries, [1, 1]);
    let azure = r#"{"changeNumber": 1, "values": [{"name": "AzureCloud", "properties": {"addressPrefixes": ["4.150.0.0/18", "2603:1030::/45"]}}]}"#;
    assert_eq!(parse(azure).unwrap().entries, [1, 1]);
    let cloudflare = r#"{"result": {"ipv4_cidrs": ["173.245.48.0/20"], "ipv6_cidrs": ["2400:cb00::/32"]}, "success": true, "x": null, "y": 1.5}"#;
    assert_eq!(parse(cloudflare).unwrap().entries, [1, 1]);
    let fastly = "\u{feff}\n {\"addresses\": [\"23.235.32.0/20\"], \"ipv6_addresses\": [\"2a04:4e40::/32\"]}";
    assert_eq!(parse(fastly).unwrap().entries, [1, 1]);
    assert_eq!(spans(r#"["1.1.1.1"] [["2.2.2.0\/24"]] {"3.3.3.3": {}}"#).len(), 3);
}

#[test]
fn json_members_that_are_together_a_network_are_one_entry() {
    for (object, wanted) in [
        (r#"{"start": "1.2.3.0", "end": "1.2.3.9"}"#, &["1.2.3.0-1.2.3.9"][..]),
        (r#"{"ip_to": "1.2.3.9", "asn": 5, "ip_from": "1.2.3.0"}"#, &["1.2.3.0-1.2.3.9"]),
        (r#"{"rangeStart": "2001:db8::1", "rangeEnd": "2001:db8::3"}"#, &["2001:db8::1-2001:db8::3"]),
        (r#"{"net": "1.2.3.0", "mask": "255.255.255.0"}"#, &["1.2.3.0-1.2.3.255"]),
        (r#"{"network": "1.2.3.0", "prefix_length": 25}"#, &["1.2.3.0-1.2.3.127"]),
        (r#"{"network": "2001:db8::", "cidr": 127}"#, &["2001:db8::-2001:db8::1"]),
        (r#"{"network": "1.2.3.0", "prefix": "25"}"#, &["1.2.3.0-1.2.3.127"]),
        (r#"{"netmask": "/25", "network": "1.2.3.0"}"#, &["1.2.3.0-1.2.3.127"]),
        (r#"{"network": "1.2.3.0", "broadcast": "1.2.3.127"}"#, &["1.2.3.0-1.2.3.127"]),
        (r#"{"network": "1.2.3.0", "netmask": "255.255.255.128", "broadcast": "1.2.3.127"}"#, &["1.2.3.0-1.2.3.127"]),
        (r#"{"prefix": 25, "start_ip": "1.2.3.0"}"#, &["1.2.3.0-1.2.3.127"]),
        (r#"{"net_start": "1.2.3.0", "net_end": "1.2.3.9"}"#, &["1.2.3.0-1.2.3.9"]),
        (r#"{"lo": "1.2.3.0", "hi": "1.2.3.9"}"#, &["1.2.3.0-1.2.3.9"]),
        (r#"{"from": "1.2.3.0", "until": "1.2.3.9"}"#, &["1.2.3.0-1.2.3.9"]),
        (r#"{"start": {"ip": "1.2.3.0", "x": 1}, "finish": {"ip": "1.2.3.9"}}"#, &["1.2.3.0-1.2.3.9"]),
        (r#"{"range": ["1.2.3.0", "1.2.3.9"]}"#, &["1.2.3.0-1.2.3.9"]),
        (r#"{"network": "1.2.3.0", "mask": "ffffff00"}"#, &["1.2.3.0-1.2.3.255"]),
        (r#"{"ip_prefix": "1.2.3.0", "ip_prefix_length": 24}"#, &["1.2.3.0-1.2.3.255"]),
        // A text is no length where a number is.
        (r#"{"network": "1.2.3.0", "prefix": "5", "mask_len": 24, "cidr": "8"}"#, &["1.2.3.0-1.2.3.255"]),
        (r#"{"network": "1.2.3.4", "prefix": ""}"#, &["1.2.3.4-1.2.3.4"]),
        (r#"{"network": "1.2.3.0", "prefix": "net-1"}"#, &["1.2.3.0-1.2.3.0"]),
        // What lies in a network that is read says nothing more.
        (r#"{"network": "1.2.3.0/24", "broadcast": "1.2.3.255"}"#, &["1.2.3.0-1.2.3.255"]),
        (r#"{"last": "1.2.3.255", "cidr": "1.2.3.0/24", "mask": "255.255.255.0"}"#, &["1.2.3.0-1.2.3.255"]),
        (r#"{"ip": "1.2.3.4", "cidr": "1.2.3.0/24", "end": "1.2.3.255", "bits": 24}"#, &["1.2.3.0-1.2.3.255"]),
        (r#"{"network": "2001:db8::", "cidr": "2001:db8::/127", "mask": "ffff:ffff::"}"#, &["2001:db8::-2001:db8::1"]),
        (r#"{"ip": "1.2.3.4", "last": "1.2.3.4"}"#, &["1.2.3.4-1.2.3.4"]),
        (r#"{"ip": "1.2.3.4", "broadcast": "1.2.3.255"}"#, &["1.2.3.4-1.2.3.4", "1.2.3.255-1.2.3.255"]),
        (
            r#"{"network": "1.2.3.0", "bits": 24, "last": "1.2.3.254", "broadcast": "1.2.3.255"}"#,
            &["1.2.3.0-1.2.3.255"],
        ),
        // The two ends of a connection.
        (r#"{"from": {"ip": "1.2.3.4"}, "to": {"ip": "200.1.1.1"}}"#, &["1.2.3.4-1.2.3.4", "200.1.1.1-200.1.1.1"]),
        (r#"{"first": {"ip": "1.2.3.4"}, "last": {"ip": "9.1.1.1"}}"#, &["1.2.3.4-1.2.3.4", "9.1.1.1-9.1.1.1"]),
        (r#"{"range": [{"ip": "1.2.3.4"}, {"ip": "9.1.1.1"}]}"#, &["1.2.3.4-1.2.3.4", "9.1.1.1-9.1.1.1"]),
        // Each by itself.
        (r#"{"ranges": ["1.2.3.0", "1.2.3.9"]}"#, &["1.2.3.0-1.2.3.0", "1.2.3.9-1.2.3.9"]),
        (r#"{"range": ["1.2.3.0", "1.2.3.4", "1.2.3.9"]}"#, &["1.2.3.0-1.2.3.0", "1.2.3.4-1.2.3.4", "1.2.3.9-1.2.3.9"]),
        (r#"{"ip": "1.2.3.4", "mask": "5.6.7.8"}"#, &["1.2.3.4-1.2.3.4", "5.6.7.8-5.6.7.8"]),
        (r#"{"ip": "1.2.3.4", "count": 24}"#, &["1.2.3.4-1.2.3.4"]),
        (r#"{"ip": "1.2.3.4", "prefix": 32}"#, &["1.2.3.4-1.2.3.4"]),
        (r#"{"ip": "1.2.3.4", "prefix": "x", "port": "24"}"#, &["1.2.3.4-1.2.3.4"]),
        (r#"{"first": "1.2.3.0", "x": {"y": "1.2.3.9"}}"#, &["1.2.3.0-1.2.3.0", "1.2.3.9-1.2.3.9"]),
        (r#"{"network": "1.2.3.0", "ip": "1.2.3.9"}"#, &["1.2.3.0-1.2.3.0", "1.2.3.9-1.2.3.9"]),
        (r#"{"ip": "1.2.3.9", "netmask": "255.255.255.255"}"#, &["1.2.3.9-1.2.3.9"]),
        (r#"{"start": "1.2.3.0", "start": "1.2.3.9"}"#, &["1.2.3.0-1.2.3.0", "1.2.3.9-1.2.3.9"]),
        (r#"{"start": "1.2.3.0/30", "end": "1.2.3.9/32"}"#, &["1.2.3.0-1.2.3.3", "1.2.3.9-1.2.3.9"]),
        (r#"["1.2.3.0", "1.2.3.9"] "1.2.3.4""#, &["1.2.3.0-1.2.3.0", "1.2.3.4-1.2.3.4", "1.2.3.9-1.2.3.9"]),
    ] {
        assert_eq!(
            (spans(object), parse(object).unwrap().bad.count),
            (wanted.iter().map(|&s| s.to_owned()).collect(), 0),
            "{object}"
        );
    }
    for (object, bad) in [
        (r#"{"start": "1.2.3.9", "end": "1.2.3.0", "x": "1.1.1.1"}"#, 2),
        (r#"{"start": "1.2.3.9", "end": "2001:db8::", "x": "1.1.1.1"}"#, 2),
        (r#"{"net": "1.2.3.0", "mask": "255.0.255.0", "x": "1.1.1.1"}"#, 2),
        (r#"{"net": "1.2.3.0", "mask": 33, "x": "1.1.1.1"}"#, 2),
        // An address in its network, or the network?
        (r#"{"ip": "1.2.3.0", "mask": "255.255.255.0", "x": "1.1.1.1"}"#, 2),
        (r#"{"cidr": 24, "ip": "1.2.3.0", "x": "1.1.1.1"}"#, 3),
        (r#"{"ip": "1.2.3.0", "cidr": "24", "x": "1.1.1.1"}"#, 2),
        (r#"{"ip": "1.2.3.0", "mask": "0xffffff00", "x": "1.1.1.1"}"#, 2),
        (r#"{"network": "1.2.3.0", "mask": "255.255.255.0", "broadcast": "1.2.3.9", "x": "1.1.1.1"}"#, 2),
        // The end of what, is not said.
        (r#"{"last": "1.2.3.9", "x": "1.1.1.1"}"#, 2),
        (r#"{"end": "1.2.3.9", "ip": "1.2.3.0", "x": "1.1.1.1"}"#, 4),
        (r#"{"range": ["1.2.3.9", "1.2.3.0"], "x": "1.1.1.1"}"#, 2),
        (r#"{"mask": "255.255.255.0", "x": "1.1.1.1"}"#, 2),
        ("{\"x\": \"1.2.3.9 \u{2013} 1.2.3.0\", \"y\": \"1.1.1.1\"}", 2),
        (r#"{"x": "1.2.3.9 to 1.2.3.0", "y": "1.1.1.1"}"#, 2),
    ] {
        let parsed = parse(object).unwrap();
        assert_eq!(
            (spans(object), parsed.bad),
            (vec!["1.1.1.1-1.1.1.1".to_owned()], Lines { count: 1, first: bad }),
            "{object}"
        );
    }
    assert_eq!(spans(r#"{"x": "1.2.3.0 to 1.2.3.9"}"#), ["1.2.3.0-1.2.3.9"]);
}

#[test]
fn json_tells_of_strings_that_were_meant_to_be_entries() {
    for text in [
        "1.2.3.4/33",
        "1.2.3.4 5.6.7.8",
        "1.2.3.4,5.6.7.8",
        "1.2.3.999",
        "1.2.3./24",
        "1.2.3.4:80",
        "1.2.3.9-1.2.3.1",
        "1.2.3.0/255.0.255.0",
        "2001:db8::/129",
        "2001:db8::1 2001:db8::2",
        "[2001:db8::1]:80",
        "2606:4700:0:1:2:3:4:5/129",
        "2001:db8:1:2:3:4:5:6:7",
    ] {
        let parsed = parse(format!(r#"{{"ip_prefix": "{text}", "x": "1.1.1.1"}}"#)).unwrap();
        assert_eq!((parsed.entries, parsed.bad), ([1, 0], Lines { count: 1, first: 2 }), "{text}");
    }
    for text in [
        "",
        "-",
        "...",
        "::::",
        "10:11:12",
        "2026-01-01 10:11:12",
        "2026-01-01T10:11:12Z",
        "2026-01-01-10-11-12",
        "4 Feb 2026 10:11:12",
        "2026/01/01 10:11:12",
        "2026.01.01",
        "00:11:22:33:44:5f",
        "1a:2b:3c:4d:5e:6f:70:81:92:a3:b4:c5:d6:e7:f8:09",
        "120.0.6099.109",
        "1.3.6.1.4.1",
        "example.com",
        "arn:aws:iam::123:x",
        "deadbeef-dead-beef-dead-beefdeadbeef",
    ] {
        let parsed = parse(format!(r#"{{"about": "{text}", "x": "1.1.1.1"}}"#)).unwrap();
        assert_eq!((parsed.entries, parsed.bad.count), ([1, 0], 0), "{text}");
    }
}

#[test]
fn a_web_page_is_refused_by_its_line() {
    assert!(reason("\n<!DOCTYPE html>\n<html>1.1.1.1</html>").starts_with("HTML or XML in line 2"));
    assert!(reason("1.1.1.1\n2.2.2.2\n</body>\n").starts_with("HTML or XML in line 3"));
}

#[test]
fn binary_and_packed_files_are_refused() {
    assert!(reason(b"1.1.1.1\n2.2\0.2.2\n").starts_with("binary data in line 2"));
    assert!(reason(b"\x1f\x8b\x08\x00").contains("packed with gzip"));
    assert!(reason(b"PK\x03\x04").contains("packed with zip"));
    assert!(reason([0u8; 4096]).contains("binary data in line 1"));
}

#[test]
fn a_few_bad_lines_are_counted_and_more_bad_than_good_are_refused() {
    let parsed = parse("1.1.1.1\noops\n2.2.2.2/16\n3.3.3.3\n").unwrap();
    assert_eq!((parsed.bad, parsed.host_bits), (Lines { count: 1, first: 2 }, Lines { count: 1, first: 3 }));
    assert_eq!(
        parsed.warning().unwrap(),
        "1 line is not an address, a network or a range (the first is line 2); 1 network has host bits, taken as the whole network (the first is in line 3)"
    );
    // As many as good ones: still a list.
    assert!(parse("1.1.1.1\noops\n").is_ok());
    assert_eq!(
        reason("# x\n1.1.1.1\nexample.com\nexample.org\n"),
        "2 of 3 lines are not an address, a network or a range; the first is line 3"
    );
}

#[test]
fn an_empty_list_is_refused() {
    for text in ["", "\n\n", "# only a comment\n", "; x"] {
        assert_eq!(reason(text), "it holds no address, no network and no range", "{text:?}");
    }
    assert_eq!(reason("{}"), "no string of this JSON is an address, a network or a range");
    assert_eq!(reason(r#"{"error": "not found"}"#), "no string of this JSON is an address, a network or a range");
    assert_eq!(
        reason(r#"[{"ip": "1.2.3.0", "prefix": 24}, {"ip": "1.2.4.0", "prefix": 24}]"#),
        "no entry of this JSON is plain; the first of 2 is string 2"
    );
}

#[test]
fn broken_json_is_refused_with_its_place() {
    assert!(reason("{\"prefixes\": [\n{\"ip_prefix\": \"3.4.12.4/32\"").contains("broken JSON: EOF"));
    assert!(reason("[\"1.1.1.1\"] oops").contains("broken JSON: expected value at line 1"));
    let deep = format!("{}\"1.1.1.1\"{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(reason(deep).contains("recursion limit exceeded"));
}

#[test]
fn a_long_string_is_refused_and_not_put_into_memory() {
    let longest = 64 << 10;
    for text in ["x".repeat(longest), "\\\"".repeat(longest / 2), "\\u0041\\\\".repeat(longest / 8)] {
        assert_eq!(text.len(), longest);
        assert_eq!(spans(format!("[\"{text}\", \"1.1.1.1\"]")), ["1.1.1.1-1.1.1.1"]);
        assert_eq!(spans(format!("{{\"{text}\": \"1.1.1.1\"}}")), ["1.1.1.1-1.1.1.1"]);
        for long in [format!("[\"1.1.1.1\", \"x{text}\"]"), format!("[{{\"1.1.1.1\": 1, \"x{text}")] {
            assert_eq!(reason(long), "string 2 of this JSON is longer than 65536 bytes");
        }
    }
    // Nor is it read to its end.
    let mut source = io::BufReader::new(io::Read::chain(&b"[\""[..], io::repeat(b'x')));
    assert!(matches!(read(&mut source, Room::default(), &|| ()), Err(Unread::Refused(_))));
}

#[test]
fn json_without_a_string_looks_for_interrupts() {
    for byte in [b' ', b'7'] {
        let breaths = std::cell::Cell::new(0);
        let mut source = io::BufReader::new(io::Read::chain(&b"["[..], io::Read::take(io::repeat(byte), 9 << 20)));
        assert!(read(&mut source, Room::default(), &|| breaths.set(breaths.get() + 1)).is_err());
        assert_eq!(breaths.get(), 2, "{byte}");
    }
}

#[test]
fn a_file_without_line_breaks_is_one_bad_line() {
    assert!(reason("x".repeat(10 << 20)).contains("1 of 1 lines"));
}

#[test]
fn too_many_entries_are_refused_where_they_stand() {
    let mut source = Cursor::new(b"1.1.1.1\n2.2.2.2\n3.3.3.3\n".to_vec());
    let room = Room { entries: 2, v6: 2 };
    assert!(
        matches!(read(&mut source, room, &|| ()), Err(Unread::NoRoom(reason)) if reason.contains("more than 2 entries"))
    );
    let mut source = Cursor::new(br#"["1.1.1.1", "2.2.2.2", "3.3.3.3"]"#.to_vec());
    assert!(
        matches!(read(&mut source, room, &|| ()), Err(Unread::NoRoom(reason)) if reason.contains("more than 2 entries"))
    );
}
