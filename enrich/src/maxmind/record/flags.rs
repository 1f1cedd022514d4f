//! What a file says of an address as such: a set of flags, named as in SQL.

use std::ops::BitOr;

/// A set of flags. A file gives those that are true; of the others nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u16);

/// In the order in which they are shown.
const NAMES: [(Flags, &str); 13] = [
    (Flags::ANONYMOUS, "anonymous"),
    (Flags::VPN, "vpn"),
    (Flags::PROXY, "proxy"),
    (Flags::RESIDENTIAL_PROXY, "residential_proxy"),
    (Flags::TOR, "tor"),
    (Flags::RELAY, "relay"),
    (Flags::HOSTING, "hosting"),
    (Flags::ANYCAST, "anycast"),
    (Flags::SATELLITE, "satellite"),
    (Flags::EYEBALL, "eyeball"),
    (Flags::BUSINESS, "business"),
    (Flags::EDUCATION, "education"),
    (Flags::GOVERNMENT, "government"),
];

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// Of some anonymous network.
    pub const ANONYMOUS: Flags = Flags(1);
    /// An exit of a VPN.
    pub const VPN: Flags = Flags(1 << 1);
    /// An open proxy.
    pub const PROXY: Flags = Flags(1 << 2);
    /// A proxy in a home's network.
    pub const RESIDENTIAL_PROXY: Flags = Flags(1 << 3);
    /// An exit of Tor.
    pub const TOR: Flags = Flags(1 << 4);
    /// A relay of a private browsing service.
    pub const RELAY: Flags = Flags(1 << 5);
    /// Of a hosting provider.
    pub const HOSTING: Flags = Flags(1 << 6);
    /// Announced from many places.
    pub const ANYCAST: Flags = Flags(1 << 7);
    /// Of a satellite provider.
    pub const SATELLITE: Flags = Flags(1 << 8);
    /// Of a network that people read from: at home, on the way, by a mobile phone.
    pub const EYEBALL: Flags = Flags(1 << 9);
    /// Of a company's network.
    pub const BUSINESS: Flags = Flags(1 << 10);
    /// Of a school, a university or a library.
    pub const EDUCATION: Flags = Flags(1 << 11);
    /// Of a government's or an army's network.
    pub const GOVERNMENT: Flags = Flags(1 << 12);
    /// As many sets as there can be.
    pub const SETS: usize = 1 << NAMES.len();

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        NAMES.into_iter().filter(move |(flag, _)| self.0 & flag.0 != 0).map(|(_, name)| name)
    }

    /// Every flag.
    pub fn all() -> Flags {
        Flags(Flags::SETS as u16 - 1)
    }

    /// The flag of that name, in upper or lower case.
    pub fn named(name: &str) -> Option<Flags> {
        NAMES.into_iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(flag, _)| flag)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These where `there`, else none.
    #[must_use]
    pub fn when(self, there: bool) -> Flags {
        if there { self } else { Flags::NONE }
    }

    /// As an index keeps them; below [`Flags::SETS`].
    pub fn bits(self) -> u16 {
        self.0
    }

    /// Of what an index keeps; unknown ones are left out.
    pub(crate) fn of_bits(bits: u16) -> Flags {
        Flags(bits & Flags::all().0)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_shown_in_one_order() {
        let set = Flags::TOR | Flags::ANONYMOUS;
        assert_eq!(set.names().collect::<Vec<_>>(), ["anonymous", "tor"]);
        assert_eq!(Flags::of_bits(u16::MAX).names().count(), NAMES.len());
        assert_eq!(Flags::of_bits(set.bits()), set);
        assert!(Flags::all().names().all(|name| Flags::named(name).is_some_and(|flag| flag.names().eq([name]))));
        assert_eq!(Flags::named("cloud"), None);
        assert!(Flags::NONE.is_empty() && Flags::NONE.names().next().is_none());
    }
}
