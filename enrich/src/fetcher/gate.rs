//! The rules for sending: the settings in force are checked right before a question is sent, even if it was submitted
//! long ago.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// Whether a source may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leave {
    /// It may.
    #[default]
    Yes,
    /// Not yet: it is about to turn out, with the next configuration.
    Wait,
    /// It may not.
    No,
}

/// The allowed sources and addresses. The default is all.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// Team Cymru.
    pub cymru: Leave,
    /// GreyNoise.
    pub greynoise: Leave,
    /// Networks whose addresses are never sent to a source.
    pub never_ask: Vec<IpNetwork>,
    /// Effective addresses that must not be sent because of their original form: as one of
    /// [`never_ask`](Gate::never_ask).
    pub hidden: HashSet<IpAddr>,
}

impl Gate {
    /// Whether Team Cymru may be told an effective address.
    pub fn cymru(&self, ip: IpAddr) -> Leave {
        self.unless_secret(self.cymru, ip)
    }

    /// Whether GreyNoise may be told an effective address.
    pub fn greynoise(&self, ip: IpAddr) -> Leave {
        self.unless_secret(self.greynoise, ip)
    }

    fn unless_secret(&self, leave: Leave, ip: IpAddr) -> Leave {
        let secret = self.hidden.contains(&ip) || self.never_ask.iter().any(|network| network.contains(ip));
        if secret { Leave::No } else { leave }
    }
}
