//! What may leave the server: asked of the settings in force right before anything is sent, however long ago it was
//! handed in.

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

/// Who may be asked, about whom. The default is everybody about everything.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// Team Cymru.
    pub cymru: Leave,
    /// GreyNoise.
    pub greynoise: Leave,
    /// Networks whose addresses are told to nobody.
    pub never_ask: Vec<IpNetwork>,
    /// Effective addresses that are told to nobody because of how they were written: as one of
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
