//! The small files that tests and the demo share: GeoLite2-City and GeoLite2-ASN with a few dozen networks
//! as honeypots meet them, and one of every odd record. Places and organizations are made up or
//! simplified; the shape is MaxMind's.

use super::writer::MmdbWriter;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// In City (GB, London), and not in ASN.
pub const LONDON: &str = "81.2.69.142";
/// US, AS15169 `Google LLC`.
pub const GOOGLE_DNS: &str = "8.8.8.8";
/// CN, and not in ASN.
pub const CHINA_WITHOUT_ASN: &str = "218.92.0.30";
/// AS4200000001, above what an int4 holds.
pub const LARGE_ASN: &str = "45.155.205.86";
/// AS64496 without an organization.
pub const ASN_WITHOUT_ORG: &str = "103.145.12.7";
/// Only `registered_country` (RO).
pub const REGISTERED_ONLY: &str = "80.94.92.10";
/// Only `continent` (EU).
pub const CONTINENT_ONLY: &str = "94.102.49.193";
/// City's names are an array, its latitude is text; country (NL) and longitude are right.
pub const WRONG_TYPES: &str = "89.248.163.20";
/// An organization with NUL, control characters and a line break: `Evil\0Corp\u{7}\n\u{1b}[31mRed`.
pub const CONTROL_ORG: &str = "141.98.10.60";
/// An organization of 300,000 letters.
pub const LONG_ORG: &str = "179.43.140.5";
/// Public, and in neither file.
pub const UNKNOWN: &str = "198.51.99.1";
/// IPv6: US, AS15169.
pub const GOOGLE_IPV6: &str = "2001:4860:4860::8888";

