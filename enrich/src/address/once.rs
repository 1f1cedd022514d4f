//! The addresses of one value, each counted once: a list and a free text repeat theirs.

use std::collections::HashSet;
use std::net::IpAddr;

/// Distinct addresses of one value that are read. An attacker chooses what a command holds: a row must not become a
/// hundred thousand.
pub const MOST_ADDRESSES: usize = 1_000;

/// Up to here a look at each is quicker than a hash.
const FEW: usize = 16;

/// The addresses of one value that were seen so far.
#[derive(Default)]
pub struct Once {
    few: Vec<IpAddr>,
    /// All of them, once they are more than a few.
    many: HashSet<IpAddr>,
}

impl Once {
    /// Whether an address is the first of its kind; `None` when there were [`MOST_ADDRESSES`] others.
    pub fn is_first(&mut self, ip: IpAddr) -> Option<bool> {
        if self.many.is_empty() {
            if self.few.contains(&ip) {
                return Some(false);
            }
            if self.few.len() < FEW {
                self.few.push(ip);
                return Some(true);
            }
            self.many.extend(self.few.drain(..));
        }
        if self.many.contains(&ip) {
            return Some(false);
        }
        (self.many.len() < MOST_ADDRESSES).then(|| self.many.insert(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_first_once_and_there_are_not_too_many() {
        let mut once = Once::default();
        for round in 0..2 {
            for n in 0..MOST_ADDRESSES as u32 {
                assert_eq!(once.is_first(IpAddr::V4(n.into())), Some(round == 0), "{n}");
            }
        }
        assert_eq!(once.is_first(IpAddr::V4((MOST_ADDRESSES as u32).into())), None);
    }
}
