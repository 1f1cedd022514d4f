//! What a file answers is told by its records: files of all vendors, roles of the list, and files that stand in for each
//! other.

use crate::maxmind_support::{ASN, CITY, Site, edition, ip, unless_busy};
use asn_inventory_tests::mmdb::{MmdbWriter, fixtures};
use enrich::maxmind::store::Outcome;
use enrich::maxmind::{Databases, Edition, Fields, Language, Store};
use serde_json::{Value as Json, json};

const KNOWN: &str = "8.8.8.8";

/// A file of one type, with one record for 8.8.8.0/24.
fn file(database_type: &str, record: Json) -> MmdbWriter {
    MmdbWriter::new(database_type, 1).insert("8.8.8.0/24", record)
}

/// The generations in use by a list.
fn open(site: &Site, list: &str) -> Databases {
    let (_, databases, troubles) = site.store.open(&Edition::list(list).expect("a list")).expect("a manifest");
    assert_eq!(troubles, [], "{list}");
    databases
}

/// Country, city, ASN and organization.
fn answer(databases: &Databases, address: &str) -> String {
    let answer = databases.answer(ip(address));
    let (place, origin) = (answer.place.unwrap_or_default(), answer.origin.unwrap_or_default());
    // All ways to ask say the same.
    assert_eq!(databases.place(ip(address)), answer.place, "{address}");
    assert_eq!(databases.origin(ip(address)), answer.origin, "{address}");
    assert_eq!(databases.country_code(ip(address)), place.country_code);
    assert_eq!(databases.asn(ip(address)), origin.asn);
    let asn = origin.asn.map(|asn| asn.to_string());
    [place.country_code, place.city, asn.as_deref(), origin.org].map(|field| field.unwrap_or("-")).join(" ")
}

