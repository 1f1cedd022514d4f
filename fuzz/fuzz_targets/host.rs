//! The address that a value of an event says.
#![no_main]

use enrich::address::{classify, effective, parse_host};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Ok(Some(ip)) = parse_host(text) {
        let _ = classify(ip);
        // What is asked about is the same for an address and for what it stands for.
        assert_eq!(effective(effective(ip)), effective(ip));
        // What it is written as says the same address again.
        assert_eq!(parse_host(ip.to_string().as_bytes()), Ok(Some(ip)));
    }
});
