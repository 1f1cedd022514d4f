//! The jobs and sessions that wait for addresses. An address is settled once each source that was asked about it has
//! answered or failed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use super::ticket::Ticket;
use crate::source::{Source, SourceSet};

#[cfg(test)]
mod tests;

/// The result of one address at one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It knows the address: for Team Cymru an ASN, for GreyNoise (`true`) a scanner.
    Found(bool),
    /// It does not know it.
    NotFound,
    /// It was not asked: switched off, told not to, out of quota.
    Skipped,
    /// It could not be asked, or its answer not be written.
    Failed,
}

/// The results of a job's addresses, in the words of `enrichment_summary`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Addresses settled.
    pub processed: u64,
    /// Of these, known to a source.
    pub enriched: u64,
    /// ASN from Team Cymru.
    pub cymru_asn: u64,
    /// Scanners.
    pub scanners: u64,
    /// Known to none.
    pub not_found: u64,
    /// Not asked.
    pub skipped: u64,
    /// Failed.
    pub errors: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    sources: SourceSet,
    ends: Vec<(Source, End)>,
    /// So many claims are out that will say which sources are asked.
    claims: u32,
    questions: Vec<Ticket>,
    jobs: Vec<usize>,
    /// Answers from before, each for one of the jobs.
    noted: Vec<(usize, Source, End)>,
}

impl Waiting {
    /// A job no longer waits. False: it did not.
    fn leave(&mut self, job: usize) -> bool {
        let before = self.jobs.len();
        self.jobs.retain(|of| *of != job);
        self.noted.retain(|(of, ..)| *of != job);
        self.jobs.len() < before
    }

    fn is_over(&self) -> bool {
        self.jobs.is_empty() && self.questions.is_empty()
    }
}

#[derive(Debug, Default)]
struct Job {
    left: u64,
    progress: Progress,
}

/// The waiters of each address.
#[derive(Debug, Default)]
pub struct Interests {
    addresses: HashMap<IpAddr, Waiting>,
    jobs: HashMap<usize, Job>,
    answered: Vec<Ticket>,
}

impl Interests {
    /// A session waits for an address.
    pub fn add_question(&mut self, ip: IpAddr, question: Ticket) {
        self.addresses.entry(ip).or_default().questions.push(question);
    }

    /// A claim is made for sessions that wait for an address: before it returns, it is unknown whether a source is
    /// asked.
    pub fn await_claim(&mut self, ip: IpAddr) {
        if let Some(waiting) = self.addresses.get_mut(&ip) {
            waiting.claims += 1;
        }
    }

    /// It has come back.
    pub fn claimed(&mut self, ip: IpAddr) {
        if let Some(waiting) = self.addresses.get_mut(&ip) {
            waiting.claims = waiting.claims.saturating_sub(1);
        }
        self.settle_if_nothing_is_due(ip);
    }

    /// A job begins.
    pub fn add_job(&mut self, job: usize) {
        self.jobs.insert(job, Job::default());
    }

    /// A job is over, or was cancelled.
    pub fn remove_job(&mut self, job: usize) {
        self.jobs.remove(&job);
        self.addresses.retain(|_, waiting| {
            waiting.leave(job);
            !waiting.is_over()
        });
    }

    /// A job no longer waits for these addresses, and goes on: it will name them again. An address that settled before it
    /// was known which sources are asked would count twice.
    pub fn take_back(&mut self, job: usize, ips: &[IpAddr]) {
        for ip in ips {
            let Entry::Occupied(mut address) = self.addresses.entry(*ip) else { continue };
            if !address.get_mut().leave(job) {
                continue;
            }
            if address.get().is_over() {
                address.remove();
            }
            if let Some(job) = self.jobs.get_mut(&job) {
                job.left = job.left.saturating_sub(1);
            }
        }
    }

    /// A source has answered before it was asked for this job: the answer counts with those that are still to come.
    pub fn note_answer(&mut self, job: usize, ip: IpAddr, source: Source, end: End) {
        if let Some(waiting) = self.addresses.get_mut(&ip).filter(|waiting| waiting.jobs.contains(&job)) {
            waiting.noted.push((job, source, end));
        }
    }