#[test]
fn one_file_of_any_vendor_answers_where_and_whose() {
    let site = Site::new("roles_vendors");
    for (number, (database_type, record, wanted)) in [
        (
            "DBIP-Location-ISP (compat=Enterprise)",
            json!({ "city": { "names": { "en": "Paris" } }, "country": { "iso_code": "FR" },
                    "traits": { "autonomous_system_number": 64500, "autonomous_system_organization": "Net" } }),
            "FR Paris 64500 Net",
        ),
        (
            "ipinfo lite",
            json!({ "as_name": "Net", "asn": "AS64500", "country": "Germany", "country_code": "DE" }),
            "DE - 64500 Net",
        ),
        (
            "ipinfo generic_country_free_country_asn.mmdb",
            json!({ "as_name": "Net", "asn": "AS64500", "country": "DE", "country_name": "Germany" }),
            "DE - 64500 Net",
        ),
        ("ipinfo standard_asn.mmdb", json!({ "asn": "AS64500", "name": "Net", "type": "isp" }), "- - 64500 Net"),
        ("ipinfo bundle_location_lite.mmdb", json!({ "city": "Ulm", "country": "DE", "lat": "48.4" }), "DE Ulm - -"),
        ("iptoasn-country", json!({ "country_code": "NL" }), "NL - - -"),
        ("dbip-city", json!({ "city": "Sydney", "country_code": "AU", "state1": "NSW" }), "AU Sydney - -"),
        ("DBIP-ASN-Lite (compat=GeoLite2-ASN)", json!({ "autonomous_system_number": 64500 }), "- - 64500 -"),
        ("Custom-Thing", json!({ "as_number": 64500, "organization": "Net" }), "- - 64500 Net"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("file-{number}");
        site.put(&name, file(database_type, record));
        site.installed(&name);
        assert_eq!(answer(&open(&site, &name), KNOWN), wanted, "{database_type}");
        assert_eq!(answer(&open(&site, &name), "8.8.9.8"), "- - - -", "{database_type}");
    }
}

#[test]
fn a_role_limits_what_a_file_answers() {
    let site = Site::new("roles_limited");
    let record = json!({ "as_name": "Net", "asn": 64500, "country_code": "DE" });
    site.put("my-file", file("Custom-Thing", record.clone()).insert("9.0.0.0/8", json!({ "country_code": "FR" })));
    let info = site.installed("my-file");
    for (list, wanted, networks) in [
        ("my-file", "DE - 64500 Net", 2),
        ("my-file=any", "DE - 64500 Net", 2),
        ("my-file=both", "DE - 64500 Net", 2),
        ("my-file=origin", "- - 64500 Net", 1),
        ("my-file=place", "DE - - -", 2),
        ("my-file=other", "- - - -", 0),
    ] {
        assert_eq!(answer(&open(&site, list), KNOWN), wanted, "{list}");
        assert_eq!(info.holds(edition(list).role()).networks, networks, "{list}");
        let whole = open(&site, list).generations()[0].record(ip(KNOWN)).expect("a record");
        assert_eq!(whole, Some(record.clone()), "{list}");
        assert_eq!(site.import(list), Outcome::Unchanged);
    }
    // A role is no part of the file's name, nor of its generation's.
    assert!(info.directory.starts_with("my-file-"), "{info:?}");
    assert_eq!(site.on_disk().len(), 1);
}

#[test]
fn a_file_that_has_nothing_for_its_role_is_refused() {
    let site = Site::new("roles_refused");
    let places = || file("Custom-Thing", json!({ "country_code": "DE" }));
    let origins = || file("Custom-Thing", json!({ "asn": 64500 }));
    let nothing =
        || file("Custom-Thing", json!({ "asn": "AS0", "name": "Not routed", "country": "XX", "lat": 0, "lng": 0 }));
    for (entry, writer, why) in [
        ("a=origin", places(), "no record has an ASN or an organization in the expected fields"),
        (
            "a=place",
            origins(),
            "no record has a country, a region, a city, coordinates or a time zone in the expected fields",
        ),
        (
            "a",
            nothing(),
            "no record has a place, an ASN or a flag in the expected fields; for whole records only, list it as <name>=other",
        ),
        (
            "a=any",
            nothing(),
            "no record has a place, an ASN or a flag in the expected fields; for whole records only, list it as <name>=other",
        ),
        // MaxMind's own names promise something.
        ("GeoLite2-City", origins(), "wrong edition: the file holds \"Custom-Thing\""),
        ("GeoLite2-ASN", places(), "wrong edition: the file holds \"Custom-Thing\""),
    ] {
        site.put(edition(entry).name(), writer);
        assert_eq!(site.refused(entry), why, "{entry}");
        assert!(!site.has_news(entry), "it is not looked at again and again");
    }
    // By another role it is looked at again, as it lies there.
    site.put("b", places());
    site.refused("b=origin");
    assert!(site.has_news("b"));
    site.installed("b");
    assert!(site.state("b").refused.is_none());
}

#[test]
fn a_refusal_by_an_earlier_version_is_looked_at_again() {
    let site = Site::new("roles_judged");
    site.put("b", file("Custom-Thing", json!({ "x": 1 })));
    site.refused("b");
    let path = site.store.manifest_path();
    let mut manifest: Json = serde_json::from_slice(&std::fs::read(&path).expect("a manifest")).expect("JSON");
    manifest["editions"]["b"]["refused"].as_object_mut().expect("a refusal").remove("by");
    std::fs::write(&path, manifest.to_string()).expect("written");
    assert!(site.has_news("b"));
    site.refused("b");
    assert!(!site.has_news("b"));
}

#[test]
fn maxminds_own_files_are_not_taken_under_another_of_its_names() {
    let site = Site::new("roles_own_names");
    site.put(ASN, fixtures::small_city(1));
    assert_eq!(site.refused(ASN), "wrong edition: the file holds \"GeoLite2-City\"");
    // Unless the operator says so, or the name is the operator's.
    site.installed("GeoLite2-ASN=place");
    assert_eq!(open(&site, "GeoLite2-ASN=place").place(ip(fixtures::LONDON)).and_then(|p| p.city), Some("London"));
    site.put("our-asn", fixtures::small_city(1));
    site.installed("our-asn");
    site.put("GeoIP2-Enterprise", file("GeoIP2-Enterprise", json!({ "traits": { "autonomous_system_number": 7 } })));
    site.refused("GeoIP2-Enterprise");
}

#[test]
fn files_of_one_role_stand_in_for_each_other_field_by_field() {
    let site = Site::new("roles_stand_in");
    let point = |north: f64| json!({ "latitude": north, "longitude": 2.0 });
    site.put(
        "one",
        MmdbWriter::new("one", 1)
            .insert("8.8.8.0/24", json!({ "country_code": "DE", "latitude": 91, "longitude": 1.5, "as_name": "One" }))
            .insert("9.9.0.0/16", json!({ "country_code": "DE", "asn": 1 }))
            .insert("11.0.0.0/8", json!({ "city": "Ulm" }))
            .insert("13.0.0.0/8", json!({ "asn": 4 })),
    );
    site.put(
        "two",
        MmdbWriter::new("two", 1)
            .insert(
                "8.8.0.0/16",
                json!({ "country_code": "FR", "city": "Paris", "location": point(48.8), "asn": 2, "as_name": "Two" }),
            )
            .insert("9.9.9.0/24", json!({ "country_code": "FR", "as_name": "Two", "timezone": "Europe/Paris" }))
            .insert("12.0.0.0/8", json!({ "country_code": "FR", "asn": 3 }))
            .insert("13.13.0.0/16", json!({ "asn": 4, "as_name": "Four" }))
            .insert("13.14.0.0/16", json!({ "asn": 5, "as_name": "Five" })),
    );
    site.installed("one");
    site.installed("two");
    for (list, address, wanted, network) in [
        ("one,two", "8.8.8.8", "DE Paris 2 Two", "8.8.0.0/16"),
        ("two,one", "8.8.8.8", "FR Paris 2 Two", "8.8.0.0/16"),
        ("one,two", "9.9.9.9", "DE - 1 -", "9.9.0.0/16"),
        // A name of the file before stays; one of a later file may be that of another.
        ("two,one", "9.9.9.9", "FR - 1 Two", "9.9.0.0/16"),
        ("one,two", "11.0.0.1", "- Ulm - -", "11.0.0.0/8"),
        ("one,two", "12.0.0.1", "FR - 3 -", "12.0.0.0/8"),
        ("one,two", "13.13.13.13", "- - 4 Four", "13.0.0.0/8"),
        ("one,two", "13.14.13.13", "- - 4 -", "13.0.0.0/8"),
        ("one=place,two=origin", "8.8.8.8", "DE - 2 Two", "8.8.0.0/16"),
        ("one=origin,two=place", "8.8.8.8", "FR Paris - One", "8.8.8.0/24"),
        ("one,two=other", "12.0.0.1", "- - - -", ""),
        ("two", "9.9.9.9", "FR - - Two", "9.9.9.0/24"),
    ] {
        let databases = open(&site, list);
        assert_eq!(answer(&databases, address), wanted, "{list} {address}");
        let found = databases.answer(ip(address)).network.map(|network| network.to_string());
        assert_eq!(found.unwrap_or_default(), network, "{list} {address}");
    }
    let both = open(&site, "one,two");
    // A half point gives way to a whole one; a point and its radius are of one file.
    let place = both.place(ip("8.8.8.8")).expect("a place");
    assert_eq!((place.latitude, place.longitude), (Some(48.8), Some(2.0)));
    assert_eq!(both.place(ip("9.9.9.9")).and_then(|place| place.time_zone), Some("Europe/Paris"));
    let alone = open(&site, "one");
    let alone = alone.place(ip("8.8.8.8")).expect("a place");
    assert_eq!((alone.latitude, alone.longitude), (None, Some(1.5)));
    // What is the same in every answer is named by the same text, and only that.
    let names = |list| open(&site, list).answering();
    for (one, other) in [("one,two", "two,one"), ("one,two", "one"), ("one", "one=place"), ("one=place,two", "one,two")]
    {
        assert_ne!(names(one), names(other), "{one} {other}");
    }
    assert_eq!(names("one,two"), names("one=any,Absent,two"));
    assert_eq!(names("one,two=other"), names("one"));
}

/// A city of France beside "EU" would be no answer.
#[test]
fn a_continent_gives_way_to_the_country_of_the_next_file() {
    let site = Site::new("roles_continent");
    let continent = |code: &str| json!({ "continent": { "code": code } });
    let first = MmdbWriter::new(CITY, 1)
        .insert("8.8.8.0/24", continent("EU"))
        .insert("9.9.9.0/24", continent("OC"))
        .insert("11.0.0.0/8", json!({ "country": { "iso_code": "AP" } }))
        .insert("12.0.0.0/8", json!({ "continent": { "code": "EU" }, "country": { "iso_code": "DE" } }))
        .insert("2a01::/16", continent("EU"));
    site.put(CITY, first);
    let paris = json!({ "city": "Paris", "country_code": "FR" });
    let second = MmdbWriter::new("dbip-city", 1)
        .insert("8.8.8.0/24", paris.clone())
        .insert("9.9.9.0/24", json!({ "city": "Apia" }))
        .insert("11.0.0.0/8", json!({ "city": "Ulm", "country_code": "EU" }))
        .insert("12.0.0.0/8", paris.clone())
        .insert("2a01::/16", paris);
    site.put("dbip-city", second);
    site.installed(CITY);
    site.installed("dbip-city");
    let list = format!("{CITY},dbip-city");
    // With the overlay, which is made by an import of them all, as without.
    for has_overlay in [false, true] {
        if has_overlay {
            unless_busy(|| site.store.import(&site.source, &Edition::list(&list).expect("a list"), false, &|| ()))
                .expect("an import");
        }
        let both = open(&site, &list);
        assert_eq!(both.has_overlay(), has_overlay);
        for (address, wanted) in [
            ("8.8.8.8", "FR Paris - -"),
            ("9.9.9.9", "OC Apia - -"),
            ("11.0.0.1", "AP Ulm - -"),
            ("12.0.0.1", "DE Paris - -"),
            ("2a01::1", "FR Paris - -"),
        ] {
            assert_eq!(answer(&both, address), wanted, "{address}");
        }
    }
    assert_eq!(answer(&open(&site, CITY), "8.8.8.8"), "EU - - -", "where nobody knows more");
}

#[test]
fn a_change_of_roles_makes_answers_stale() {
    let site = Site::new("roles_since");
    site.put("one", file("one", json!({ "country_code": "DE", "asn": 1 })));
    site.installed("one");
    let since = || site.store.manifest().expect("a manifest").listed.expect("a list").since;
    let begin = since();
    site.import("one=any");
    assert_eq!(since(), begin, "it answers the same");
    site.import("one=origin");
    assert!(since() > begin);
    assert!(!site.has_news("one=origin") && site.has_news("one"));
}

#[test]
fn counts_are_kept_with_the_generation() {
    let site = Site::new("roles_counts");
    let city = fixtures::small_city(1);
    site.put(CITY, city);
    let info = site.installed(CITY);
    let holds = info.holds.expect("counts");
    assert_eq!(holds, site.state(CITY).current.expect("a generation").holds.expect("counts"));
    assert_eq!(holds.fields, Fields::PLACE);
    assert_eq!((holds.networks, holds.places, holds.origins), (57, 57, 0));
    assert_eq!(site.open().generations()[0].fields(), Fields::PLACE);
}

#[test]
fn names_follow_the_language_and_the_index_is_built_again() {
    let site = Site::new("roles_language");
    let names = json!({ "de": "Mailand", "en": "Milan", "it": "Milano" });
    site.put(CITY, file(CITY, json!({ "city": { "names": names }, "country": { "iso_code": "IT" } })));
    site.installed(CITY);
    std::fs::remove_file(site.file(CITY)).expect("removed");
    let in_language = |code: &str| Store::new(site.root.clone()).in_language(Language::new(code).expect("a code"));
    let city = || site.open().place(ip(KNOWN)).and_then(|place| place.city.map(str::to_owned));
    let mut answering = vec![site.open().answering()];
    assert_eq!(city().as_deref(), Some("Milan"));
    for (code, name) in [("it", "Milano"), ("de", "Mailand"), ("ja", "Milan"), ("en", "Milan")] {
        let store = in_language(code);
        let manifest = store.manifest().expect("a manifest");
        assert!(store.has_news(&site.source, &[edition(CITY)], &manifest), "{code}");
        let since = manifest.editions[CITY].current.as_ref().expect("a generation").installed_at;
        let imported = unless_busy(|| store.import(&site.source, &[edition(CITY)], false, &|| ())).expect("an import");
        let [(_, Outcome::Installed(info))] = &imported.outcomes[..] else { panic!("{imported:?}") };
        assert!(info.installed_at > since, "answers from before are stale");
        assert_eq!(city().as_deref(), Some(name), "{code}");
        assert!(!store.has_news(&site.source, &[edition(CITY)], &store.manifest().expect("a manifest")), "{code}");
        answering.push(site.open().answering());
    }
    assert_eq!(answering.pop(), Some(answering[0].clone()));
    answering.sort();
    answering.dedup();
    assert_eq!(answering.len(), 4);
}

#[test]
fn an_index_without_a_word_is_small() {
    let site = Site::new("roles_small");
    let mut writer = MmdbWriter::new("GeoIP2-User-Count", 1);
    for index in 0..2000 {
        writer.add(&format!("11.{}.{}.0/24", index >> 8, index & 255), json!({ "ipv4_24": index }));
    }
    site.put("GeoIP2-User-Count", writer);
    site.installed("GeoIP2-User-Count");
    let databases = open(&site, "GeoIP2-User-Count");
    assert!(databases.is_empty() && databases.generations()[0].fields().is_empty());
    let index = std::fs::metadata(site.current("GeoIP2-User-Count").join("flat-6.idx")).expect("an index");
    // A bucket for each /16 with one range, and the offsets of the records.
    assert!(index.len() < 65_537 * 10 + 2000 * 8 + 1000, "{}", index.len());
}

/// Flags, kind of connection, and country of the registration.
fn traits(databases: &Databases, address: &str) -> String {
    let answer = databases.answer(ip(address));
    let traits = answer.traits.unwrap_or_default();
    let flags = traits.flags.names().collect::<Vec<_>>().join("+");
    let registered = answer.place.and_then(|place| place.registered_country_code);
    [flags.as_str(), traits.connection_type.unwrap_or("-"), registered.unwrap_or("-")].join(" ")
}

#[test]
fn flags_come_from_the_layouts_of_all_vendors() {
    let site = Site::new("roles_flags");
    for (number, (database_type, record, wanted)) in [
        (
            "GeoIP2-Anonymous-IP",
            json!({ "is_anonymous": true, "is_anonymous_vpn": true, "is_hosting_provider": true, "is_public_proxy": true,
                    "is_residential_proxy": true, "is_tor_exit_node": true }),
            "anonymous+vpn+proxy+residential_proxy+tor+hosting - -",
        ),
        ("GeoIP2-Anonymous-IP", json!({ "is_anonymous": true, "is_tor_exit_node": false }), "anonymous - -"),
        ("GeoIP2-Connection-Type", json!({ "connection_type": "Cable/DSL" }), " Cable/DSL -"),
        (
            "GeoIP2-Enterprise",
            json!({ "registered_country": { "iso_code": "gb" }, "country": { "iso_code": "FR" },
                    "traits": { "is_anycast": true, "is_satellite_provider": true, "connection_type": "Cellular" } }),
            "anycast+satellite Cellular GB",
        ),
        (
            "ipinfo standard_privacy.mmdb",
            json!({ "vpn": "true", "proxy": "false", "tor": true, "relay": 1, "hosting": "TRUE", "service": "x" }),
            "vpn+tor+relay+hosting - -",
        ),
        ("ipinfo core", json!({ "is_anycast": true, "is_hosting": true, "is_satellite": true }), "hosting+anycast+satellite - -"),
        ("ipinfo plus", json!({ "anonymous": { "is_proxy": true, "is_vpn": false, "is_relay": true } }), "proxy+relay - -"),
        ("odd", json!({ "vpn": [true], "tor": "yes", "proxy": 2, "hosting": {}, "relay": true }), "relay - -"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("file-{number}");
        site.put(&name, file(database_type, record));
        site.installed(&name);
        assert_eq!(traits(&open(&site, &name), KNOWN), wanted, "{database_type}");
        assert_eq!(traits(&open(&site, &name), "8.8.9.8"), " - -", "{database_type}");
        assert_eq!(traits(&open(&site, &format!("{name}=flags")), KNOWN), wanted.replace(" GB", " -"), "{database_type}");
        assert_eq!(traits(&open(&site, &format!("{name}=origin")), KNOWN), " - -", "{database_type}");
    }
}

#[test]
fn flags_of_several_files_add_up() {
    let site = Site::new("roles_flags_add");
    site.put("one", file("one", json!({ "is_anonymous_vpn": true, "country_code": "DE" })));
    site.put(
        "two",
        MmdbWriter::new("two", 1).insert("8.8.0.0/16", json!({ "tor": true, "connection_type": "Corporate" })),
    );
    site.installed("one");
    site.installed("two");
    for (list, wanted, network) in [
        ("one,two", "vpn+tor Corporate -", "8.8.8.0/24"),
        ("two,one", "vpn+tor Corporate -", "8.8.8.0/24"),
        ("two", "tor Corporate -", "8.8.0.0/16"),
        ("one,two=place", "vpn - -", "8.8.8.0/24"),
    ] {
        let databases = open(&site, list);
        assert_eq!(traits(&databases, KNOWN), wanted, "{list}");
        assert_eq!(databases.answer(ip(KNOWN)).network.expect("a network").to_string(), network, "{list}");
    }
}
