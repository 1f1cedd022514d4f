//! What came of a reply, until it ended.

use std::collections::HashMap;
use std::net::IpAddr;

use super::lines::Lines;
use crate::cymru::Origin;
use crate::cymru::grammar::{self, Tally};

/// How a line begins by which the service passes over a line of the question.
const PASSED_OVER: &[u8] = b"Error";

/// The rows that came, by address.
pub struct Received {
    tallies: HashMap<IpAddr, Tally>,
    lines: Lines,
    /// The address of the last row: more rows of it may have been on their way.
    last: Option<IpAddr>,
    /// How many lines of the question the service passed over, by its own word.
    passed_over: usize,
}

impl Received {
    /// Nothing yet of these addresses.
    pub fn about(asked: &[IpAddr]) -> Received {
        Received {
            tallies: asked.iter().map(|ip| (*ip, Tally::new(*ip))).collect(),
            lines: Lines::default(),
            last: None,
            passed_over: 0,
        }
    }

    /// Takes received bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        let Received { tallies, lines, last, passed_over } = self;
        lines.feed(bytes, |line| {
            *passed_over += usize::from(line.starts_with(PASSED_OVER));
            grammar::bulk_line(line, |ip| {
                let tally = tallies.get_mut(&ip);
                if tally.is_some() {
                    *last = Some(ip);
                }
                tally
            });
        });
    }

    /// Whether the last line that came was complete.
    pub fn is_between(&self) -> bool {
        self.lines.is_between()
    }

    /// Leaves out those that were not sent.
    pub fn leave_out(&mut self, withheld: &[IpAddr]) {
        withheld.iter().for_each(|ip| drop(self.tallies.remove(ip)));
    }

    /// Whether every address has a row, but for those that the service passed over.
    pub fn is_whole(&self) -> bool {
        self.tallies.values().filter(|tally| !tally.is_answered()).count() <= self.passed_over
    }

    /// The reply may have ended too early: takes out the address whose rows may not all have come, with what they say. If a
    /// row of another one had begun, they have.
    pub fn take_last(&mut self) -> Option<(IpAddr, Origin)> {
        let last = self.last.take()?;
        let rest = String::from_utf8_lossy(self.lines.rest());
        let mut fields = rest.split('|').skip(1);
        // Only with a `|` behind it is it a whole address.
        let next: Option<IpAddr> = match (fields.next(), fields.next()) {
            (Some(address), Some(_)) => address.trim().parse().ok(),
            _ => None,
        };
        if next.is_some_and(|next| next != last) {
            return None;
        }
        Some((last, self.tallies.remove(&last)?.origin()?))
    }

    /// The answers, in the order asked, each once.
    pub fn answers(mut self, asked: &[IpAddr]) -> Vec<(IpAddr, Origin)> {
        // Removed, so that an address asked about twice is answered once.
        asked.iter().filter_map(|ip| Some((*ip, self.tallies.remove(ip)?.origin()?))).collect()
    }
}
