//! Lists of networks, as any publisher may send them: what is read is found again.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enrich::lists::index::{Index, build};
use enrich::lists::ranges::{Ranges, write};
use enrich::lists::{Room, entry, read::read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|given: &[u8]| {
    let _ = entry(given);
    let Ok(parsed) = read(&mut &given[..], Room::default(), &|| ()) else { return };
    assert!(parsed.v4.is_sorted() && parsed.v6.is_sorted());
    let mut file = Vec::new();
    write(&parsed, &mut file).expect("written");
    let ranges = Ranges::open(&file).expect("ranges");
    let mut bytes = Vec::new();
    build(&[("a", ranges), ("b", ranges)], &mut bytes, &|| ()).expect("built");
    let index = Index::open(&bytes).expect("an index");
    let ends = parsed.v4.iter().flat_map(|(first, last)| [*first, *last]).map(|ip| IpAddr::V4(Ipv4Addr::from(ip)));
    let ends = ends.chain(parsed.v6.iter().flat_map(|(first, last)| [*first, *last]).map(|ip| IpAddr::V6(Ipv6Addr::from(ip))));
    for ip in ends {
        assert_eq!(index.names(&bytes, index.find(&bytes, ip)), ["a", "b"], "{ip}");
    }
});
