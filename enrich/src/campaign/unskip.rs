//! Rows that a setting kept from being asked about: made due again once it no longer does, some at a time. Those that it
//! still excludes are skipped again.
//!
//! Rows that other sessions hold are passed over, and come last, by themselves: to look for them once more would mean to
//! read the table, and one of them would stop all others. Rows that cannot be written are tried again after an hour: whoever
//! mends them changes no setting.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use super::batch::{NotDue, Refusal};
use super::effect::{Effect, News, Skipped};
use super::given::{Given, Switch};
use crate::source::Source;

/// Rows that are made due again at a time.
const MANY: usize = 10_000;
/// The first pause after rows were held, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// The pause after rows could not be written, or not be looked for.
const AGAIN: Duration = Duration::from_secs(3600);

/// What is to be done at one source.
#[derive(Debug, Default)]
enum Left {
    #[default]
    Nothing,
    /// Look through the table. These rows are passed over: others hold them.
    Table { locked: Vec<IpAddr> },
    /// These rows were held, or could not be written.
    Rows(Vec<IpAddr>),
}

#[derive(Debug)]
struct Look {
    left: Left,
    /// Rows that cannot be written: they are passed over until all others are through.
    broken: HashSet<IpAddr>,
    /// When it goes on, by the steady clock, and the pause after the next lock.
    at: Duration,
    pause: Duration,
}

impl Look {
    /// From the beginning.
    fn new() -> Look {
        let left = Left::Table { locked: Vec::new() };
        Look { left, broken: HashSet::new(), at: Duration::ZERO, pause: PAUSES.0 }
    }

    /// No row is left, not even one that cannot be written.
    fn is_over(&self) -> bool {
        matches!(self.left, Left::Nothing)
    }

    fn give_up(&mut self) {
        (self.left, self.broken) = (Left::Nothing, HashSet::new());
    }

    fn wait(&mut self, now: Duration) {
        self.at = now + self.pause;
        self.pause = (2 * self.pause).min(PAUSES.1);
    }

    /// So many rows were found, and these are not due again.
    fn take(&mut self, found: usize, not_due: NotDue, now: Duration) {
        let none = not_due.len() >= found;
        if !none {
            (self.at, self.pause) = (now, PAUSES.0);
        }
        self.broken.extend(&not_due.broken);
        match &mut self.left {
            Left::Nothing => {}
            Left::Rows(rows) => *rows = not_due.again(),
            Left::Table { locked } => {
                let is_through = found < MANY && not_due.left.is_empty();
                locked.extend(not_due.locked);
                if is_through {
                    self.left = Left::Rows(std::mem::take(locked));
                }
            }
        }
        match &self.left {
            Left::Rows(rows) if rows.is_empty() && self.broken.is_empty() => self.left = Left::Nothing,
            Left::Rows(rows) if rows.is_empty() => {
                self.left = Left::Rows(self.broken.drain().collect());
                (self.at, self.pause) = (now + AGAIN, PAUSES.0);
            }
            // They were held a moment ago.
            Left::Rows(_) => self.wait(now),
            Left::Table { .. } if none => self.wait(now),
            _ => {}
        }
    }
}

/// What is to be done at all of them.
#[derive(Debug)]
pub struct Unskip {
    looks: Vec<(Source, Look)>,
    /// The source at which it is being done, and whether the settings have changed since.
    doing: Option<Source>,
    outdated: bool,
}

impl Default for Unskip {
    fn default() -> Unskip {
        // Rows skipped under settings that may have changed while no worker was running.
        Unskip { looks: Source::NETWORK.map(|source| (source, Look::new())).into(), doing: None, outdated: false }
    }
}

impl Unskip {
    /// The settings changed: all skipped rows of a source are looked through.
    pub fn begin(&mut self, source: Source) {
        self.outdated |= self.doing == Some(source);
        self.look(source, |look| *look = Look::new());
    }

    fn look(&mut self, source: Source, f: impl FnOnce(&mut Look)) {
        if let Some((_, look)) = self.looks.iter_mut().find(|(of, _)| *of == source) {
            f(look);
        }
    }

    /// How long it is from `now` until there is something to do; `None`: nothing is left.
    pub fn due_in(&self, now: Duration) -> Option<Duration> {
        let open = self.looks.iter().filter(|(_, look)| !look.is_over());
        open.map(|(_, look)| look.at.saturating_sub(now)).min()
    }