/// A network with a place and an announcer.
type Row = (
    &'static str,        // network
    &'static str,        // country
    &'static str,        // region
    &'static str,        // city
    (f64, f64, u16),     // latitude, longitude, accuracy radius in km
    (u32, &'static str), // ASN and organization; 0: not in the ASN file
);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("81.2.69.142/31",   "GB", "England", "London", (51.5142, -0.0931, 10), (0, "")),
    ("8.8.8.0/24",       "US", "", "", (37.751, -97.822, 1000), (15169, "Google LLC")),
    ("1.1.1.0/24",       "AU", "", "", (-33.494, 143.2104, 1000), (13335, "Cloudflare, Inc.")),
    ("218.92.0.0/16",    "CN", "Jiangsu", "Nanjing", (32.0617, 118.7778, 50), (0, "")),
    ("45.155.205.0/24",  "RU", "Moscow", "Moscow", (55.7522, 37.6156, 200), (4_200_000_001, "Private Range Hosting")),
    ("103.145.12.0/24",  "HK", "", "Hong Kong", (22.2908, 114.1501, 20), (64_496, "")),
    ("141.98.10.0/24",   "LT", "Vilnius", "Vilnius", (54.6892, 25.2798, 20), (209_605, "Evil\0Corp\u{7}\n\u{1b}[31mRed")),
    ("61.177.172.0/24",  "CN", "Jiangsu", "Lianyungang", (34.5997, 119.1594, 50), (4134, "Eastern Backbone")),
    ("112.85.42.0/24",   "CN", "Jiangsu", "Suzhou", (31.3041, 120.5954, 50), (4837, "Unity Backbone")),
    ("222.186.30.0/24",  "CN", "Jiangsu", "Zhenjiang", (32.2109, 119.4551, 50), (4134, "Eastern Backbone")),
    ("118.193.32.0/19",  "HK", "", "Hong Kong", (22.2842, 114.1759, 20), (135_377, "Harbour Cloud (HK) Limited")),
    ("43.128.0.0/14",    "SG", "", "Singapore", (1.2868, 103.8503, 20), (132_203, "Goose Cloud Pte. Ltd.")),
    ("178.128.0.0/16",   "SG", "", "Singapore", (1.3036, 103.8554, 20), (14_061, "DropletWorks, LLC")),
    ("159.65.0.0/18",    "GB", "England", "London", (51.5088, -0.1260, 20), (14_061, "DropletWorks, LLC")),
    ("165.22.0.0/17",    "US", "New Jersey", "North Bergen", (40.793, -74.0247, 20), (14_061, "DropletWorks, LLC")),
    ("167.99.0.0/17",    "US", "California", "Santa Clara", (37.3931, -121.962, 20), (14_061, "DropletWorks, LLC")),
    ("64.227.0.0/17",    "DE", "Hesse", "Frankfurt am Main", (50.1188, 8.6843, 20), (14_061, "DropletWorks, LLC")),
    ("185.220.101.0/24", "DE", "Brandenburg", "Brandenburg", (52.6171, 13.1207, 200), (60_729, "Exit Relays e.V.")),
    ("95.216.0.0/16",    "FI", "Uusimaa", "Helsinki", (60.1719, 24.9347, 20), (24_940, "Kraut Online GmbH")),
    ("51.15.0.0/16",     "FR", "Paris", "Paris", (48.8323, 2.4075, 20), (12_876, "Scalewind S.a.s.")),
    ("51.68.0.0/16",     "FR", "Hauts-de-France", "Roubaix", (50.6974, 3.178, 20), (16_276, "Nord Hebergement SAS")),
    ("209.141.32.0/19",  "US", "Nevada", "Las Vegas", (36.1685, -115.1164, 20), (53_667, "Desert Solutions")),
    ("71.6.128.0/17",    "US", "California", "San Diego", (32.8072, -117.1649, 20), (10_439, "Coastal Networks")),
    ("162.142.125.0/24", "US", "Michigan", "Ann Arbor", (42.2776, -83.7409, 20), (398_324, "Census Scanner, Inc.")),
    ("198.235.24.0/24",  "US", "Iowa", "Council Bluffs", (41.2619, -95.8608, 20), (396_982, "Google LLC")),
    ("34.64.0.0/12",     "US", "Iowa", "Council Bluffs", (41.2619, -95.8608, 20), (396_982, "Google LLC")),
    ("20.64.0.0/12",     "US", "Virginia", "Boydton", (36.6534, -78.375, 20), (8075, "Window Cloud Corporation")),
    ("3.120.0.0/14",     "DE", "Hesse", "Frankfurt am Main", (50.1188, 8.6843, 20), (16_509, "River Web Services, Inc.")),
    ("14.161.0.0/16",    "VN", "Ho Chi Minh", "Ho Chi Minh City", (10.822, 106.6257, 10), (45_899, "Lotus Telecom Corp")),
    ("171.224.0.0/11",   "VN", "Hanoi", "Hanoi", (21.0184, 105.8461, 50), (7552, "Red River Group")),
    ("117.192.0.0/10",   "IN", "National Capital Territory of Delhi", "Delhi", (28.6542, 77.2373, 500), (9829, "National Internet Backbone")),
    ("202.83.16.0/20",   "IN", "Karnataka", "Bengaluru", (12.9634, 77.5855, 20), (24_309, "Garden City Broadband")),
    ("36.64.0.0/11",     "ID", "Jakarta", "Jakarta", (-6.2114, 106.8446, 50), (7713, "PT Nusantara Telekom")),
    ("1.234.0.0/16",     "KR", "Seoul", "Seoul", (37.5658, 126.978, 20), (9318, "Han River Broadband")),
    ("121.134.0.0/16",   "KR", "Seoul", "Gangnam-gu", (37.4959, 127.0664, 20), (4766, "Peninsula Telecom")),
    ("126.0.0.0/10",     "JP", "Tokyo", "Tokyo", (35.6893, 139.6899, 20), (17_676, "Sakura Mobile Corp.")),
    ("177.54.144.0/20",  "BR", "Sao Paulo", "São Paulo", (-23.5475, -46.6361, 20), (28_220, "Bandeirante Fibra Ltda")),
    ("189.112.0.0/16",   "BR", "Rio de Janeiro", "Rio de Janeiro", (-22.9201, -43.3307, 50), (16_735, "Atlântico Telecom S.A.")),
    ("200.68.0.0/17",    "AR", "Buenos Aires F.D.", "Buenos Aires", (-34.6142, -58.3811, 20), (3549, "Cono Sur S.A.")),
    ("190.144.0.0/14",   "CO", "Bogota D.C.", "Bogotá", (4.6115, -74.0833, 20), (14_080, "Andina Comunicaciones S.A.")),
    ("187.189.0.0/16",   "MX", "Mexico City", "Mexico City", (19.4203, -99.1193, 20), (22_884, "Total Fibra S.A. de C.V.")),
    ("197.248.0.0/16",   "KE", "Nairobi County", "Nairobi", (-1.2841, 36.8155, 20), (37_061, "Savanna Mobile")),
    ("41.33.0.0/16",     "EG", "Cairo Governorate", "Cairo", (30.0588, 31.2268, 20), (8452, "Nile Data")),
    ("196.25.0.0/16",    "ZA", "Gauteng", "Johannesburg", (-26.2309, 28.0583, 50), (5713, "Highveld Telecom")),
    ("91.240.118.0/24",  "RU", "St.-Petersburg", "St Petersburg", (59.8983, 30.2618, 20), (57_523, "Neva Selectel Ltd")),
    ("5.188.206.0/24",   "BG", "Sofia-Capital", "Sofia", (42.6951, 23.325, 20), (50_360, "Balkan Net EOOD")),
    ("46.148.112.0/20",  "UA", "Kyiv City", "Kyiv", (50.458, 30.5303, 20), (35_277, "Dnipro Hosting LLC")),
    ("85.105.0.0/16",    "TR", "Istanbul", "Istanbul", (41.0138, 28.9497, 50), (9121, "Bosphorus Telekom")),
    ("5.160.0.0/16",     "IR", "Tehran", "Tehran", (35.6980, 51.4115, 50), (42_337, "Alborz Pardazesh PJSC")),
    ("2001:4860::/32",   "US", "", "", (37.751, -97.822, 100), (15_169, "Google LLC")),
    ("2606:4700::/32",   "US", "", "", (37.751, -97.822, 100), (13_335, "Cloudflare, Inc.")),
    ("2a02:4780::/32",   "LT", "Vilnius", "Vilnius", (54.6892, 25.2798, 20), (47_583, "Host Baltic UAB")),
    ("2a02:c200::/24",   "DE", "Bavaria", "Nuremberg", (49.4478, 11.0683, 20), (51_167, "Pfalz Server GmbH")),
    ("240e::/18",        "CN", "Jiangsu", "Nanjing", (32.0617, 118.7778, 100), (4134, "Eastern Backbone")),
];

