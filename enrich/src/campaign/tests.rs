//! Whole campaigns: random events in random order, with results that come later, and faults.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::event::{Event, Step};
use super::fake::*;
use super::given::{BULK_NEVER, Key, Switch};
use super::ticket::Ticket;
use crate::cymru::Origin;
use crate::cymru::dns::SILENT;
use crate::failure::{Failure, FailureKind};
use crate::fetcher::{Outcome, Request};
use crate::greynoise::Verdict;
use crate::source::{Source, SourceSet};

/// Addresses that are played with: networks of several, rows that stand for one of them or for another, both families.
const ADDRESSES: [&str; 16] = [
    "198.51.0.1",
    "198.51.0.2",
    "198.51.0.3",
    "203.0.114.1",
    "203.0.114.2",
    "203.0.115.1",
    "192.88.1.1",
    "192.88.2.1",
    "192.88.3.1",
    "192.88.4.1",
    "::ffff:198.51.0.1",
    "2002:c633:1::1",
    "2002:c058:901::1",
    "2600:1::1",
    "2600:1::2",
    "2600:2::1",
];

/// The hidden addresses, in turns.
const SECRETS: [&[&str]; 5] =
    [&[], &["198.51.0.0/24"], &["2002::/16"], &["203.0.114.1/32", "2600:1::/32"], &["0.0.0.0/0"]];

/// Something that happens.
#[derive(Clone, Debug)]
enum Move {
    Turn,
    Step(usize),
    Later(u64),
    Observe(usize, u64),
    Old(usize),
    Ask(usize),
    Pass(usize),
    Job { slot: usize, ips: Vec<usize>, sources: u32, all: bool },
    EndJob(usize),
    Settings { cymru: bool, bulk_min: usize, greynoise: usize, secrets: usize },
    Key(usize),
    Rest,
    Answer { place: usize, how: usize },
    CarryOut(usize),
    Tell(usize),
    Fault(usize),
    Mend,
    Kill,
}

fn moves() -> impl Strategy<Value = Move> {
    let address = || 0..ADDRESSES.len();
    prop_oneof![
        16 => Just(Move::Turn),
        3 => (0..4_usize).prop_map(Move::Step),
        3 => (0..120_u64).prop_map(Move::Later),
        1 => (0..200_000_u64).prop_map(Move::Later),
        6 => (address(), 1..100_u64).prop_map(|(ip, seen)| Move::Observe(ip, seen)),
        1 => address().prop_map(Move::Old),
        3 => address().prop_map(Move::Ask),
        1 => address().prop_map(Move::Pass),
        2 => (0..3_usize, vec(address(), 1..6), 0..8_u32, any::<bool>())
            .prop_map(|(slot, ips, sources, all)| Move::Job { slot, ips, sources, all }),
        1 => (0..3_usize).prop_map(Move::EndJob),
        4 => (any::<bool>(), prop_oneof![1..6_usize, Just(BULK_NEVER)], 0..3_usize, 0..SECRETS.len())
            .prop_map(|(cymru, bulk_min, greynoise, secrets)| Move::Settings { cymru, bulk_min, greynoise, secrets }),
        2 => (0..6_usize).prop_map(Move::Key),
        1 => Just(Move::Rest),
        24 => (any::<usize>(), prop_oneof![2 => Just(0), 1 => 0..8_usize]).prop_map(|(place, how)| Move::Answer { place, how }),
        4 => (1..4_usize).prop_map(Move::CarryOut),
        4 => any::<usize>().prop_map(Move::Tell),
        1 => (0..7_usize).prop_map(Move::Fault),
        2 => Just(Move::Mend),
        1 => Just(Move::Kill),
    ]
}

struct Game {
    world: World,
    /// Tickets that were given out, and not to a worker that was killed.
    tickets: u64,
    waiting: Vec<Ticket>,
    jobs: [bool; 3],
    /// Whether what follows from events is done at once, as the worker does it.
    prompt: bool,
}

