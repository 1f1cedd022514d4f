//! Names of autonomous systems. An answer over DNS has none: it waits here until the AS itself was asked about, so that
//! its row is written once. A bulk answer has a name; its registration is asked about later, when no other question is
//! open.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use crate::cymru::AsName;
use crate::failure::Failure;
use crate::fetcher::Request;

use crate::cymru::answer::Answer;

/// Names that are kept in memory; beyond, all are forgotten and read again from the table.
const KEPT: usize = 100_000;
/// Questions about AS in flight.
const IN_FLIGHT: usize = 32;

/// Names that are known, and answers that wait for one.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<u32, Option<String>>,
    waiting: HashMap<u32, Vec<(IpAddr, Answer)>>,
    /// To be asked about: with answers waiting, and without.
    wanted: VecDeque<u32>,
    details: VecDeque<u32>,
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
        if !self.asked.contains(&asn) && !self.wanted.contains(&asn) {
            self.wanted.push_back(asn);
        }
        None
    }

    /// AS with answers waiting that the table may know.
    pub fn unknown(&self) -> Vec<u32> {
        self.wanted.iter().copied().collect()
    }

    /// The names in the table; returns the answers that waited for them.
    pub fn found(&mut self, names: Vec<(u32, Option<String>)>) -> Vec<(IpAddr, Answer)> {
        let mut ready = Vec::new();
        for (asn, name) in names {
            self.wanted.retain(|wanted| *wanted != asn);
            ready.extend(self.learn(asn, name));
        }
        ready
    }

    /// A name that came with an answer of a bulk session. Gives back the answers that waited for it.
    pub fn came_along(&mut self, asn: u32, name: &str) -> Vec<(IpAddr, Answer)> {
        if self.known.contains_key(&asn) {
            return Vec::new();
        }
        self.details.push_back(asn);
        self.learn(asn, Some(name.to_owned()))
    }

    /// Team Cymru's answer about an AS. Returns the answers that waited: without a name, if there is none.
    pub fn outcome(&mut self, asn: u32, result: Result<Option<AsName>, Failure>) -> Vec<(IpAddr, Answer)> {
        self.asked.remove(&asn);
        let unnamed = AsName { asn, country: None, registry: None, allocated: None, name: None };
        match result {
            Ok(about) => {
                let about = about.unwrap_or(unnamed);
                let name = about.name.clone().or_else(|| self.known.get(&asn).cloned().flatten());
                self.learned.push(about);
                self.learn(asn, name)
            }
            // Never sent.
            Err(failure) if failure.is_withheld() => self.waiting.remove(&asn).unwrap_or_default(),
            // Asked again with the next address of this AS; its ASN is not held back for the name.
            Err(_) => self.waiting.remove(&asn).unwrap_or_default(),
        }
    }

    /// The next questions, at most this many.
    pub fn ask(&mut self, most: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        while self.asked.len() < IN_FLIGHT && requests.len() < most {
            let Some(asn) = self.wanted.pop_front().or_else(|| self.details.pop_front()) else { break };
            if self.asked.insert(asn) {
                requests.push(Request::AsName(asn));
            }
        }
        requests
    }

    /// A question that was never sent.
    pub fn lose(&mut self, asn: u32) {
        if self.asked.remove(&asn) {
            self.wanted.push_back(asn);
        }
    }

    /// No more questions are asked.
    pub fn forget(&mut self) {
        self.wanted.clear();
        self.details.clear();
    }

    /// No question can be asked now: returns the waiting answers as they are. Names are asked about later.
    pub fn release(&mut self) -> Vec<(IpAddr, Answer)> {
        self.details.extend(self.wanted.drain(..));
        self.waiting.drain().flat_map(|(_, answers)| answers).collect()
    }

    /// Whether there is anything to ask.
    pub fn wants(&self) -> bool {
        !(self.wanted.is_empty() && self.details.is_empty())
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
        let mut ready = self.waiting.remove(&asn).unwrap_or_default();
        for (_, answer) in &mut ready {
            answer.org = name.clone();
        }
        ready
    }
}
