//! The reply of a bulk session with Team Cymru.
#![no_main]

use enrich::cymru::grammar::{Tally, bulk_line};
use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, Ipv4Addr};

fuzz_target!(|data: &[u8]| {
    let ip = IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8));
    let mut tally = Tally::new(ip);
    for line in data.split(|byte| *byte == b'\n') {
        bulk_line(line, |asked| (asked == ip).then_some(&mut tally));
    }
    if let Some(origin) = tally.origin() {
        assert!(
            origin.longest().is_none_or(|announced| announced.prefix.contains(ip)),
            "a prefix that does not hold the address"
        );
    }
});