    /// The next rows. True: a source has none left, since it is switched off.
    pub fn go_on(&mut self, given: &Given<'_>, out: &mut Vec<Effect>) -> bool {
        if self.doing.is_some() {
            return false;
        }
        let off = self.give_up_where_off(given, out);
        let is_due = |(_, look): &&mut (Source, Look)| !look.is_over() && given.now.steady >= look.at;
        let Some((source, look)) = self.looks.iter_mut().find(is_due) else { return off };
        let which = match &look.left {
            Left::Nothing => return off,
            Left::Rows(rows) => Skipped::These(rows.clone()),
            Left::Table { locked } => Skipped::Any {
                limit: MANY,
                never_ask: given.settings.never_ask.clone(),
                but: locked.iter().chain(&look.broken).copied().collect(),
            },
        };
        self.doing = Some(*source);
        out.push(Effect::Unskip(*source, which));
        off
    }

    /// A source that is switched off has no rows to make due. True: one had some until now.
    fn give_up_where_off(&mut self, given: &Given<'_>, out: &mut Vec<Effect>) -> bool {
        let is_off = |source| match source {
            Source::GreyNoise => given.settings.greynoise == Switch::Off,
            _ => !given.settings.cymru,
        };
        let open = self.looks.iter_mut().filter(|(source, look)| !look.is_over() && is_off(*source));
        let given_up = open.map(|(_, look)| look.give_up()).count();
        if given_up > 0 {
            self.tell_if_over(out);
        }
        given_up > 0
    }

    /// Only all sources together are done: a failure is shown for one of them like for the other.
    fn tell_if_over(&self, out: &mut Vec<Effect>) {
        if self.looks.iter().all(|(_, look)| look.is_over()) {
            out.push(Effect::AllUnskipped);
        }
    }

