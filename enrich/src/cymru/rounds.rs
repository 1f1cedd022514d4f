//! Which addresses to ask about now, so that few answers settle many addresses.
//!
//! The prefix of an answer says which route covers the address that was asked. Another address inside it may have its
//! own longer route, with another origin: half of all routes are /24s, many of them inside others. So an answer counts
//! only for the asked address's own /24 (IPv6: /48), the longest routes that are accepted widely. If the prefix is
//! longer than that, it counts only for the prefix, and the rest of the group is asked in narrower ones.
//!
//! | | widest | | | narrowest |
//! |---|---|---|---|---|
//! | IPv4 | /24 | /26 | /28 | single |
//! | IPv6 | /48 | /56 | /64 | single |
//!
//! An address is asked about at most once: each result (an answer, or a failure) takes it out of the set.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;

use super::{Announcement, Origin};

#[cfg(test)]
mod tests;

/// Lengths of the groups, widest first.
const LEVELS_V4: [u8; 4] = [24, 26, 28, 32];
/// As [`LEVELS_V4`].
const LEVELS_V6: [u8; 4] = [48, 56, 64, 128];

/// The addresses for which an answer about `ip` counts. `announced` is the longest prefix around `ip` that it names;
/// `None`: `ip` is not announced.
pub fn scope(announced: Option<IpNetwork>, ip: IpAddr) -> IpNetwork {
    let widest = block(ip, levels(ip)[0]);
    announced.filter(|prefix| prefix.prefix() > widest.prefix()).unwrap_or(widest)
}

/// A group: all addresses of one block. `level` counts from the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Group {
    first: IpAddr,
    level: u8,
}

impl Group {
    fn around(ip: IpAddr, level: usize) -> Group {
        Group { first: block(ip, levels(ip)[level]).ip(), level: level as u8 }
    }

    fn range(self) -> RangeInclusive<IpAddr> {
        range(block(self.first, levels(self.first)[usize::from(self.level)]))
    }
}

/// How a group stands.
#[derive(Debug)]
enum State {
    /// To be asked about, by its most observed address.
    Ready { count: u64, ip: IpAddr },
    /// A question is out.
    Asked,
    /// An answer settled only a part: its narrower groups are asked.
    Split,
}

/// The addresses that still need an answer. Holds no clock and no socket.
#[derive(Debug, Default)]
pub struct Rounds {
    /// With how often each was observed.
    pending: BTreeMap<IpAddr, u64>,
    groups: HashMap<Group, State>,
    /// Ready groups, those with the most observed addresses on top. May hold entries that are no longer true:
    /// `groups` and `pending` decide.
    ready: BinaryHeap<(u64, Reverse<IpAddr>, Group)>,
    /// Addresses that a question is out for, and the groups they stand for.
    asked: HashMap<IpAddr, Group>,
}

impl Rounds {
    /// Starts with `addresses` and how often each was observed.
    pub fn new(addresses: impl IntoIterator<Item = (IpAddr, u64)>) -> Rounds {
        let mut rounds = Rounds::default();
        rounds.add(addresses);
        rounds
    }

    /// Adds more addresses. One that is in already changes nothing.
    pub fn add(&mut self, addresses: impl IntoIterator<Item = (IpAddr, u64)>) {
        for (ip, count) in addresses {
            if self.pending.contains_key(&ip) {
                continue;
            }
            self.pending.insert(ip, count);
            // Another answer may have settled it while its own question is out: that one will answer.
            if !self.asked.contains_key(&ip) {
                self.place(ip, count, 0);
            }
        }
    }

    /// Up to `max` addresses to ask about now, one a group that no question is out for, most observed first.
    /// Each has to come back, to [`answer`](Rounds::answer) or to [`fail`](Rounds::fail).
    pub fn next(&mut self, max: usize) -> Vec<IpAddr> {
        let mut now = Vec::new();
        while now.len() < max {
            let Some((count, Reverse(ip), group)) = self.ready.pop() else { break };
            match self.groups.get(&group) {
                Some(State::Ready { count: c, ip: i }) if (*c, *i) == (count, ip) => (),
                _ => continue,
            }
            if self.pending.contains_key(&ip) {
                self.groups.insert(group, State::Asked);
                self.asked.insert(ip, group);
                now.push(ip);
            } else {
                // Settled by the answer to another group's question: another address stands for this one.
                self.elect(group);
            }
        }
        now
    }