impl Game {
    fn new(prompt: bool) -> Game {
        let mut world = World::new();
        world.settings.greynoise_quota = 4;
        Game { world, tickets: 0, waiting: Vec::new(), jobs: [false; 3], prompt }
    }

    fn tell(&mut self, event: Event) {
        self.world.event(event);
        if self.prompt {
            self.world.drain();
        }
    }

    fn play(&mut self, step: Move) {
        let ip = |at: usize| ip(ADDRESSES[at]);
        match step {
            Move::Turn => {
                self.tell(Event::Resumed);
                Step::ALL.into_iter().for_each(|step| self.tell(Event::Turn(step)));
            }
            Move::Step(at) => self.tell(Event::Turn(Step::ALL[at])),
            Move::Later(seconds) => self.world.later(seconds),
            Move::Observe(at, seen) => {
                self.world.add(ip(at), seen);
                self.tell(Event::MadeDue);
            }
            Move::Old(at) => {
                if let Some(row) = self.world.rows.get_mut(&ip(at)) {
                    row.at.values_mut().filter(|status| **status == Status::Answered).for_each(|s| *s = Status::Old);
                }
            }
            Move::Ask(at) => {
                // The worker writes a row before it asks.
                self.world.add(ip(at), 0);
                self.tickets += 1;
                self.waiting.push(ticket(self.tickets));
                self.tell(Event::Questions(vec![(ip(at), ticket(self.tickets))]));
            }
            Move::Pass(at) => self.tell(Event::AskedAbout(vec![ip(at)])),
            Move::Job { slot, ips, sources, all } => {
                if !std::mem::replace(&mut self.jobs[slot], true) {
                    self.tell(Event::JobStarted(slot));
                }
                let on = self.world.campaign.sources_on(&self.world.given());
                let sources = SourceSet::from_bits(sources).iter().filter(|source| on.contains(*source)).collect();
                let since = all.then_some(self.world.now.wall);
                self.tell(Event::JobAsks { job: slot, ips: ips.into_iter().map(ip).collect(), sources, since });
            }
            Move::EndJob(slot) => {
                self.jobs[slot] = false;
                self.tell(Event::JobEnded(slot));
            }
            Move::Settings { cymru, bulk_min, greynoise, secrets } => {
                self.world.change_settings(|settings| {
                    settings.cymru = cymru;
                    settings.bulk_min = bulk_min;
                    settings.greynoise = [Switch::Off, Switch::On, Switch::Auto][greynoise];
                    settings.never_ask = SECRETS[secrets].iter().map(|text| text.parse().unwrap()).collect();
                });
                if self.prompt {
                    self.world.drain();
                }
            }
            Move::Key(which) => {
                let before = self.world.key.mark;
                self.world.key = match which {
                    0 => Key::default(),
                    1 => Key { coming: true, ..self.world.key },
                    _ => key(["one", "two"][which % 2]),
                };
                self.tell(Event::KeyRead { other: self.world.key.mark != before });
            }
            Move::Rest => self.tell(Event::Rested),
            Move::Answer { place, how } => self.answer(place, how),
            Move::CarryOut(n) => {
                (0..n).for_each(|_| {
                    self.world.carry_out();
                });
            }
            Move::Tell(which) => {
                if !self.world.results.is_empty() {
                    let which = which % self.world.results.len();
                    let event = self.world.results.remove(which).unwrap();
                    self.tell(event);
                }
            }
            Move::Fault(which) => {
                let faults = &mut self.world.faults;
                match which {
                    0 => faults.ledger = true,
                    1 => faults.claims = true,
                    2 => faults.writes = true,
                    3 => faults.locked = Some(ip(0)),
                    4 => faults.broken = Some(ip(3)),
                    5 => faults.names = true,
                    _ => faults.thread = true,
                }
            }
            Move::Mend => self.world.faults = Faults::default(),
            Move::Kill => {
                // Questions of the old worker are not repeated: sessions ask the new one, jobs start again.
                self.world.kill();
                self.waiting.clear();
                self.world.woken.clear();
                self.jobs = [false; 3];
            }
        }
    }

