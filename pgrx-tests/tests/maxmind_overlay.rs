//! The overlay of all editions says what they say one by one, whatever happens to its file.

use crate::maxmind_support::{ASN, CITY, Site, ip, unless_busy};
use asn_inventory_tests::mmdb::{MmdbWriter, random::Random};
use enrich::maxmind::{Databases, Edition};
use serde_json::{Value as Json, json};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

const LIST: &str = "GeoLite2-City,our-places,GeoLite2-ASN,flags";

/// Nested networks inside of 20.0.0.0/7, so that borders of one file lie within ranges of another.
fn networks(writer: MmdbWriter, seed: u64, count: u64, record: impl Fn(&mut Random) -> Json) -> MmdbWriter {
    let mut random = Random::new(seed);
    let mut prefixes: Vec<u32> = (0..count).map(|_| 8 + random.below(25) as u32).collect();
    // The wide ones first: later networks are cut out of them.
    prefixes.sort_unstable();
    prefixes.into_iter().fold(writer, |writer, prefix| {
        let address = 20 << 24 | random.below(1 << 25) as u32;
        let network = Ipv4Addr::from(address & (u32::MAX << (32 - prefix)));
        writer.insert(&format!("{network}/{prefix}"), record(&mut random))
    })
}

fn site(name: &str) -> Site {
    let site = Site::new(name);
    let place = |random: &mut Random| match random.below(4) {
        0 => json!({ "country": { "iso_code": "DE" } }),
        1 => json!({ "city": { "names": { "en": format!("City {}", random.below(50)) } } }),
        2 => json!({ "location": { "latitude": random.below(90) as f64, "longitude": 2.5, "accuracy_radius": 5 } }),
        _ => json!({ "country": { "iso_code": "FR" }, "registered_country": { "iso_code": "US" },
                     "location": { "time_zone": "Europe/Paris" } }),
    };
    let origin = |random: &mut Random| match random.below(3) {
        0 => json!({ "autonomous_system_organization": "Nobody's" }),
        _ => json!({ "autonomous_system_number": random.below(40) + 1, "autonomous_system_organization": "Net" }),
    };
    let flags = |random: &mut Random| json!({ "tor": random.below(2) == 0, "vpn": random.below(2) == 0, "asn": random.below(9) });
    site.put(CITY, networks(MmdbWriter::new(CITY, 1), 1, 3000, place));
    site.put("our-places", networks(MmdbWriter::new("ours", 1), 2, 500, place));
    site.put(
        ASN,
        networks(MmdbWriter::new(ASN, 1), 3, 2000, origin)
            .insert("2001:db8::/32", json!({ "autonomous_system_number": 7 })),
    );
    site.put("flags", networks(MmdbWriter::new("flags", 1), 4, 800, flags));
    site
}

fn import(site: &Site, list: &str) -> bool {
    let imported =
        unless_busy(|| site.store.import(&site.source, &Edition::list(list).expect("a list"), false, &|| ()));
    let imported = imported.expect("an import");
    assert!(imported.failures.is_empty(), "{imported:?}");
    imported.changed
}

fn open(site: &Site, list: &str) -> Databases {
    let (_, databases, troubles) = site.store.open(&Edition::list(list).expect("a list")).expect("a manifest");
    assert_eq!(troubles, [], "{list}");
    databases
}

