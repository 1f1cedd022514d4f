//! Reading records of every shape.

use super::*;

fn read(json: &str) -> Record {
    serde_json::from_str::<Raw<'_>>(json).unwrap().read(&Language::default())
}

fn place(json: &str) -> Place {
    read(json).place
}

fn origin(json: &str) -> Origin {
    read(json).origin
}

#[test]
fn a_whole_record_is_read() {
    let place = place(
        r#"{"city":{"geoname_id":2643743,"names":{"de":"London","en":"London"}},
            "continent":{"code":"EU"},"country":{"iso_code":"GB","names":{"en":"United Kingdom"}},
            "location":{"accuracy_radius":10,"latitude":51.5142,"longitude":-0.0931,"time_zone":"Europe/London"},
            "subdivisions":[{"iso_code":"ENG","names":{"en":"England"}},{"names":{"en":"second"}}]}"#,
    );
    assert_eq!(place.country_code, Some(*b"GB"));
    assert_eq!(place.city.as_deref(), Some("London"));
    assert_eq!(place.region.as_deref(), Some("England"));
    assert_eq!((place.latitude, place.longitude), (Some(51.5142), Some(-0.0931)));
    assert_eq!(place.accuracy_radius_km, Some(10));
    assert_eq!(place.time_zone.as_deref(), Some("Europe/London"));
}

#[test]
fn a_field_of_a_wrong_type_is_null_and_the_rest_is_kept() {
    let place = place(
        r#"{"city":{"names":["London"]},"country":"GB","registered_country":{"iso_code":"gb"},
            "location":{"latitude":"51","longitude":-0.09,"accuracy_radius":-4,"time_zone":7},
            "subdivisions":{"names":1}}"#,
    );
    let registered = Some(*b"GB");
    let wanted = Place {
        country_code: registered,
        registered_country_code: registered,
        longitude: Some(-0.09),
        ..Place::default()
    };
    assert_eq!(place, wanted);
}

#[test]
fn a_continent_never_reads_as_a_country() {
    assert_eq!(place(r#"{"continent":{"code":"EU"}}"#).country_code, Some(*b"EU"));
    for not_a_country in ["AS", "NA", "SA", "AF"] {
        assert_eq!(place(&format!(r#"{{"continent":{{"code":"{not_a_country}"}}}}"#)).country_code, None);
    }
}

#[test]
fn coordinates_outside_the_globe_are_null() {
    assert!(place(r#"{"location":{"latitude":91,"longitude":-181}}"#).is_empty());
}

#[test]
fn an_asn_is_an_unsigned_32_bit_number() {
    let of = |n: &str| origin(&format!(r#"{{"autonomous_system_number":{n}}}"#)).asn;
    assert_eq!(of("4200000001"), Some(4_200_000_001));
    for none in ["0", "-1", "4294967296", "1.5", "null", "true"] {
        assert_eq!(of(none), None, "{none}");
    }
}

#[test]
fn an_asn_may_be_a_text() {
    let of = |n: &str| origin(&format!(r#"{{"autonomous_system_number":"{n}"}}"#)).asn;
    for text in ["AS15169", "as15169", "15169", " AS15169 ", "AS 15169", "ASN15169", "asn 15169", "AS00015169"] {
        assert_eq!(of(text), Some(15_169), "{text}");
    }
    assert_eq!(of("AS4294967295"), Some(u32::MAX));
    for none in
        ["", "AS", "AS0", "-", "N/A", "AS-1", "+1", "AS+1", "1.10", "15169.0", "AS4294967296", "AS1 AS2", "ASx", "ä"]
    {
        assert_eq!(of(none), None, "{none}");
    }
}

#[test]
fn as_0_is_announced_by_nobody_whatever_its_name() {
    for zero in ["0", "\"0\"", "\"AS0\"", "0.0"] {
        let json = format!(r#"{{"autonomous_system_number":{zero},"autonomous_system_organization":"Not routed"}}"#);
        assert!(origin(&json).is_empty(), "{zero}");
    }
    // A number that is none is only that.
    let odd = origin(r#"{"autonomous_system_number":"?","autonomous_system_organization":"Example Net"}"#);
    assert_eq!((odd.asn, odd.org.as_deref()), (None, Some("Example Net")));
}

#[test]
fn placeholders_are_no_names() {
    for none in [
        "-",
        "--",
        "—",
        " ",
        "",
        "?",
        "...",
        "N/A",
        "n/a",
        "<unknown>",
        "unknown",
        "UNKNOWN",
        "(unknown)",
        "[Unknown]",
        "- unknown -",
        "(not set)",
        "\\u0000",
        "#N/A",
        "NULL",
        "<null>",
    ] {
        let place = place(&format!(
            r#"{{"city":{{"names":{{"en":"{none}"}}}},"subdivisions":[{{"names":{{"en":"{none}"}}}}],
                 "location":{{"time_zone":"{none}"}}}}"#
        ));
        assert!(place.is_empty(), "{none:?}: {place:?}");
        let origin = origin(&format!(r#"{{"autonomous_system_number":7,"autonomous_system_organization":"{none}"}}"#));
        assert_eq!((origin.asn, origin.org), (Some(7), None), "{none:?}");
    }
    for name in ["Nancy", "None", "A", "5", "Unknown Valley", "Ü", "北京", "N/A Networks"] {
        let place = place(&format!(r#"{{"city":{{"names":{{"en":"{name}"}}}}}}"#));
        assert_eq!(place.city.as_deref(), Some(name));
    }
}

#[test]
fn codes_that_stand_for_no_country_are_null() {
    let of = |code: &str| place(&format!(r#"{{"country":{{"iso_code":"{code}"}}}}"#)).country_code;
    for none in ["XX", "xx", "ZZ", "--", "-", "", "AA", "QQ", "XA", "A1", "O1", "USA", "N/A"] {
        assert_eq!(of(none), None, "{none}");
    }
    for code in ["EU", "AP", "XK", "NA", "GB", "ZW", "QA", "AQ"] {
        assert_eq!(of(code), Some([code.as_bytes()[0], code.as_bytes()[1]]), "{code}");
    }
    let fallen_back = place(r#"{"country":{"iso_code":"XX"},"registered_country":{"iso_code":"DE"}}"#);
    assert_eq!(fallen_back.country_code, Some(*b"DE"));
}

#[test]
fn a_point_in_the_sea_without_a_place_is_null() {
    let zero = r#""location":{"latitude":0,"longitude":-0.0,"accuracy_radius":1000}"#;
    assert!(place(&format!("{{{zero}}}")).is_empty());
    assert!(place(&format!(r#"{{{zero},"city":{{"names":{{"en":"-"}}}}}}"#)).is_empty());
    assert_eq!(place(&format!(r#"{{{zero},"country":{{"iso_code":"GH"}}}}"#)).latitude, None);
    let city = place(&format!(r#"{{{zero},"city":{{"names":{{"en":"Buoy"}}}}}}"#));
    assert_eq!((city.latitude, city.longitude), (Some(0.0), Some(0.0)));
    let equator = place(r#"{"location":{"latitude":0,"longitude":32.5}}"#);
    assert_eq!((equator.latitude, equator.longitude), (Some(0.0), Some(32.5)));
}

#[test]
fn a_record_that_is_no_map_is_empty() {
    for other in ["[1,2]", "\"text\"", "7", "true", "null"] {
        assert!(place(other).is_empty() && origin(other).is_empty(), "{other}");
    }
}
