//! Prints a page with made-up figures, to look at while working on it:
//! `cargo run -p report --example sample > sample.html`; `-- empty` prints that of an empty inventory.

use report::*;

fn main() {
    let empty = std::env::args().nth(1).is_some_and(|arg| arg == "empty");
    print!("{}", if empty { nothing().page() } else { sample().page() });
}

fn nothing() -> Report {
    let source = |name: &str, state: &str| Source { name: name.into(), state: state.into(), ..Source::default() };
    Report {
        made_at: 1_795_600_000,
        database: "honeypot".into(),
        server_version: "15.9".into(),
        extension_version: "0.1.0".into(),
        worker: Worker { state: "running".into(), enabled: true, queued: 0, last_absorb_at: Some(1_795_599_999) },
        sources: vec![source("MaxMind", "ok"), source("Team Cymru", "off"), source("GreyNoise", "no key")],
        ..Report::default()
    }
}

fn sample() -> Report {
    let names = [
        "EASTERN-BACKBONE - Eastern Backbone, CN",
        "DropletWorks, LLC",
        "Amber Coast Hosting UAB",
        "A company whose name is so long that no page could ever show all of it, Inc.",
        "<script>alert(1)</script>",
        "",
        "Taiga Server LLC",
        "Zürich Netz AG",
        "شبكة المثال",
        "Kowloon Metro Cloud Limited",
        "One more",
    ];
    let codes = ["US", "CN", "DE", "NL", "BR", "IN", "RU", "VN", "GB", "FR", "KR"];
    let coverage =
        |found, not_found, pending, skipped| Coverage { found, not_found, pending, skipped, ..Coverage::default() };
    let mut report = nothing();
    report.totals = Totals {
        addresses: 100_000,
        public: 98_750,
        observations: 1_234_567,
        enriched: 97_110,
        with_asn: 96_500,
        asns: 4_321,
        countries: 187,
        tables: 2,
    };
    let wave = |i: u64, high: u64| high / 2 + (i * 7919 % 97) * high / 200 + if i % 23 == 5 { high } else { 0 };
    report.timeline = Timeline {
        start: 1_795_564_800 - 89 * 86_400,
        step: 86_400,
        new: (0..90).map(|i| wave(i, 1100)).collect(),
        observed: (0..90).map(|i| wave(i + 3, 14_000)).collect(),
        is_exact: true,
        uncounted: 1_234,
        gone: 0,
        outside: 12,
    };
    report.asns = names
        .iter()
        .enumerate()
        .map(|(i, org)| Asn {
            number: 4_134 + 7_001 * i as i64,
            org: org.to_string(),
            addresses: 9_000 / (i as u64 + 1),
            observations: 150_000 / (i as u64 + 1),
        })
        .collect();
    report.countries = codes
        .iter()
        .enumerate()
        .map(|(i, code)| Country {
            code: code.to_string(),
            addresses: 20_000 / (i as u64 + 1),
            observations: 300_000 / (i as u64 + 1),
        })
        .collect();
    let spots = [
        (52.4, 4.9, 9_000),
        (40.7, -74.0, 12_000),
        (37.4, -122.1, 8_000),
        (39.9, 116.4, 14_000),
        (31.2, 121.5, 6_000),
        (50.1, 8.7, 7_000),
        (51.5, -0.1, 5_000),
        (-23.5, -46.6, 4_000),
        (19.1, 72.9, 3_500),
        (55.8, 37.6, 3_300),
        (21.0, 105.8, 2_500),
        (37.6, 127.0, 2_000),
        (35.7, 139.7, 1_500),
        (1.35, 103.8, 4_200),
        (-33.9, 151.2, 700),
        (-26.2, 28.0, 400),
        (6.5, 3.4, 200),
        (30.0, 31.2, 300),
        (-34.6, -58.4, 350),
        (64.1, -21.9, 3),
        (-36.8, 174.8, 40),
        (61.2, -149.9, 5),
        (28.6, 77.2, 1_800),
        (41.9, 12.5, 800),
        (48.9, 2.4, 3_000),
    ];
    report.places = spots
        .iter()
        .map(|(latitude, longitude, addresses)| Place {
            latitude: *latitude,
            longitude: *longitude,
            addresses: *addresses,
        })
        .collect();
    report.located = report.places.iter().map(|place| place.addresses).sum();
    report.cities = [("Beijing", "CN", 14_000), ("New York", "US", 12_000), ("Amsterdam", "NL", 9_000)]
        .map(|(name, country, addresses)| City {
            name: name.into(),
            country: country.into(),
            addresses,
            observations: addresses * 12,
        })
        .to_vec();
    report.sources[0].coverage = coverage(95_000, 3_750, 0, 1_250);
    report.sources[0].ages = [12_000, 45_000, 38_000, 3_750, 0, 0];
    report.sources[0].oldest_build = Some(1_795_400_000);
    report.sources[0].last_success_at = Some(1_795_500_000);
    report.sources[1].coverage = Coverage { failed: 300, ..coverage(2_110, 440, 900, 96_250) };
    report.sources[1].ages = [400, 1_700, 450, 0, 0, 0];
    report.sources[1].state = "ok".into();
    report.sources[1].last_success_at = Some(1_795_599_000);
    report.sources[2].coverage = Coverage { quota: 30_000, ..coverage(21_000, 33_000, 11_000, 5_000) };
    report.sources[2].ages = [10_000, 20_000, 24_000, 0, 0, 0];
    report.sources[2].state = "quota".into();
    report.sources[2].last_success_at = Some(1_795_590_000);
    report.sources[2].quota =
        Some(Quota { limit: 10_000, used: 10_000, window: "day".into(), reset_at: Some(1_795_651_200) });
    report.scanners = Scanners { malicious: 12_500, benign: 1_900, unknown: 5_200, riot: 1_400, not_seen: 33_000 };
    report
}