/// Country, its name, its continent and its time zone.
#[rustfmt::skip]
const COUNTRIES: &[(&str, &str, &str, &str)] = &[
    ("AR", "Argentina", "SA", "America/Argentina/Buenos_Aires"), ("AU", "Australia", "OC", "Australia/Sydney"),
    ("BG", "Bulgaria", "EU", "Europe/Sofia"), ("BR", "Brazil", "SA", "America/Sao_Paulo"),
    ("CN", "China", "AS", "Asia/Shanghai"), ("CO", "Colombia", "SA", "America/Bogota"),
    ("DE", "Germany", "EU", "Europe/Berlin"), ("EG", "Egypt", "AF", "Africa/Cairo"),
    ("FI", "Finland", "EU", "Europe/Helsinki"), ("FR", "France", "EU", "Europe/Paris"),
    ("GB", "United Kingdom", "EU", "Europe/London"), ("HK", "Hong Kong", "AS", "Asia/Hong_Kong"),
    ("ID", "Indonesia", "AS", "Asia/Jakarta"), ("IN", "India", "AS", "Asia/Kolkata"),
    ("IR", "Iran", "AS", "Asia/Tehran"), ("JP", "Japan", "AS", "Asia/Tokyo"),
    ("KE", "Kenya", "AF", "Africa/Nairobi"), ("KR", "South Korea", "AS", "Asia/Seoul"),
    ("LT", "Lithuania", "EU", "Europe/Vilnius"), ("MX", "Mexico", "NA", "America/Mexico_City"),
    ("NL", "The Netherlands", "EU", "Europe/Amsterdam"), ("RO", "Romania", "EU", "Europe/Bucharest"),
    ("RU", "Russia", "EU", "Europe/Moscow"), ("SG", "Singapore", "AS", "Asia/Singapore"),
    ("TR", "Türkiye", "AS", "Europe/Istanbul"), ("UA", "Ukraine", "EU", "Europe/Kyiv"),
    ("US", "United States", "NA", "America/Chicago"), ("VN", "Vietnam", "AS", "Asia/Ho_Chi_Minh"),
    ("ZA", "South Africa", "AF", "Africa/Johannesburg"),
];

/// Writes `GeoLite2-City.mmdb` and `GeoLite2-ASN.mmdb` into `dir`, built yesterday.
///
/// # Panics
/// When they cannot be written.
pub fn small(dir: &Path) {
    small_built_at(dir, days_ago(1));
}

/// As [`small`], with a given build time in seconds since 1970.
///
/// # Panics
/// When they cannot be written.
pub fn small_built_at(dir: &Path, build_epoch: u64) {
    let path = |edition: &str| dir.join(format!("{edition}.mmdb"));
    small_city(build_epoch)
        .write(&path("GeoLite2-City"))
        .and_then(|()| small_asn(build_epoch).write(&path("GeoLite2-ASN")))
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
}

