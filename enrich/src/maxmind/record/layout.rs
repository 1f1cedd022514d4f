//! Where vendors keep what we read: one map with the keys of all of them.

use std::borrow::Cow;

use serde::de::{IgnoredAny, MapAccess};

use super::shape::{Any, Degrees, First, Names, Number, Shape, Text, Truth, map_of};

map_of!(
    /// A record of any vendor.
    Layout {
        // MaxMind, and DB-IP where it is compatible.
        city: Named<'de>,
        continent: Continent<'de>,
        country: Country<'de>,
        location: Location<'de>,
        registered_country: CountryMap<'de>,
        subdivisions: First<Any<NamedMap<'de>>>,
        autonomous_system_number: Number,
        autonomous_system_organization: Text<'de>,
        traits: Traits<'de>,
        // Flat files: IPinfo, ip-location-db, iptoasn.
        country_code: Text<'de>,
        state1: Text<'de>,
        region: Text<'de>,
        latitude: Degrees,
        longitude: Degrees,
        lat: Degrees,
        lng: Degrees,
        loc: Text<'de>,
        timezone: Text<'de>,
        time_zone: Text<'de>,
        asn: Number,
        as_number: Number,
        as_name: Text<'de>,
        name: Text<'de>,
        organization: Text<'de>,
        // Flags: MaxMind's Anonymous-IP, IPinfo's privacy and core files.
        is_anonymous: Truth,
        is_anonymous_vpn: Truth,
        is_hosting_provider: Truth,
        is_public_proxy: Truth,
        is_residential_proxy: Truth,
        is_tor_exit_node: Truth,
        is_satellite_provider: Truth,
        is_anycast: Truth,
        is_hosting: Truth,
        is_satellite: Truth,
        vpn: Truth,
        proxy: Truth,
        tor: Truth,
        relay: Truth,
        hosting: Truth,
        anonymous: Anonymous<'de>,
        connection_type: Text<'de>,
        // Words for the kind of network: MaxMind and DB-IP, IP2Location, IPinfo.
        user_type: Text<'de>,
        usage_type: Text<'de>,
        company: Company<'de>,
        kind = "type": Text<'de>,
        as_type: Text<'de>,
    }
);

map_of!(Continent { code: Text<'de> });
map_of!(Location { accuracy_radius: f64, latitude: f64, longitude: f64, time_zone: Text<'de> });
map_of!(Traits {
    autonomous_system_number: Number,
    autonomous_system_organization: Text<'de>,
    is_anonymous: Truth,
    is_anonymous_vpn: Truth,
    is_hosting_provider: Truth,
    is_public_proxy: Truth,
    is_residential_proxy: Truth,
    is_tor_exit_node: Truth,
    is_satellite_provider: Truth,
    is_anycast: Truth,
    connection_type: Text<'de>,
    user_type: Text<'de>,
    usage_type: Text<'de>,
});
map_of!(Company { kind = "type": Text<'de> });
map_of!(Anonymous { is_vpn: Truth, is_proxy: Truth, is_tor: Truth, is_relay: Truth, is_res_proxy: Truth });
map_of!(CountryMap { iso_code: Text<'de> });
map_of!(NamedMap { names: Names<'de> });

/// A country: a map with its code, or a text that may be one.
pub(super) enum Country<'de> {
    Map(CountryMap<'de>),
    Text(Text<'de>),
}

impl<'de> Shape<'de> for Country<'de> {
    fn text(text: Cow<'de, str>) -> Option<Self> {
        Some(Country::Text(text))
    }
    fn map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        Ok(CountryMap::map(map)?.map(Country::Map))
    }
}

/// A place's name: a map with one for each language, or a text.
pub(super) enum Named<'de> {
    Map(NamedMap<'de>),
    Text(Text<'de>),
}

impl<'de> Shape<'de> for Named<'de> {
    fn text(text: Cow<'de, str>) -> Option<Self> {
        Some(Named::Text(text))
    }
    fn map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        Ok(NamedMap::map(map)?.map(Named::Map))
    }
}