    fn answer(&mut self, place: usize, how: usize) {
        if self.world.waiting.is_empty() {
            return;
        }
        let place = place % self.world.waiting.len();
        self.world.send(place, |request| outcome(request, how));
        if self.prompt {
            self.world.drain();
        }
    }

    /// All sources answer from now on, under any settings.
    fn end(&mut self) {
        self.world.faults = Faults::default();
        self.world.drain();
        // After late effects, the network thread may know an older key than the present one.
        self.world.key.coming = false;
        self.world.tell(Event::KeyRead { other: false });
        for _ in 0..100 {
            self.world.later(300);
            self.world.turn();
            while !self.world.waiting.is_empty() {
                assert!(self.world.send(0, |request| outcome(request, 0)), "nothing rests");
                self.world.drain();
            }
            if self.world.campaign.is_idle() && self.left_behind().is_none() {
                return;
            }
        }
    }

    /// A row that is due at a source that may be asked.
    fn left_behind(&self) -> Option<(IpAddr, Source)> {
        let world = &self.world;
        let on = world.campaign.sources_on(&world.given());
        let spent = world.ledger.used >= world.settings.greynoise_quota;
        let is_open =
            |source: &Source| on.contains(*source) && (*source != Source::GreyNoise || !(spent || world.key.refused));
        let due_at = |(ip, row): (&IpAddr, &FakeRow)| {
            let mut open = Source::NETWORK.into_iter().filter(is_open);
            open.find(|source| row.at[source] == Status::Due).map(|source| (*ip, source))
        };
        world.rows.iter().find_map(due_at)
    }
}

/// The result of a request: mostly an answer.
fn outcome(request: Request, how: usize) -> Outcome {
    let failure = || match how {
        5 => Failure::new(FailureKind::Unauthorized, "401"),
        6 => Failure::permanent("400"),
        _ => Failure::transient(SILENT),
    };
    match request {
        Request::Origin(ip) => Outcome::Origin {
            ip,
            result: match how {
                0 => Ok(announced(ip, 64500, None)),
                1 => Ok(Origin::NotAnnounced),
                2 => Ok(announced(ip, 64501, None)),
                _ => Err(failure()),
            },
        },
        Request::AsName(asn) => {
            let result = if how < 4 { Ok(how.is_multiple_of(2).then(|| as_name(asn))) } else { Err(failure()) };
            Outcome::AsName { asn, result }
        }
        Request::Scanner(ip) => Outcome::Scanner {
            ip,
            result: match how {
                0 => Ok(seen()),
                1 => Ok(Verdict::NotSeen),
                2 => Err(quota(None)),
                3 => Err(quota(Some(300))),
                _ => Err(failure()),
            },
        },
        Request::Bulk(asked) => {
            let answers: Vec<_> = asked
                .iter()
                .take(if how < 3 { asked.len() - how.min(asked.len()) } else { 0 })
                .map(|ip: &IpAddr| (*ip, announced(*ip, 64502, Some("EXAMPLE"))))
                .collect();
            let mut answers = answers;
            let doubtful = if how == 1 { answers.pop() } else { None };
            Outcome::Bulk { asked, answers, withheld: Vec::new(), doubtful, failure: (how > 1).then(failure) }
        }
    }
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").map_or(128, |n| n.parse().unwrap());
    ProptestConfig { cases, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// [`World::send`] checks sent addresses; this test checks that all questions end.
    #[test]
    fn nothing_forbidden_is_asked_and_all_comes_to_an_end(prompt in any::<bool>(), moves in vec(moves(), 1..300)) {
        let mut game = Game::new(prompt);
        moves.into_iter().for_each(|step| game.play(step));
        game.end();
        let world = &mut game.world;
        prop_assert!(world.campaign.is_idle(), "{:#?}", world.campaign);
        // Everybody who waited was told, once.
        world.woken.sort_by_key(|ticket| ticket.number);
        prop_assert_eq!(&world.woken, &game.waiting);
        for slot in 0..3 {
            prop_assert_eq!(world.campaign.left_of_job(slot), 0);
        }
        prop_assert_eq!(game.left_behind(), None);
    }
}
