//! Flags and the kind of connection, from wherever vendors keep them.

use super::flags::Flags;
use super::layout::Layout;
use super::shape::{Any, Truth};
use super::{Traits, tidy};

/// Reads them, and leaves the rest of the record. A flag is set where any of its paths says so.
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
    let of_traits = raw.traits.0.as_mut().and_then(|traits| traits.connection_type.0.take());
    let mut connections = [raw.connection_type.0.take(), of_traits].into_iter().flatten();
    Traits { flags, connection_type: connections.find_map(|text| tidy(&text)) }
}

fn set(flags: Flags, (flag, said): (Flags, &Any<Truth>)) -> Flags {
    flags | flag.when(said.0.as_ref().is_some_and(|Truth(said)| *said))
}
