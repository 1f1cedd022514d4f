//! Names of autonomous systems. An answer over DNS has none: it waits here until the AS itself was asked about, so that
//! its row is written once. A bulk answer has a name; its registration is asked about later, when no other question is
//! open. A name is asked for again when it is as old as an answer may become; until the new one is there, it serves.

mod numbers;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use self::numbers::Numbers;
use crate::cymru::AsName;
use crate::cymru::answer::{Answer, StoredName};
use crate::failure::Failure;
use crate::fetcher::Request;

/// Names that are kept in memory; beyond, all are forgotten and read again from the table.
const KEPT: usize = 100_000;
/// How long they are kept: the table knows which of them are too old.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// Questions about AS in flight.
const IN_FLIGHT: usize = 32;

/// Names that are known, and answers that wait for one.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<u32, Option<String>>,
    /// Names that are too old, for as long as there are no newer ones.
    old: HashMap<u32, String>,
    /// When all were forgotten for the last time.
    forgotten: Duration,
    waiting: HashMap<u32, Vec<(IpAddr, Answer)>>,
    /// To be asked about: with answers waiting, and without.
    wanted: Numbers,
    details: Numbers,
    /// Of those with answers waiting: looked for in the table, which may have a name that serves if asking fails.
    checked: HashSet<u32>,
    /// Named by a bulk answer; the table may have the rest.
    unchecked: Numbers,
    asked: HashSet<u32>,
    /// To be written down.
    pub learned: Vec<AsName>,
}

impl Names {
    /// Gives an answer its name. `None`: it waits for one.
    pub fn complete(&mut self, ip: IpAddr, mut answer: Answer) -> Option<(IpAddr, Answer)> {
        let Some(asn) = answer.asn.filter(|_| answer.org.is_none()) else { return Some((ip, answer)) };
        if let Some(name) = self.known.get(&asn) {
            answer.org = name.clone();
            return Some((ip, answer));
        }
        self.waiting.entry(asn).or_default().push((ip, answer));
        if !self.asked.contains(&asn) {
            self.wanted.push(asn);
        }
        None
    }

    /// Forgets names that have been in memory for a while.
    pub fn age(&mut self, now: Duration) {
        if now.saturating_sub(self.forgotten) >= FORGOTTEN_AFTER {
            self.forgotten = now;
            self.known.clear();
            // Those of answers that wait are still needed.
            self.old.retain(|asn, _| self.waiting.contains_key(asn));
        }
    }

    /// AS that the table may know, and was not asked about yet: those with answers waiting, and those named by a bulk answer.
    pub fn unknown(&self) -> impl Iterator<Item = u32> {
        self.wanted.iter().filter(|asn| !self.checked.contains(asn)).chain(self.unchecked.iter())
    }

    /// The names that the table has of the AS it was asked about; returns the answers that waited for them.
    pub fn found(&mut self, asked: &[u32], stored: Vec<StoredName>) -> Vec<(IpAddr, Answer)> {
        let mut ready = Vec::new();
        for StoredName { asn, name, is_fresh } in stored {
            if !is_fresh {
                self.old.extend(name.map(|name| (asn, name)));
                continue;
            }
            self.details.remove(asn);
            // The name of a bulk answer is newer.
            if !self.unchecked.remove(asn) {
                self.wanted.remove(asn);
                ready.extend(self.learn(asn, name));
            }
        }
        // Others may have come since it was asked.
        for asn in asked {
            if self.wanted.contains(*asn) {
                self.checked.insert(*asn);
            }
            if self.unchecked.remove(*asn) {
                self.details.push(*asn);
            }
        }
        ready
    }

    /// A name that came with an answer of a bulk session. Gives back the answers that waited for it.
    pub fn came_along(&mut self, asn: u32, name: &str) -> Vec<(IpAddr, Answer)> {
        match self.known.get(&asn) {
            Some(known) if known.as_deref() == Some(name) => return Vec::new(),
            Some(_) => {}
            None => self.unchecked.push(asn),
        }
        self.wanted.remove(asn);
        self.learn(asn, Some(name.to_owned()))
    }

