//! Random records in MaxMind's schema: invented cities and organizations.

use super::random::Random;
use super::value::Value;

const LANGUAGES: [&str; 8] = ["de", "en", "es", "fr", "ja", "pt-BR", "ru", "zh-CN"];

#[rustfmt::skip]
const COUNTRIES: &[(&str, &str, &str, &str)] = &[
    ("US", "United States", "NA", "America/New_York"), ("CN", "China", "AS", "Asia/Shanghai"),
    ("JP", "Japan", "AS", "Asia/Tokyo"), ("DE", "Germany", "EU", "Europe/Berlin"),
    ("GB", "United Kingdom", "EU", "Europe/London"), ("FR", "France", "EU", "Europe/Paris"),
    ("BR", "Brazil", "SA", "America/Sao_Paulo"), ("IN", "India", "AS", "Asia/Kolkata"),
    ("RU", "Russia", "EU", "Europe/Moscow"), ("KR", "South Korea", "AS", "Asia/Seoul"),
    ("NL", "The Netherlands", "EU", "Europe/Amsterdam"), ("IT", "Italy", "EU", "Europe/Rome"),
    ("ES", "Spain", "EU", "Europe/Madrid"), ("CA", "Canada", "NA", "America/Toronto"),
    ("AU", "Australia", "OC", "Australia/Sydney"), ("MX", "Mexico", "NA", "America/Mexico_City"),
    ("PL", "Poland", "EU", "Europe/Warsaw"), ("SE", "Sweden", "EU", "Europe/Stockholm"),
    ("TR", "Türkiye", "AS", "Europe/Istanbul"), ("VN", "Vietnam", "AS", "Asia/Ho_Chi_Minh"),
    ("ZA", "South Africa", "AF", "Africa/Johannesburg"), ("EG", "Egypt", "AF", "Africa/Cairo"),
    ("AR", "Argentina", "SA", "America/Argentina/Buenos_Aires"), ("UA", "Ukraine", "EU", "Europe/Kyiv"),
];

const SYLLABLES: &[&str] = &[
    "bor", "dal", "é", "fen", "gar", "hol", "in", "ja", "kyo", "lund", "mar", "nov", "ø", "pur", "qui", "ros", "sk",
    "tal", "um", "veld", "wick", "yar", "zen", "ão",
];

fn name(random: &mut Random) -> String {
    let count = 2 + random.below(3);
    (0..count).map(|_| *random.one_of(SYLLABLES)).collect()
}

/// Names in English, or in every language that MaxMind has.
fn names(english: &str, all: bool) -> Value {
    let languages: &[&str] = if all { &LANGUAGES } else { &["en"] };
    let pairs = languages.iter().map(|language| {
        let name = match *language {
            "en" => english.to_string(),
            other => format!("{english} ({other})"),
        };
        ((*language).to_string(), Value::Text(name))
    });
    Value::Map(pairs.collect())
}

/// A City record.
pub fn city_record(random: &mut Random, index: u32) -> Value {
    // A third of the addresses is in one country.
    let country = if random.below(3) == 0 { 0 } else { random.below(COUNTRIES.len() as u64) };
    let (iso, country_name, continent, zone) = COUNTRIES[country as usize];
    let country = u32::try_from(country).unwrap_or(0);
    let in_country = Value::map([
        ("geoname_id", Value::U32(1_000_000 + country)),
        ("iso_code", Value::text(iso)),
        ("names", names(country_name, true)),
    ]);
    let has_city = random.below(10) != 0;
    let mut record = Vec::new();
    let mut field = |name: &str, value| record.push((name.to_string(), value));
    if has_city {
        let city = format!("{} {}", name(random), index % 1000);
        let names = names(&city, index.is_multiple_of(12));
        field("city", Value::map([("geoname_id", Value::U32(2_000_000 + index)), ("names", names)]));
    }
    field(
        "continent",
        Value::map([
            ("code", Value::text(continent)),
            ("geoname_id", Value::U32(6_255_000 + u32::from(continent.as_bytes()[1]))),
            ("names", names(continent, true)),
        ]),
    );
    if random.below(500) != 0 {
        field("country", in_country.clone());
    }
    if random.below(300) != 0 {
        let radius = *random.one_of(&[1, 5, 10, 20, 50, 100, 200, 500, 1000]);
        let degrees = |x: u64, range: f64| (x as f64 - range * 10_000.0) / 10_000.0;
        field(
            "location",
            Value::map([
                ("accuracy_radius", Value::U16(radius)),
                ("latitude", Value::double(degrees(random.below(1_700_000), 85.0))),
                ("longitude", Value::double(degrees(random.below(3_600_000), 180.0))),
                ("time_zone", Value::text(zone)),
            ]),
        );
    }
    if has_city {
        field("postal", Value::map([("code", Value::Text(format!("{:05}", random.below(100_000))))]));
    }
    field("registered_country", in_country);
    if has_city {
        let region = u32::try_from(random.below(20)).unwrap_or(0);
        field(
            "subdivisions",
            Value::Array(vec![Value::map([
                ("geoname_id", Value::U32(3_000_000 + country * 100 + region)),
                ("iso_code", Value::Text(format!("{region:02}"))),
                ("names", names(&format!("{country_name} Region {region}"), true)),
            ])]),
        );
    }
    Value::Map(record)
}

/// An ASN record.
pub fn asn_record(random: &mut Random, index: u32) -> Value {
    // A quarter has numbers above 16 bits, one record in 200 has no organization.
    let number = if index % 4 == 3 { 131_072 + index * 3 } else { 1 + index };
    let kind = *random.one_of(&["Telecom", "Networks, Inc.", "Hosting \"Plus\" GmbH", "Internet Ltd"]);
    let organization = format!("{} {kind} {index}", name(random));
    let number = ("autonomous_system_number", Value::U32(number));
    if index % 200 == 7 {
        return Value::map([number]);
    }
    Value::map([number, ("autonomous_system_organization", Value::Text(organization))])
}
