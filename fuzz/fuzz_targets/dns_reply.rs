//! TXT records of Team Cymru, or of who answers in its place: a line a record.
#![no_main]

use enrich::cymru::grammar;
use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fuzz_target!(|data: &[u8]| {
    for ip in [IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0, 0, 0, 0, 0, 0x8888))] {
        if let Some(origin) = grammar::origin(ip, data.split(|byte| *byte == b'\n')) {
            assert!(
            origin.longest().is_none_or(|announced| announced.prefix.contains(ip)),
            "a prefix that does not hold the address"
        );
        }
    }
    if let Some(name) = grammar::as_name(15169, data) {
        assert!(name.name.is_none_or(|name| !name.chars().any(char::is_control)));
    }
});