    /// Team Cymru's answer about an AS. Returns the answers that waited: without a name, if there is none.
    pub fn outcome(&mut self, asn: u32, result: Result<Option<AsName>, Failure>) -> Vec<(IpAddr, Answer)> {
        self.asked.remove(&asn);
        let unnamed = AsName { asn, country: None, registry: None, allocated: None, name: None };
        match result {
            Ok(about) => {
                let about = about.unwrap_or(unnamed);
                let known = || self.known.get(&asn).cloned().flatten().or_else(|| self.old.get(&asn).cloned());
                let name = about.name.clone().or_else(known);
                self.learned.push(about);
                self.wanted.remove(asn);
                self.details.remove(asn);
                self.unchecked.remove(asn);
                self.learn(asn, name)
            }
            // Never sent; or asked again with the next address of this AS: its ASN is not held back for the name.
            Err(_) => self.give_back(asn),
        }
    }

    /// The next questions, at most this many.
    pub fn ask(&mut self, most: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        while self.asked.len() < IN_FLIGHT && requests.len() < most {
            let Some(asn) = self.next() else { break };
            if self.asked.insert(asn) {
                requests.push(Request::AsName(asn));
            }
        }
        requests
    }

    fn next(&mut self) -> Option<u32> {
        let Some(asn) = self.wanted.iter().find(|asn| self.checked.contains(asn)) else { return self.details.pop() };
        self.wanted.remove(asn);
        self.details.remove(asn);
        Some(asn)
    }

    /// A question that was never sent.
    pub fn lose(&mut self, asn: u32) {
        if self.asked.remove(&asn) {
            self.wanted.push(asn);
        }
    }

    /// No more questions are asked: returns the waiting answers as they are.
    pub fn forget(&mut self) -> Vec<(IpAddr, Answer)> {
        self.checked.extend(self.wanted.iter());
        let ready = self.release();
        self.wanted.clear();
        self.details.clear();
        self.unchecked.clear();
        ready
    }

    /// No question can be asked now: returns the waiting answers as they are, with a name that is too old if the table has
    /// one. Names are asked about later.
    pub fn release(&mut self) -> Vec<(IpAddr, Answer)> {
        let wanted: Vec<u32> = self.wanted.iter().collect();
        self.wanted.clear();
        for asn in wanted {
            // What was not looked for yet is, in the next turn.
            (if self.checked.contains(&asn) { &mut self.details } else { &mut self.wanted }).push(asn);
        }
        let waiting: Vec<u32> = self.waiting.keys().copied().filter(|asn| !self.wanted.contains(*asn)).collect();
        waiting.into_iter().flat_map(|asn| self.give_back(asn)).collect()
    }

    /// Whether there is anything to ask.
    pub fn wants(&self) -> bool {
        !self.details.is_empty() || self.wanted.iter().any(|asn| self.checked.contains(&asn))
    }

    /// How many questions are in flight.
    pub fn in_flight(&self) -> usize {
        self.asked.len()
    }

    /// Whether an answer waits for a name.
    pub fn holds_answers(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn learn(&mut self, asn: u32, name: Option<String>) -> Vec<(IpAddr, Answer)> {
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        self.known.insert(asn, name.clone());
        self.old.remove(&asn);
        self.named(asn, name)
    }

    /// The answers that wait for an AS whose name does not come: an older one serves.
    fn give_back(&mut self, asn: u32) -> Vec<(IpAddr, Answer)> {
        let name = self.old.get(&asn).cloned();
        self.named(asn, name)
    }

    fn named(&mut self, asn: u32, name: Option<String>) -> Vec<(IpAddr, Answer)> {
        self.checked.remove(&asn);
        let mut ready = self.waiting.remove(&asn).unwrap_or_default();
        for (_, answer) in &mut ready {
            answer.org = name.clone();
        }
        ready
    }
}