    /// Addresses of a job that are not settled.
    pub fn of_job(&self, job: usize) -> u64 {
        self.jobs.get(&job).map_or(0, |job| job.left)
    }

    /// A source is being asked about an address, for a job or because a session waits for it.
    pub fn expect(&mut self, ip: IpAddr, source: Source, job: Option<usize>) {
        // A job that has ended meanwhile waits for nothing.
        let job = job.filter(|job| self.jobs.contains_key(job));
        let waiting = match job {
            Some(_) => self.addresses.entry(ip).or_default(),
            None => match self.addresses.get_mut(&ip) {
                Some(waiting) => waiting,
                None => return,
            },
        };
        waiting.sources.insert(source);
        if let Some(job) = job.filter(|job| !waiting.jobs.contains(job)) {
            waiting.jobs.push(job);
            if let Some(job) = self.jobs.get_mut(&job) {
                job.left += 1;
            }
        }
    }

    /// Whether a job waits for an address.
    pub fn job_waits_for(&self, job: usize, ip: IpAddr) -> bool {
        self.addresses.get(&ip).is_some_and(|waiting| waiting.jobs.contains(&job))
    }

    /// Whether a session or job waits for an address.
    pub fn waits_for(&self, ip: IpAddr) -> bool {
        self.addresses.contains_key(&ip)
    }

    /// Whether there are no waiters.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// A source has said something about an address, and it is written.
    pub fn settle(&mut self, ip: IpAddr, source: Source, end: End) {
        let Some(waiting) = self.addresses.get_mut(&ip) else { return };
        if !waiting.sources.remove(source) {
            return;
        }
        waiting.ends.push((source, end));
        self.settle_if_nothing_is_due(ip);
    }

    /// Tells the waiters of an address about which no more sources are asked.
    fn settle_if_nothing_is_due(&mut self, ip: IpAddr) {
        if !self.addresses.get(&ip).is_some_and(|waiting| waiting.sources.is_empty() && waiting.claims == 0) {
            return;
        }
        let Some(waiting) = self.addresses.remove(&ip) else { return };
        self.answered.extend(waiting.questions);
        for number in waiting.jobs {
            if let Some(job) = self.jobs.get_mut(&number) {
                let noted = waiting.noted.iter().filter(|(of, ..)| *of == number);
                let ends: Vec<(Source, End)> =
                    waiting.ends.iter().copied().chain(noted.map(|(_, source, end)| (*source, *end))).collect();
                job.left = job.left.saturating_sub(1);
                job.progress.add(&ends);
            }
        }
    }

    /// Sessions whose address is settled, each once.
    pub fn answered(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.answered)
    }

    /// The results of a job's addresses since the last call, and whether none is left.
    pub fn job_progress(&mut self, job: usize) -> (Progress, bool) {
        match self.jobs.get_mut(&job) {
            Some(job) => (std::mem::take(&mut job.progress), job.left == 0),
            None => (Progress::default(), true),
        }
    }
}

impl Progress {
    /// One more address, by its sources' answers: if one source knows it, it is known. What MaxMind knows hides no failure
    /// of a source that was asked.
    pub fn add(&mut self, ends: &[(Source, End)]) {
        self.processed += 1;
        let any = |end: fn(End) -> bool| ends.iter().any(|(_, of)| end(*of));
        let found = |(source, end): &(Source, End)| *source != Source::MaxMind && matches!(end, End::Found(_));
        self.cymru_asn += u64::from(ends.contains(&(Source::Cymru, End::Found(true))));
        self.scanners += u64::from(ends.contains(&(Source::GreyNoise, End::Found(true))));
        if ends.iter().any(found) {
            self.enriched += 1;
        } else if any(|end| end == End::Failed) {
            self.errors += 1;
        } else if any(|end| matches!(end, End::Found(_))) {
            self.enriched += 1;
        } else if any(|end| end == End::NotFound) {
            self.not_found += 1;
        } else {
            self.skipped += 1;
        }
    }
}
