//! The network thread of the fake world: answers to its requests, and checks of sent addresses.

use std::net::{IpAddr, Ipv4Addr};

use super::super::event::{Event, Step};
use super::super::given::Switch;
use super::{World, announced, as_name, v4};
use crate::address::effective;
use crate::cymru::Origin;
use crate::failure::Failure;
use crate::fetcher::gate::Leave;
use crate::fetcher::{Outcome, Request};
use crate::greynoise::Verdict;

impl World {
    /// Whether an address must not be sent: because of itself, or because of its only written form.
    fn is_secret(&self, ip: IpAddr) -> bool {
        let mut rows = self.rows.keys().filter(|row| effective(**row) == ip);
        self.settings.is_secret(ip) || rows.all(|row| self.settings.is_secret(*row))
    }

    /// The network thread sends the request at this place, if it may, and gets this result. Checks that no forbidden
    /// address is sent.
    pub fn send(&mut self, place: usize, answer: impl FnOnce(Request) -> Outcome) -> bool {
        let (gate, account) = self.gate.clone().expect("the network thread runs");
        let leave = match &self.waiting[place] {
            Request::Scanner(ip) if self.paid.get(ip).is_some_and(|(of, _)| *of != account) => Leave::No,
            Request::Scanner(ip) => gate.greynoise((*ip).into()),
            Request::Origin(ip) => gate.cymru(*ip),
            Request::AsName(_) | Request::Bulk(_) => gate.cymru,
        };
        if leave == Leave::Wait {
            return false;
        }
        let request = self.waiting.remove(place);
        let mut kept_back = Vec::new();
        let outcome = match request {
            request if leave == Leave::No => withheld(request),
            Request::Bulk(asked) => {
                let (told, not_told) = asked.iter().copied().partition(|ip| gate.cymru(*ip) == Leave::Yes);
                kept_back = not_told;
                self.look_at_what_leaves(&Request::Bulk(told));
                answer(Request::Bulk(asked))
            }
            request => {
                let outcome = answer(request.clone());
                match (&request, &outcome) {
                    (Request::Scanner(ip), Outcome::Scanner { result: Err(failure), .. }) if failure.is_unsent() => {
                        self.paid.remove(ip).expect("somebody paid for it");
                    }
                    _ => self.look_at_what_leaves(&request),
                }
                outcome
            }
        };
        let outcome = match outcome {
            Outcome::Bulk { asked, mut answers, mut withheld, doubtful, failure } => {
                answers.retain(|(ip, _)| !kept_back.contains(ip));
                let doubtful = doubtful.filter(|(ip, _)| !kept_back.contains(ip));
                withheld.extend(kept_back);
                Outcome::Bulk { asked, answers, withheld, doubtful, failure }
            }
            outcome => outcome,
        };
        self.results.push_back(Event::Outcome(outcome));
        true
    }

    fn look_at_what_leaves(&mut self, request: &Request) {
        match request {
            Request::Scanner(ip) => {
                assert_ne!(self.settings.greynoise, Switch::Off);
                assert!(self.settings.greynoise == Switch::On || self.key.mark.is_some(), "asked without a key");
                assert!(!self.is_secret((*ip).into()), "{ip} was told");
                let paid = self.paid.remove(ip).expect("nobody paid for it");
                let sent = self.sent.entry(paid).or_default();
                *sent += 1;
                assert!(*sent <= self.settings.greynoise_quota, "{sent} questions in one window");
            }
            Request::Origin(ip) => {
                assert!(self.settings.cymru && !self.is_secret(*ip), "{ip} was told");
            }
            Request::Bulk(ips) => {
                assert!(ips.is_empty() || self.settings.cymru);
                ips.iter().for_each(|ip| assert!(!self.is_secret(*ip), "{ip} was told"));
            }
            Request::AsName(_) => assert!(self.settings.cymru),
        }
    }

    /// Open questions to GreyNoise, in order.
    pub fn scanners(&self) -> Vec<Ipv4Addr> {
        self.waiting
            .iter()
            .filter_map(|request| if let Request::Scanner(ip) = request { Some(*ip) } else { None })
            .collect()
    }

    /// GreyNoise answers about an address, and the effects are carried out.
    pub fn answer_scanner(&mut self, ip: &str, result: Result<Verdict, Failure>) {
        let about = v4(ip);
        let place = self.waiting.iter().position(|request| *request == Request::Scanner(about)).expect("it was asked");
        assert!(self.send(place, |_| Outcome::Scanner { ip: about, result }));
        self.drain();
        self.tell(Event::Turn(Step::Write));
    }

    /// Team Cymru's DNS answers all open questions, and the effects are carried out.
    pub fn answer_dns(&mut self, result: impl Fn(IpAddr) -> Result<Origin, Failure>) {
        while let Some(place) = self.waiting.iter().position(|r| matches!(r, Request::Origin(_) | Request::AsName(_))) {
            let sent = self.send(place, |request| match request {
                Request::Origin(ip) => Outcome::Origin { ip, result: result(ip) },
                Request::AsName(asn) => Outcome::AsName { asn, result: Ok(Some(as_name(asn))) },
                _ => unreachable!("it was looked for"),
            });
            assert!(sent);
            self.drain();
        }
        self.tell(Event::Turn(Step::Write));
    }

    /// The bulk session that is out.
    pub fn session(&self) -> Option<&[IpAddr]> {
        self.waiting
            .iter()
            .find_map(|request| if let Request::Bulk(ips) = request { Some(ips.as_slice()) } else { None })
    }

    /// It ends: these are answered, and the effects are carried out.
    pub fn end_session(&mut self, answered: impl Fn(IpAddr) -> bool, failure: Option<Failure>) {
        self.end_session_in_doubt(answered, |_| false, failure);
    }

    /// The same, but one of the answers is doubtful.
    pub fn end_session_in_doubt(
        &mut self,
        answered: impl Fn(IpAddr) -> bool,
        doubted: impl Fn(IpAddr) -> bool,
        failure: Option<Failure>,
    ) {
        let place = self.waiting.iter().position(|request| matches!(request, Request::Bulk(_))).expect("one is out");
        let sent = self.send(place, |request| {
            let Request::Bulk(asked) = request else { unreachable!("it was looked for") };
            let answer = |ip: &IpAddr| (*ip, announced(*ip, 64500, Some("EXAMPLE")));
            let answers = asked.iter().filter(|ip| answered(**ip)).map(answer).collect();
            let doubtful = asked.iter().find(|ip| doubted(**ip)).map(answer);
            Outcome::Bulk { asked, answers, withheld: Vec::new(), doubtful, failure }
        });
        assert!(sent);
        self.drain();
        self.tell(Event::Turn(Step::Write));
    }
}

fn withheld(request: Request) -> Outcome {
    match request {
        Request::Origin(ip) => Outcome::Origin { ip, result: Err(Failure::withheld()) },
        Request::AsName(asn) => Outcome::AsName { asn, result: Err(Failure::withheld()) },
        Request::Scanner(ip) => Outcome::Scanner { ip, result: Err(Failure::withheld()) },
        Request::Bulk(asked) => {
            let (withheld, answers) = (asked.clone(), Vec::new());
            Outcome::Bulk { asked, answers, withheld, doubtful: None, failure: None }
        }
    }
}
