//! Flags and the kind of connection, from wherever vendors keep them: flags in fields of their own, and in words for the kind of
//! network.

use super::flags::Flags;
use super::layout::Layout;
use super::shape::{Any, Truth};
use super::{Traits, tidy};

/// Reads them, and leaves the rest of the record. A flag is set where any of its paths says so; of the words, the first that is
/// known counts: what an address is used for stands before what its whole AS is.
pub(super) fn read(raw: &mut Layout<'_>) -> Traits {
    let mut flags = [
        (Flags::ANONYMOUS, &raw.is_anonymous),
        (Flags::VPN, &raw.is_anonymous_vpn),
        (Flags::VPN, &raw.vpn),
        (Flags::PROXY, &raw.is_public_proxy),
        (Flags::PROXY, &raw.proxy),
        (Flags::RESIDENTIAL_PROXY, &raw.is_residential_proxy),
        (Flags::TOR, &raw.is_tor_exit_node),
        (Flags::TOR, &raw.tor),
        (Flags::RELAY, &raw.relay),
        (Flags::HOSTING, &raw.is_hosting_provider),
        (Flags::HOSTING, &raw.is_hosting),
        (Flags::HOSTING, &raw.hosting),
        (Flags::ANYCAST, &raw.is_anycast),
        (Flags::SATELLITE, &raw.is_satellite_provider),
        (Flags::SATELLITE, &raw.is_satellite),
    ]
    .into_iter()
    .fold(Flags::NONE, set);
    if let Some(traits) = &raw.traits.0 {
        let more = [
            (Flags::ANONYMOUS, &traits.is_anonymous),
            (Flags::VPN, &traits.is_anonymous_vpn),
            (Flags::PROXY, &traits.is_public_proxy),
            (Flags::RESIDENTIAL_PROXY, &traits.is_residential_proxy),
            (Flags::TOR, &traits.is_tor_exit_node),
            (Flags::HOSTING, &traits.is_hosting_provider),
            (Flags::ANYCAST, &traits.is_anycast),
            (Flags::SATELLITE, &traits.is_satellite_provider),
        ];
        flags = more.into_iter().fold(flags, set);
    }
    if let Some(anonymous) = &raw.anonymous.0 {
        let more = [
            (Flags::VPN, &anonymous.is_vpn),
            (Flags::PROXY, &anonymous.is_proxy),
            (Flags::TOR, &anonymous.is_tor),
            (Flags::RELAY, &anonymous.is_relay),
            (Flags::RESIDENTIAL_PROXY, &anonymous.is_res_proxy),
        ];
        flags = more.into_iter().fold(flags, set);
    }
    let flags = flags | words(raw).into_iter().find_map(flag_of).unwrap_or_default();
    let of_traits = raw.traits.0.as_mut().and_then(|traits| traits.connection_type.0.take());
    let mut connections = [raw.connection_type.0.take(), of_traits].into_iter().flatten();
    Traits { flags, connection_type: connections.find_map(|text| tidy(&text)) }
}

/// The words for the kind of network. `type` is IPinfo's only beside an ASN: other files have types of other things.
fn words<'a>(raw: &'a Layout<'_>) -> [Option<&'a str>; 7] {
    let traits = raw.traits.0.as_ref();
    [
        raw.user_type.0.as_deref(),
        traits.and_then(|traits| traits.user_type.0.as_deref()),
        raw.usage_type.0.as_deref(),
        traits.and_then(|traits| traits.usage_type.0.as_deref()),
        raw.company.0.as_ref().and_then(|company| company.kind.0.as_deref()),
        raw.kind.0.as_deref().filter(|_| raw.asn.0.is_some()),
        raw.as_type.0.as_deref(),
    ]
}

/// What a word of MaxMind's and DB-IP's (`user_type`), IPinfo's (`type`) or IP2Location's (`usage_type`) says; of several behind
/// slashes (`ISP/MOB`), all that are known. `None`: no such kind (`router`, `inactive`, `ORG`), or an unknown word.
fn flag_of(words: Option<&str>) -> Option<Flags> {
    const WORDS: [(Flags, &[&str]); 6] = [
        (Flags::HOSTING, &["hosting", "content_delivery_network", "dch", "cdn"]),
        (Flags::EYEBALL, &["residential", "isp", "cellular", "mob", "dialup", "cafe", "traveler"]),
        (Flags::BUSINESS, &["business", "com"]),
        (Flags::EDUCATION, &["education", "college", "school", "library", "edu", "lib"]),
        (Flags::GOVERNMENT, &["government", "military", "gov", "mil"]),
        // Of a browser's or a system's own maker.
        (Flags::RELAY, &["consumer_privacy_network"]),
    ];
    let known = words?.split('/').map(str::trim).filter_map(|word| {
        WORDS.iter().find(|(_, all)| all.iter().any(|one| word.eq_ignore_ascii_case(one))).map(|(flag, _)| *flag)
    });
    known.reduce(|flags, flag| flags | flag)
}

fn set(flags: Flags, (flag, said): (Flags, &Any<Truth>)) -> Flags {
    flags | flag.when(said.0.as_ref().is_some_and(|Truth(said)| *said))
}