    /// So many rows were found, and these are not due again. True: others are.
    pub fn ended(
        &mut self,
        source: Source,
        result: Result<(usize, NotDue), Refusal>,
        given: &Given<'_>,
        out: &mut Vec<Effect>,
    ) -> bool {
        let now = given.now.steady;
        self.doing = None;
        let any = result.as_ref().is_ok_and(|(found, not_due)| not_due.len() < *found);
        // What was found by the settings of before says nothing of all that is to be looked through now.
        if std::mem::take(&mut self.outdated) {
            return any;
        }
        match result {
            Ok((found, not_due)) => self.look(source, |look| look.take(found, not_due, now)),
            Err(refusal) if refusal.lock => self.look(source, |look| look.wait(now)),
            Err(refusal) => {
                self.look(source, |look| look.at = now + AGAIN);
                out.push(Effect::Say(News::NotUnskipped(refusal.message)));
            }
        }
        self.tell_if_over(out);
        any
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::World;
    use super::super::given::{Key, Now, Settings};
    use super::*;

    fn ips(of: impl IntoIterator<Item = u8>) -> Vec<IpAddr> {
        of.into_iter().map(|n| IpAddr::from([198, 51, 0, n])).collect()
    }

    struct Table {
        unskip: Unskip,
        now: Duration,
        settings: Settings,
    }

    impl Table {
        /// Only Team Cymru.
        fn new() -> Table {
            let mut unskip = Unskip::default();
            unskip.looks.retain(|(source, _)| *source == Source::Cymru);
            Table { unskip, now: Duration::ZERO, settings: World::new().settings }
        }

        fn given<T>(&mut self, f: impl FnOnce(&mut Unskip, &Given<'_>, &mut Vec<Effect>) -> T) -> (T, Vec<Effect>) {
            let now = Now { wall: 0, steady: self.now };
            let mut out = Vec::new();
            let given = Given { now, settings: &self.settings, key: Key::default() };
            (f(&mut self.unskip, &given, &mut out), out)
        }

        fn next(&mut self) -> Option<Skipped> {
            match self.given(Unskip::go_on).1.pop() {
                Some(Effect::Unskip(_, which)) => Some(which),
                _ => None,
            }
        }

        fn ended(&mut self, found: usize, locked: &[IpAddr], left: &[IpAddr]) -> bool {
            let not_due = NotDue { locked: locked.to_vec(), left: left.to_vec(), broken: Vec::new() };
            self.given(|unskip, given, out| unskip.ended(Source::Cymru, Ok((found, not_due)), given, out)).0
        }

        /// What is reported when these rows were found at a source and cannot be written, or are held.
        fn told(&mut self, source: Source, locked: &[IpAddr], broken: &[IpAddr]) -> Vec<Effect> {
            assert_eq!(self.unskip.doing, Some(source));
            let not_due = NotDue { locked: locked.to_vec(), left: Vec::new(), broken: broken.to_vec() };
            let found = Ok((not_due.len(), not_due));
            self.given(|unskip, given, out| unskip.ended(source, found, given, out)).1
        }
    }

    fn but(which: Option<Skipped>) -> Vec<IpAddr> {
        match which {
            Some(Skipped::Any { but, .. }) => but,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn held_rows_are_passed_over_and_come_last() {
        let mut table = Table::new();
        assert!(but(table.next()).is_empty());
        assert!(table.next().is_none(), "it is under way");
        assert!(table.ended(MANY, &ips([1, 2]), &ips([3])));
        assert_eq!(but(table.next()), ips([1, 2]), "at once, and those that were not tried are found again");
        assert!(table.ended(5, &ips([4]), &[]));
        assert!(table.next().is_none());
        table.now += PAUSES.0;
        assert_eq!(table.next(), Some(Skipped::These(ips([1, 2, 4]))));
        assert!(table.ended(3, &ips([1]), &ips([4])));
        table.now += PAUSES.1;
        assert_eq!(table.next(), Some(Skipped::These(ips([4, 1]))), "what was not tried comes first");
        assert!(table.ended(2, &[], &[]));
        assert!(table.next().is_none() && table.unskip.due_in(table.now).is_none());
    }

    #[test]
    fn where_all_is_held_it_waits_longer_each_time() {
        let mut table = Table::new();
        for pause in [1, 2, 4, 8, 10, 10] {
            assert!(matches!(table.next(), Some(Skipped::Any { .. })));
            assert!(!table.ended(MANY, &ips([1]), &vec![ips([2])[0]; MANY - 1]));
            assert_eq!(table.unskip.due_in(table.now), Some(Duration::from_secs(pause)));
            table.now += Duration::from_secs(pause) - Duration::from_millis(1);
            assert!(table.next().is_none());
            table.now += Duration::from_millis(1);
        }
        let lock = Refusal { lock: true, message: String::new() };
        assert!(table.next().is_some());
        table.given(|unskip, given, out| unskip.ended(Source::Cymru, Err(lock), given, out));
        assert!(table.next().is_none() && table.unskip.due_in(table.now) == Some(PAUSES.1));
    }

    #[test]
    fn a_setting_that_changes_meanwhile_has_all_looked_through_again() {
        let mut table = Table::new();
        assert!(table.next().is_some());
        table.unskip.begin(Source::Cymru);
        table.ended(1, &ips([1]), &[]);
        assert!(but(table.next()).is_empty());
    }

    #[test]
    fn rows_that_cannot_be_written_are_shown_until_they_are() {
        let mut table = Table { unskip: Unskip::default(), ..Table::new() };
        let [first, second] = Source::NETWORK;
        let [held, broken] = [ips([1]), ips([2])];
        assert!(but(table.next()).is_empty());
        assert!(table.told(first, &held, &broken).is_empty());
        // The other source has nothing to do, and says nothing of this one.
        assert!(but(table.next()).is_empty());
        assert!(table.told(second, &[], &[]).is_empty());
        table.now += PAUSES.0;
        assert_eq!(table.next(), Some(Skipped::These(held)));
        assert!(table.told(first, &[], &[]).is_empty(), "one is still skipped");
        assert_eq!(table.unskip.due_in(table.now), Some(AGAIN));
        for told in [false, true] {
            table.now += AGAIN;
            assert_eq!(table.next(), Some(Skipped::These(broken.clone())));
            let left: &[IpAddr] = if told { &[] } else { &broken };
            assert_eq!(matches!(table.told(first, &[], left)[..], [Effect::AllUnskipped]), told);
        }
        assert!(table.next().is_none() && table.unskip.due_in(table.now).is_none());
    }

    #[test]
    fn a_source_that_is_switched_off_has_no_rows_that_are_shown() {
        let mut table = Table::new();
        assert!(table.next().is_some());
        let lock = Refusal { lock: true, message: String::new() };
        table.given(|unskip, given, out| unskip.ended(Source::Cymru, Err(lock), given, out));
        table.settings.cymru = false;
        // Not only when the pause is over.
        let (off, told) = table.given(Unskip::go_on);
        assert!(off && matches!(told[..], [Effect::AllUnskipped]) && table.unskip.due_in(table.now).is_none());
        let (off, told) = table.given(Unskip::go_on);
        assert!(!off && told.is_empty());
    }

    #[test]
    fn what_could_not_be_looked_for_is_looked_for_later() {
        let mut table = Table::new();
        assert!(table.next().is_some());
        let failure = Refusal { lock: false, message: "no".to_owned() };
        let told = table.given(|unskip, given, out| unskip.ended(Source::Cymru, Err(failure), given, out)).1;
        assert!(matches!(&told[..], [Effect::Say(News::NotUnskipped(_))]), "{told:?}");
        table.now += AGAIN;
        assert!(matches!(table.next(), Some(Skipped::Any { .. })));
    }
}
