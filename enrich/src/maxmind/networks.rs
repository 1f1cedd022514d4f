//! Every network of a generation, one at a time: a walk that borrows nothing between two steps.
//!
//! The iterator of `maxminddb` borrows its reader, so it cannot be kept while a cursor waits for its next fetch. This
//! state is two addresses. A step asks the reader for the first network of the largest block that begins where the last
//! network ended; what such a block holds is found and passed over exactly as in one iteration over everything,
//! aliases of IPv4 included, because they are told by the node of the tree that they lead to.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use maxminddb::{MaxMindDbError, WithinOptions};
use serde_json::Value;

use super::generation::Generation;
use super::json::Json;

impl Generation {
    /// A walk over every network inside `range` with its record, in address order; over all of them without a range.
    pub fn networks(&self, range: Option<IpNetwork>) -> Networks {
        Networks::new(self.metadata().ip_version, range)
    }
}

/// How far a walk has come. It must be continued on the generation that it was begun on.
#[derive(Clone, Copy, Debug)]
pub struct Networks {
    /// Where the next block begins; `None`: the walk is over.
    next: Option<u128>,
    /// The last address of the range.
    last: u128,
    /// Whether addresses are those of IPv4.
    v4: bool,
}

impl Networks {
    /// Over every network that holds an address of `range`; without a range, over all of them.
    pub(super) fn new(ip_version: u16, range: Option<IpNetwork>) -> Networks {
        match range {
            Some(IpNetwork::V4(v4)) => Networks {
                next: Some(u32::from(v4.network()).into()),
                last: u32::from(v4.broadcast()).into(),
                v4: true,
            },
            // A file of IPv4 only has none of IPv6.
            Some(IpNetwork::V6(_)) if ip_version == 4 => Networks { next: None, last: 0, v4: false },
            Some(IpNetwork::V6(v6)) => {
                Networks { next: Some(v6.network().into()), last: v6.broadcast().into(), v4: false }
            }
            None if ip_version == 4 => Networks { next: Some(0), last: u32::MAX.into(), v4: true },
            None => Networks { next: Some(0), last: u128::MAX, v4: false },
        }
    }

    /// The next network and its record, in address order; `None` at the end. An error ends the walk.
    pub fn next(&mut self, generation: &Generation) -> Option<Result<(IpNetwork, Value), MaxMindDbError>> {
        while let Some(next) = self.next {
            let block = self.block(next)?;
            match self.first(generation, block) {
                Ok(Some((network, record))) => {
                    self.next = self.after(last_of(network, self.v4));
                    return Some(Ok((network, record)));
                }
                Ok(None) => self.next = self.after(last_of(block, self.v4)),
                Err(error) => {
                    self.next = None;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// The first network in a block.
    fn first(&self, generation: &Generation, block: IpNetwork) -> Result<Option<(IpNetwork, Value)>, MaxMindDbError> {
        let mut within = generation.reader().within(block, WithinOptions::default())?;
        let Some(found) = within.next().transpose()? else { return Ok(None) };
        let record = found.decode::<Json>()?.map_or(Value::Null, |Json(record)| record);
        Ok(Some((found.network()?, record)))
    }

    /// The largest block that begins at `next` and ends inside the range.
    fn block(&self, next: u128) -> Option<IpNetwork> {
        let bits: u8 = if self.v4 { 32 } else { 128 };
        let fits = (self.last - next).checked_add(1).map_or(128, u128::ilog2);
        let free = next.trailing_zeros().min(fits).min(bits.into());
        let prefix = bits - u8::try_from(free).ok()?;
        let block = if self.v4 {
            let address = Ipv4Addr::from(u32::try_from(next).ok()?);
            IpNetwork::V4(Ipv4Network::new(address, prefix).ok()?)
        } else {
            IpNetwork::V6(Ipv6Network::new(Ipv6Addr::from(next), prefix).ok()?)
        };
        Some(block)
    }

    /// Where it goes on behind an address; `None` behind the end of the range.
    fn after(&self, address: Option<u128>) -> Option<u128> {
        address?.checked_add(1).filter(|next| *next <= self.last)
    }
}

/// The last address of a network, counted as the walk counts. A tree without a subtree for IPv4 answers a walk over
/// IPv4 with one network of IPv6 that holds all of it: `None`, nothing follows.
fn last_of(network: IpNetwork, v4: bool) -> Option<u128> {
    match (network, v4) {
        (IpNetwork::V4(network), _) => Some(u32::from(network.broadcast()).into()),
        (IpNetwork::V6(network), false) => Some(network.broadcast().into()),
        (IpNetwork::V6(_), true) => None,
    }
}
