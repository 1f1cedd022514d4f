//! How long lists of networks take: `cargo run --release -p enrich --example lists [entries [lists]]` writes that many
//! entries into that many lists, imports them, and looks a million addresses up.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant, SystemTime};

use enrich::lists::Store;

const ADDRESSES: u32 = 1_000_000;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u32>().expect("a number"));
    let (entries, lists) = (numbers.next().unwrap_or(1_000_000), numbers.next().unwrap_or(20));
    let root = std::env::temp_dir().join(format!("lists-{}", std::process::id()));
    let dir = root.join("lists");
    std::fs::create_dir_all(&dir).expect("a directory");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u32
    };
    for list in 0..lists {
        let mut text = String::new();
        for _ in 0..entries / lists {
            let (ip, bits) = (random(), 20 + random() % 13);
            // A tenth of them is IPv6.
            let _ = match random() % 10 {
                0 => writeln!(text, "2{:03x}:{:x}:{:x}::/48", ip >> 20, ip >> 4 & 0xffff, random() >> 16),
                _ => writeln!(text, "{}/{bits}", Ipv4Addr::from(ip & u32::MAX << (32 - bits))),
            };
        }
        let path = dir.join(format!("list{list:02}.netset"));
        std::fs::write(&path, text).expect("written");
        let file = std::fs::File::options().write(true).open(&path).expect("opened");
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).expect("dated");
    }
    let store = Store::new(root.join("store"));
    let began = Instant::now();
    store.import(&dir, &|| ()).expect("imported");
    println!("import of {entries} entries in {lists} lists: {:.2} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    assert!(!store.has_news(&dir, &store.manifest().expect("a manifest")));
    println!("a look for news: {:.3} ms", began.elapsed().as_secs_f64() * 1e3);

    let (_, lists) = store.open().expect("opened");
    let v4: Vec<IpAddr> = (0..ADDRESSES).map(|_| IpAddr::V4(random().into())).collect();
    let v6: Vec<IpAddr> = (0..ADDRESSES)
        .map(|_| {
            let high = 2u128 << 124 | u128::from(random()) << 92 | u128::from(random()) << 60;
            IpAddr::V6(Ipv6Addr::from(high))
        })
        .collect();
    for (family, addresses) in [("IPv4", v4), ("IPv6", v6)] {
        let began = Instant::now();
        let held = addresses.iter().filter(|ip| lists.find(**ip).is_some_and(|holders| !holders.is_empty())).count();
        let each = began.elapsed().as_secs_f64() * 1e6 / f64::from(ADDRESSES);
        println!("a look-up of {family}: {each:.3} µs, {held} of {ADDRESSES} in a list");
    }
    std::fs::remove_dir_all(&root).expect("removed");
}