    /// Takes in the answer about `ip`, and gives back every address that it settles, in order, each with the
    /// longest announcement; `None`: not announced. They are out of the set from now on.
    ///
    /// An answer without a question counts as well.
    pub fn answer<'o>(&mut self, ip: IpAddr, origin: &'o Origin) -> Vec<(IpAddr, Option<&'o Announcement>)> {
        let longest = origin.longest();
        // An address asked about is settled even by a prefix that is not around it.
        let asked = self.pending.remove(&ip).map(|_| ip);
        let mut settled = self.take(scope(longest.map(|known| known.prefix), ip));
        settled.extend(asked);
        settled.sort_unstable();
        if let Some(group) = self.asked.remove(&ip) {
            self.split(group);
        }
        self.forget_if_empty();
        settled.into_iter().map(|inside| (inside, longest)).collect()
    }

    /// Takes `ip`, and only it, out of the set: there was no answer. Another address of its group may be asked
    /// about next.
    pub fn fail(&mut self, ip: IpAddr) {
        self.pending.remove(&ip);
        if let Some(group) = self.asked.remove(&ip) {
            self.elect(group);
        }
        self.forget_if_empty();
    }

    /// Takes out those that `unwanted` names and no question is out for, and gives them back, in order.
    pub fn remove(&mut self, mut unwanted: impl FnMut(IpAddr) -> bool) -> Vec<IpAddr> {
        let asked = &self.asked;
        let gone = self.pending.extract_if(.., |ip, _| !asked.contains_key(ip) && unwanted(*ip));
        let gone: Vec<IpAddr> = gone.map(|(ip, _)| ip).collect();
        // A group whose address is gone elects another one when its turn comes.
        self.forget_if_empty();
        gone
    }

    /// How many addresses have no answer yet, those that questions are out for included.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether no address is left.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether `ip` still needs an answer.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.pending.contains_key(&ip)
    }

    /// How many questions are out.
    pub fn outstanding(&self) -> usize {
        self.asked.len()
    }

    /// Gives up: all addresses that are left, in order. Answers that still come settle nothing.
    pub fn drain(&mut self) -> Vec<IpAddr> {
        std::mem::take(self).pending.into_keys().collect()
    }

    /// Puts a pending address into the widest group around it that was not split, from `level` on.
    fn place(&mut self, ip: IpAddr, count: u64, level: usize) {
        for level in level..levels(ip).len() {
            let group = Group::around(ip, level);
            match self.groups.entry(group) {
                Entry::Occupied(entry) => match entry.into_mut() {
                    State::Split => continue,
                    State::Asked => return,
                    State::Ready { count: c, ip: i } => {
                        if (*c, Reverse(*i)) >= (count, Reverse(ip)) {
                            return;
                        }
                        (*c, *i) = (count, ip);
                    }
                },
                Entry::Vacant(entry) => {
                    entry.insert(State::Ready { count, ip });
                }
            }
            self.ready.push((count, Reverse(ip), group));
            return;
        }
    }

    /// Finds the address that stands for a group from now on.
    fn elect(&mut self, group: Group) {
        let best = self.pending.range(group.range()).map(|(ip, count)| (*count, Reverse(*ip))).max();
        match best {
            Some((count, Reverse(ip))) => {
                self.groups.insert(group, State::Ready { count, ip });
                self.ready.push((count, Reverse(ip), group));
            }
            None => {
                self.groups.remove(&group);
            }
        }
    }

    /// The rest of an answer's group goes into narrower ones.
    fn split(&mut self, group: Group) {
        let left: Vec<_> = self.pending.range(group.range()).map(|(ip, count)| (*ip, *count)).collect();
        if left.is_empty() {
            self.groups.remove(&group);
            return;
        }
        self.groups.insert(group, State::Split);
        for (ip, count) in left {
            self.place(ip, count, usize::from(group.level) + 1);
        }
    }

    /// Takes all pending addresses of a block out.
    fn take(&mut self, block: IpNetwork) -> Vec<IpAddr> {
        self.pending.extract_if(range(block), |_, _| true).map(|(ip, _)| ip).collect()
    }

    /// Which groups were split is worth nothing once they are empty, and would grow for ever.
    fn forget_if_empty(&mut self) {
        if self.pending.is_empty() && self.asked.is_empty() {
            self.groups.clear();
            self.ready.clear();
        }
    }
}

const fn levels(ip: IpAddr) -> &'static [u8; 4] {
    if ip.is_ipv4() { &LEVELS_V4 } else { &LEVELS_V6 }
}

/// The block of `length` bits around `ip`; a length beyond the family's means `ip` itself.
fn block(ip: IpAddr, length: u8) -> IpNetwork {
    let first = match ip {
        IpAddr::V4(v4) => {
            let host_bits = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !host_bits))
        }
        IpAddr::V6(v6) => {
            let host_bits = u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !host_bits))
        }
    };
    IpNetwork::new(first, length).unwrap_or(IpNetwork::from(ip))
}

fn range(block: IpNetwork) -> RangeInclusive<IpAddr> {
    block.network()..=block.broadcast()
}
