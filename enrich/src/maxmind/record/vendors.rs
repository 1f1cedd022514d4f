//! Records as each vendor writes them, and what hostile ones may do to them.

use serde_json::{Value, json};

use super::*;

fn read(record: &Value) -> Record {
    read_in(record, "en")
}

fn read_in(record: &Value, language: &str) -> Record {
    serde_json::from_str::<Raw<'_>>(&record.to_string()).unwrap().read(&Language::new(language).unwrap())
}

fn whose(record: &Value) -> (Option<u32>, Option<String>) {
    let Origin { asn, org } = read(record).origin;
    (asn, org)
}

fn at(record: &Value) -> (Option<f64>, Option<f64>) {
    let place = read(record).place;
    (place.latitude, place.longitude)
}

fn country(record: &Value) -> Option<String> {
    read(record).place.country_code.map(|code| String::from_utf8(code.to_vec()).unwrap())
}

fn org(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn enterprise_files_say_where_and_whose() {
    for traits in ["GeoIP2-Enterprise", "DBIP-Location-ISP (compat=Enterprise)", "DBIP-ISP (compat=Enterprise)"] {
        let record = read(&json!({
            "city": { "names": { "en": "Milton" } },
            "country": { "iso_code": "US" },
            "location": { "latitude": 47.2513, "longitude": -122.3149, "time_zone": "America/Los_Angeles" },
            "subdivisions": [{ "names": { "en": "Washington" } }],
            "traits": {
                "autonomous_system_number": 209, "autonomous_system_organization": "Example Net",
                "isp": "Example", "organization": "A customer", "user_type": "business",
            },
        }));
        assert_eq!((record.origin.asn, record.origin.org), (Some(209), org("Example Net")), "{traits}");
        assert_eq!(record.place.city.as_deref(), Some("Milton"));
        assert_eq!(record.place.region.as_deref(), Some("Washington"));
    }
}

#[test]
fn ipinfo_lite_and_its_kin_are_flat() {
    let lite = json!({
        "as_domain": "google.com", "as_name": "Google LLC", "asn": "AS15169", "continent": "North America",
        "continent_code": "NA", "country": "United States", "country_code": "US",
    });
    assert_eq!(whose(&lite), (Some(15_169), org("Google LLC")));
    assert_eq!(country(&lite).as_deref(), Some("US"));
    // generic_country_free_country_asn: the code is in `country`.
    let free = json!({
        "as_domain": "google.com", "as_name": "Google LLC", "asn": "AS15169", "continent": "NA",
        "continent_name": "North America", "country": "US", "country_name": "United States",
    });
    assert_eq!(whose(&free), (Some(15_169), org("Google LLC")));
    assert_eq!(country(&free).as_deref(), Some("US"));
    assert_eq!(read(&free).fields(), Fields::ASN | Fields::ORG | Fields::COUNTRY);
    // standard_asn: the name stands beside the number.
    let asn = json!({ "asn": "AS15169", "domain": "google.com", "name": "Google LLC", "route": "8.8.8.0/24", "type": "hosting" });
    assert_eq!(whose(&asn), (Some(15_169), org("Google LLC")));
    assert!(read(&asn).place.is_empty());
}

#[test]
fn ipinfo_keeps_degrees_as_texts() {
    let location = json!({
        "city": "Frankfurt am Main", "country": "DE", "geoname_id": "2925533", "lat": "50.11552", "lng": "8.68417",
        "postal_code": "60306", "region": "Hesse", "region_code": "HE", "timezone": "Europe/Berlin",
    });
    let place = read(&location).place;
    assert_eq!((place.latitude, place.longitude), (Some(50.11552), Some(8.68417)));
    assert_eq!((place.city.as_deref(), place.region.as_deref()), (Some("Frankfurt am Main"), Some("Hesse")));
    assert_eq!((place.country_code, place.time_zone.as_deref()), (Some(*b"DE"), Some("Europe/Berlin")));
    assert_eq!(at(&json!({ "loc": "50.1,8.6" })), (Some(50.1), Some(8.6)));
    assert_eq!(at(&json!({ "loc": " -50.1 , -8.6 " })), (Some(-50.1), Some(-8.6)));
    assert_eq!(at(&json!({ "lat": 50, "lng": 8.5 })), (Some(50.0), Some(8.5)));
}

#[test]
fn ip_location_db_and_iptoasn_are_flat() {
    let city = json!({
        "city": "Sydney", "country_code": "AU", "latitude": -33.8688, "longitude": 151.209, "postcode": "",
        "state1": "New South Wales", "state2": "Sydney", "timezone": "Australia/Sydney",
    });
    let place = read(&city).place;
    assert_eq!((place.city.as_deref(), place.region.as_deref()), (Some("Sydney"), Some("New South Wales")));
    assert_eq!((place.latitude, place.longitude), (Some(-33.8688), Some(151.209)));
    assert_eq!((place.country_code, place.time_zone.as_deref()), (Some(*b"AU"), Some("Australia/Sydney")));
    assert_eq!(read(&json!({ "time_zone": "Etc/UTC" })).place.time_zone.as_deref(), Some("Etc/UTC"));
    assert_eq!(country(&json!({ "country_code": "au" })).as_deref(), Some("AU"));
    let asn = json!({ "as_number": 13335, "organization": "Example CDN", "country_code": "US" });
    assert_eq!(whose(&asn), (Some(13_335), org("Example CDN")));
}

fn flags(record: &Value) -> String {
    read(record).traits.flags.names().collect::<Vec<_>>().join("+")
}

#[test]
fn words_for_the_kind_of_network_are_flags() {
    let kinds: [(&str, &[&str]); 7] = [
        ("hosting", &["hosting", "content_delivery_network", "DCH", "CDN"]),
        ("eyeball", &["residential", "cellular", "dialup", "cafe", "traveler", "isp", "ISP", "MOB", "ISP/MOB"]),
        ("business", &["business", "COM"]),
        ("education", &["college", "school", "library", "education", "EDU", "LIB"]),
        ("government", &["government", "military", "GOV", "MIL"]),
        ("relay", &["consumer_privacy_network"]),
        ("", &["router", "search_engine_spider", "inactive", "ORG", "SES", "RSV", "-", "", "/", "hos"]),
    ];
    for (wanted, words) in kinds {
        for word in words {
            for spelling in [word.to_string(), word.to_uppercase(), word.to_lowercase(), format!(" {word} ")] {
                for record in [
                    // MaxMind Enterprise and DB-IP; IP2Location; IPinfo's files of AS, of companies, and of several things.
                    json!({ "traits": { "user_type": spelling } }),
                    json!({ "user_type": spelling }),
                    json!({ "usage_type": spelling }),
                    json!({ "traits": { "usage_type": spelling } }),
                    json!({ "asn": "AS64500", "name": "Net", "type": spelling }),
                    json!({ "company": { "name": "Net", "type": spelling } }),
                    json!({ "asn": "AS64500", "as_name": "Net", "as_type": spelling }),
                ] {
                    assert_eq!(flags(&record), wanted, "{record}");
                }
            }
        }
    }
    for (record, wanted) in [
        (json!({ "usage_type": "DCH/CDN" }), "hosting"),
        (json!({ "usage_type": "DCH/SES" }), "hosting"),
        (json!({ "usage_type": "COM/ISP" }), "eyeball+business"),
        // A company's network inside a provider's AS; where the nearer word says nothing, the AS's counts.
        (json!({ "asn": "AS64500", "type": "education", "as_type": "isp" }), "education"),
        (json!({ "asn": "AS64500", "type": "inactive", "as_type": "isp" }), "eyeball"),
        (json!({ "traits": { "user_type": "hosting" }, "as_type": "isp" }), "hosting"),
        (json!({ "hosting": true, "vpn": true, "as_type": "isp" }), "vpn+hosting+eyeball"),
        // Of other things, and of other types.
        (json!({ "type": "business" }), ""),
        (json!({ "company": "hosting", "user_type": ["hosting"], "usage_type": 1, "as_type": { "type": "isp" } }), ""),
        (json!({ "company": { "type": ["hosting"] }, "traits": { "user_type": true } }), ""),
    ] {
        assert_eq!(flags(&record), wanted, "{record}");
    }
}

#[test]
fn paths_are_tried_in_their_order() {
    let all = json!({
        "country": { "iso_code": "GB" }, "country_code": "FR", "registered_country": { "iso_code": "DE" },
        "autonomous_system_number": 1, "traits": { "autonomous_system_number": 2 }, "asn": 3, "as_number": 4,
    });
    assert_eq!((country(&all).as_deref(), read(&all).origin.asn), (Some("GB"), Some(1)));
    let codes = ["country", "country_code", "registered_country"];
    let mut rest = all.clone();
    for (key, next) in codes.into_iter().zip([Some("FR"), Some("DE"), None]) {
        rest.as_object_mut().unwrap().remove(key);
        assert_eq!(country(&rest).as_deref(), next);
    }
    for (key, next) in
        [("autonomous_system_number", Some(2)), ("traits", Some(3)), ("asn", Some(4)), ("as_number", None)]
    {
        rest.as_object_mut().unwrap().remove(key);
        assert_eq!(read(&rest).origin.asn, next, "without {key}");
    }
    // A text stands behind the code, and before the registration.
    let text = json!({ "country": "FR", "country_code": "GB", "registered_country": { "iso_code": "DE" } });
    assert_eq!(country(&text).as_deref(), Some("GB"));
    let text = json!({ "country": "FR", "country_code": "-", "registered_country": { "iso_code": "DE" } });
    assert_eq!(country(&text).as_deref(), Some("FR"));
    let zone = json!({ "location": { "time_zone": "N/A" }, "timezone": "Europe/Paris", "time_zone": "Etc/UTC" });
    assert_eq!(read(&zone).place.time_zone.as_deref(), Some("Europe/Paris"));
    let region = json!({ "subdivisions": [{ "names": { "en": "-" } }], "state1": "One", "region": "Two" });
    assert_eq!(read(&region).place.region.as_deref(), Some("One"));
    let flat = json!({ "location": { "latitude": 1.0 }, "latitude": 2.0, "longitude": 3.0, "lat": 4, "lng": 5 });
    assert_eq!(at(&flat), (Some(2.0), Some(3.0)), "half a point is none where there is a whole one");
}

#[test]
fn a_countrys_name_never_becomes_a_code() {
    for name in ["United States", "USA", "U", "", "U.", "U\u{301}", "12", "XX", "zz", "-", "N/A"] {
        assert_eq!(country(&json!({ "country": name })), None, "{name:?}");
        assert_eq!(country(&json!({ "country_code": name })), None, "{name:?}");
    }
    assert_eq!(country(&json!({ "country": "de" })).as_deref(), Some("DE"));
    assert_eq!(country(&json!({ "registered_country": "DE" })), None, "not a layout of anybody");
}

#[test]
fn a_name_is_an_organization_only_beside_an_asn() {
    assert_eq!(whose(&json!({ "name": "printer" })), (None, None));
    assert_eq!(whose(&json!({ "name": "printer", "as_number": 7 })), (Some(7), None));
    assert_eq!(whose(&json!({ "asn": 7, "name": "N", "as_name": "A" })), (Some(7), org("A")));
    assert_eq!(whose(&json!({ "asn": 7, "as_name": "-", "name": "N" })), (Some(7), org("N")));
    assert_eq!(whose(&json!({ "asn": { "asn": 7 }, "name": "N" })), (None, None));
}

#[test]
fn an_as_0_takes_its_own_name_along_and_no_other() {
    for key in ["autonomous_system_number", "asn", "as_number"] {
        for zero in [json!(0), json!("0"), json!("AS0"), json!(0.0)] {
            let record = json!({
                key: zero, "autonomous_system_organization": "Not routed", "as_name": "Not routed", "organization": "x",
            });
            assert_eq!(whose(&record), (None, None), "{record}");
        }
    }
    let mixed = json!({
        "autonomous_system_number": 0, "autonomous_system_organization": "Not routed",
        "traits": { "autonomous_system_number": 64500, "autonomous_system_organization": "Example" },
    });
    assert_eq!(whose(&mixed), (Some(64_500), org("Example")));
}

#[test]
fn odd_values_on_any_path_are_null_and_the_rest_is_kept() {
    let odd = [
        json!(null),
        json!(true),
        json!([]),
        json!(["US"]),
        json!({}),
        json!({ "iso_code": { "x": 1 } }),
        json!(-1000),
        json!(1e300),
        json!("\u{0}"),
        json!("4294967296"),
        json!([[[[]]]]),
        json!({ "names": "text" }),
        json!({ "names": { "en": 7 } }),
        json!("nan"),
        json!("inf"),
        json!("1e2"),
        json!("0x10"),
        json!("9".repeat(400)),
    ];
    let keys = [
        "country_code",
        "latitude",
        "longitude",
        "lat",
        "lng",
        "loc",
        "timezone",
        "time_zone",
        "asn",
        "as_number",
        "country",
        "city",
        "subdivisions",
        "location",
        "traits",
        "registered_country",
        "continent",
        "autonomous_system_number",
        "names",
        "state1",
        "region",
        "as_name",
        "organization",
    ];
    for key in keys {
        for value in &odd {
            let record = json!({ key: value, "location": { "time_zone": "Etc/UTC" } });
            let mut place = read(&record).place;
            if key != "location" {
                assert_eq!(place.time_zone.as_deref(), Some("Etc/UTC"), "{record}");
            }
            // Only texts may be names; "nan" is one.
            if value.is_string() {
                (place.city, place.region, place.time_zone) = (None, None, None);
            }
            place.time_zone = place.time_zone.filter(|zone| zone != "Etc/UTC");
            assert!(place.is_empty(), "{record}: {place:?}");
            assert_eq!(read(&record).origin.asn, None, "{record}");
        }
    }
}

#[test]
fn a_point_of_any_layout_is_on_the_globe_and_not_in_the_sea() {
    for (north, east) in [("lat", "lng"), ("latitude", "longitude")] {
        assert_eq!(at(&json!({ north: "91", east: "-181" })), (None, None));
        assert_eq!(at(&json!({ north: "0", east: "0.0" })), (None, None));
        assert_eq!(at(&json!({ north: 0, east: 0, "city": "Buoy" })), (Some(0.0), Some(0.0)));
        assert_eq!(at(&json!({ north: "", east: "" })), (None, None));
    }
    for loc in ["0,0", "0.000,0", "91,181", "50.1", "50.1;8.6", ",", "a,b", "50.1,8.6,7"] {
        let found = at(&json!({ "loc": loc }));
        assert!(found == (None, None) || found == (Some(50.1), None), "{loc}: {found:?}");
    }
    // The sea on one path, a place on the next.
    assert_eq!(
        at(&json!({ "location": { "latitude": 0, "longitude": 0 }, "loc": "50.1,8.6" })),
        (Some(50.1), Some(8.6))
    );
    let radius = json!({ "location": { "accuracy_radius": 5, "latitude": 0, "longitude": 0 }, "lat": 1, "lng": 2 });
    assert_eq!(read(&radius).place.accuracy_radius_km, None, "it is around another point");
}

#[test]
fn placeholders_are_no_values_on_any_path() {
    for none in ["-", "N/A", "<unknown>", "", " ", "unknown"] {
        let record = json!({
            "city": none, "state1": none, "region": none, "timezone": none, "time_zone": none, "country": none,
            "country_code": none, "asn": none, "as_name": none, "name": none, "organization": none, "lat": none, "lng": none,
            "traits": { "autonomous_system_organization": none },
        });
        assert!(read(&record).fields().is_empty(), "{none:?}: {:?}", read(&record));
    }
}

#[test]
fn names_are_in_the_wanted_language_or_english_or_any() {
    let names = json!({ "ja": "ロンドン", "de": "London (de)", "en": "London", "pt-BR": "Londres" });
    let record = |names: &Value| json!({ "city": { "names": names }, "subdivisions": [{ "names": names }] });
    for (language, name) in
        [("en", "London"), ("ja", "ロンドン"), ("pt-br", "Londres"), ("fr", "London"), ("de", "London (de)")]
    {
        let place = read_in(&record(&names), language).place;
        assert_eq!((place.city.as_deref(), place.region.as_deref()), (Some(name), Some(name)), "{language}");
    }
    // Without English: the first by its code, whatever the order in the file.
    for names in [r#"{"ru":"R","fr":"F","zh-CN":"Z"}"#, r#"{"zh-CN":"Z","fr":"F","ru":"R"}"#] {
        let text = format!(r#"{{"city":{{"names":{names}}}}}"#);
        let place = serde_json::from_str::<Raw<'_>>(&text).unwrap().read(&Language::default()).place;
        assert_eq!(place.city.as_deref(), Some("F"), "{names}");
    }
    // A placeholder is no name.
    let names = json!({ "de": "-", "en": 7, "es": "N/A", "fr": "Londres" });
    assert_eq!(read_in(&record(&names), "de").place.city.as_deref(), Some("Londres"));
    assert_eq!(read_in(&json!({ "city": { "names": {} } }), "de").place.city, None);
}

#[test]
fn a_key_that_comes_twice_is_no_error() {
    let text = r#"{"asn":{},"asn":"AS7","country":7,"country":"DE","country":"FR"}"#;
    let record = serde_json::from_str::<Raw<'_>>(text).unwrap().read(&Language::default());
    assert_eq!((record.origin.asn, record.place.country_code), (Some(7), Some(*b"DE")));
}