/// Midnight (UTC) some days ago, in seconds since 1970: what `build_epoch` may be.
#[must_use]
pub fn days_ago(days: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    (now / 86_400).saturating_sub(days) * 86_400
}

/// The small City file, to be changed or written.
#[must_use]
pub fn small_city(build_epoch: u64) -> MmdbWriter {
    let mut city = MmdbWriter::new("GeoLite2-City", build_epoch);
    for (index, &(network, iso, region, name, place, _)) in ROWS.iter().enumerate() {
        city.add(network, city_record(index, iso, region, name, place));
    }
    let romania = country("RO");
    city.add("80.94.92.0/24", json!({ "registered_country": romania }));
    city.add("94.102.49.0/24", json!({ "continent": continent("EU") }));
    city.add(
        "89.248.163.0/24",
        json!({
            "city": { "geoname_id": "not a number", "names": ["Amsterdam", "Mokum"] },
            "continent": continent("EU"),
            "country": country("NL"),
            "location": { "accuracy_radius": -5, "latitude": "52.3824 N", "longitude": 4.8995, "time_zone": 7 },
            "subdivisions": { "names": { "en": "North Holland" } },
        }),
    );
    city
}

/// The small ASN file, to be changed or written.
#[must_use]
pub fn small_asn(build_epoch: u64) -> MmdbWriter {
    let mut asn = MmdbWriter::new("GeoLite2-ASN", build_epoch);
    for &(network, _, _, _, _, (number, org)) in ROWS {
        match (number, org) {
            (0, _) => {}
            (_, "") => asn.add(network, json!({ "autonomous_system_number": number })),
            _ => asn.add(network, asn_record(number, org)),
        }
    }
    asn.add("80.94.92.0/24", asn_record(47_890, "Carpathia Unmanaged Ltd"));
    asn.add("94.102.48.0/20", asn_record(202_425, "Polder Volume inc"));
    asn.add("89.248.160.0/20", asn_record(202_425, "Polder Volume inc"));
    asn.add("179.43.128.0/18", asn_record(51_852, &"A".repeat(300_000)));
    asn
}

fn asn_record(number: u32, org: &str) -> Json {
    json!({ "autonomous_system_number": number, "autonomous_system_organization": org })
}

fn city_record(
    index: usize,
    iso: &str,
    region: &str,
    city: &str,
    (latitude, longitude, radius): (f64, f64, u16),
) -> Json {
    let (_, _, continent_code, time_zone) = country_row(iso);
    let mut record = json!({
        "continent": continent(continent_code),
        "country": country(iso),
        "location": {
            "accuracy_radius": radius, "latitude": latitude, "longitude": longitude,
            "time_zone": time_zone,
        },
        "registered_country": country(iso),
    });
    if !city.is_empty() {
        record["city"] = json!({ "geoname_id": 2_000_000 + index, "names": { "en": city, "de": city } });
    }
    if !region.is_empty() {
        let code = region[..2].to_uppercase();
        record["subdivisions"] =
            json!([{ "geoname_id": 3_000_000 + index, "iso_code": code, "names": { "en": region } }]);
    }
    record
}

fn country_row(iso: &str) -> (usize, &'static str, &'static str, &'static str) {
    let (index, &(_, name, continent, zone)) = COUNTRIES
        .iter()
        .enumerate()
        .find(|(_, row)| row.0 == iso)
        .unwrap_or_else(|| panic!("{iso} is missing in COUNTRIES"));
    (index, name, continent, zone)
}

fn country(iso: &str) -> Json {
    let (index, name, _, _) = country_row(iso);
    let mut country = json!({ "geoname_id": 1_000_000 + index, "iso_code": iso, "names": { "en": name } });
    if ["BG", "DE", "FI", "FR", "LT", "NL", "RO"].contains(&iso) {
        country["is_in_european_union"] = json!(true);
    }
    country
}

fn continent(code: &str) -> Json {
    let (id, name) = match code {
        "AF" => (6_255_146, "Africa"),
        "AS" => (6_255_147, "Asia"),
        "EU" => (6_255_148, "Europe"),
        "NA" => (6_255_149, "North America"),
        "SA" => (6_255_150, "South America"),
        _ => (6_255_151, "Oceania"),
    };
    json!({ "code": code, "geoname_id": id, "names": { "en": name } })
}
