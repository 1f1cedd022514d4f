//! An answer of GreyNoise, or of a proxy in its place: two bytes of status, a line of Retry-After, the body.
#![no_main]

use enrich::greynoise::parse;
use libfuzzer_sys::fuzz_target;
use std::net::Ipv4Addr;

fuzz_target!(|data: &[u8]| {
    let Some((status, rest)) = data.split_first_chunk::<2>() else { return };
    let split = rest.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (header, body) = rest.split_at(split);
    let header = std::str::from_utf8(header).ok();
    let status = [200, 404, 401, 403, 429, u16::from_le_bytes(*status)][usize::from(status[0]) % 6];
    let _ = parse(Ipv4Addr::new(8, 8, 8, 8), status, |_| header, body, 1_700_000_000_000_000);
});