fn overlays(site: &Site) -> Vec<PathBuf> {
    let entries = fs::read_dir(site.root.join("overlays")).expect("overlays");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn said(databases: &Databases, ip: IpAddr) -> String {
    let answer = databases.answer(ip);
    assert_eq!(databases.place(ip), answer.place, "{ip}");
    assert_eq!(databases.origin(ip), answer.origin, "{ip}");
    assert_eq!(databases.asn(ip), answer.origin.and_then(|origin| origin.asn), "{ip}");
    assert_eq!(databases.country_code(ip), answer.place.and_then(|place| place.country_code), "{ip}");
    format!("{answer:?}")
}

#[test]
fn it_says_what_the_editions_say() {
    let site = site("overlay_same");
    for list in [LIST, "flags,GeoLite2-ASN,our-places,GeoLite2-City", "flags=flags,GeoLite2-City=place"] {
        import(&site, list);
        let overlaid = open(&site, list);
        let [file] = &overlays(&site)[..] else { panic!("one overlay for {list}") };
        fs::remove_file(file).expect("removed");
        let plain = open(&site, list);
        assert_eq!((overlaid.has_overlay(), plain.has_overlay()), (true, false), "{list}");
        let mut random = Random::new(9);
        let inside = (0..30_000).map(|_| 20 << 24 | random.below(1 << 25) as u32);
        let mut addresses: Vec<IpAddr> = inside.map(|v4| Ipv4Addr::from(v4).into()).collect();
        addresses.extend(["0.0.0.0", "19.255.255.255", "22.0.0.0", "255.255.255.255", "2001:db8::1"].map(ip));
        addresses.extend(["::ffff:20.1.2.3", "2002:1401:203::1"].map(ip));
        let mut found = 0;
        for ip in addresses {
            let said_plain = said(&plain, ip);
            assert_eq!(said(&overlaid, ip), said_plain, "{list} {ip}");
            found += usize::from(said_plain.contains("network: Some"));
        }
        assert!(found > 20_000, "{list}: {found}");
    }
}

#[test]
fn without_a_whole_one_answers_are_the_same_and_it_is_made_again() {
    let site = site("overlay_broken");
    import(&site, LIST);
    let known = ip("20.1.2.3");
    let sound = said(&open(&site, LIST), known);
    type Harm = (&'static str, fn(&PathBuf));
    let harms: [Harm; 4] = [
        ("removed", |file| fs::remove_file(file).expect("removed")),
        ("cut", |file| {
            let length = fs::metadata(file).expect("a file").len();
            fs::File::options().write(true).open(file).and_then(|open| open.set_len(length / 2)).expect("cut");
        }),
        ("noise", |file| fs::write(file, [0xa5; 400_000]).expect("written")),
        ("empty", |file| fs::write(file, "").expect("written")),
    ];
    for (what, harm) in harms {
        harm(&overlays(&site)[0]);
        let open = open(&site, LIST);
        assert_eq!((said(&open, known), open.has_overlay()), (sound.clone(), false), "{what}");
        if what == "empty" {
            // It says that there can be none.
            assert!(!import(&site, LIST));
            fs::remove_dir_all(site.root.join("overlays")).expect("removed");
        }
        let manifest = site.store.manifest().expect("a manifest");
        let editions = Edition::list(LIST).expect("a list");
        assert!(site.store.has_news(&site.source, &editions, &manifest), "{what}");
        assert!(import(&site, LIST), "others must look again");
        assert!(!import(&site, LIST));
    }
    assert!(open(&site, LIST).has_overlay());
}

#[test]
fn a_change_of_the_list_makes_another_and_the_old_one_goes_on_where_it_is_open() {
    let site = site("overlay_list");
    import(&site, LIST);
    let before = open(&site, LIST);
    let first = overlays(&site);
    let answer = said(&before, ip("20.1.2.3"));
    import(&site, "GeoLite2-ASN,flags");
    assert_eq!(overlays(&site).len(), 1);
    assert_ne!(overlays(&site), first);
    assert_eq!(said(&before, ip("20.1.2.3")), answer);
    let after = open(&site, "GeoLite2-ASN,flags");
    assert!(after.has_overlay() && after.answer(ip("20.1.2.3")).place.is_none());
    // Of one edition alone there is none: its own index does as well.
    import(&site, "GeoLite2-ASN,flags=other");
    assert_eq!(overlays(&site), Vec::<PathBuf>::new());
    assert!(!open(&site, "GeoLite2-ASN,flags=other").has_overlay());
}

/// A disk may return anything: wrong answers are possible then, a crash of the server is not.
#[test]
fn no_flipped_bit_causes_a_panic() {
    let site = site("overlay_flips");
    import(&site, LIST);
    let file = overlays(&site).remove(0);
    let sound = fs::read(&file).expect("an overlay");
    let mut random = Random::new(17);
    let mut answers = 0;
    for round in 0..200 {
        let mut bytes = sound.clone();
        let near = if round % 2 == 0 { 0..sound.len() } else { sound.len() - 3000..sound.len() };
        for _ in 0..1 + random.below(400) {
            let at = near.start + random.below(near.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
        fs::write(&file, bytes).expect("written");
        let open = open(&site, LIST);
        for _ in 0..300 {
            let v4 = Ipv4Addr::from(20 << 24 | random.below(1 << 25) as u32);
            answers += usize::from(open.answer(v4.into()).network.is_some());
            answers += usize::from(open.asn(v4.into()).is_some() || open.country_code(v4.into()).is_some());
        }
    }
    assert!(answers > 10_000, "{answers}");
}
