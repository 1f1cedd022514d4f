//! What waits for a row that another session holds: answers, and notes why there is none.
//!
//! It waits apart from what is new, or one held row would stop all else at its source. It is tried again after a second,
//! then later each time, a few rows first and more as long as those are free: each row that is still held costs the worker a
//! wait.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;
use std::time::Duration;

use super::batch::{Reasons, Unwritten};

/// The first pause between two tries, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// Rows of a try, as long as others hold some; twice as many after each that met no lock.
const FEW: usize = 16;
/// Rows of a try at most.
const MANY: usize = 20_000;
/// With so many rows, somebody holds the table: what is asked now would only fill the memory.
const FULL: usize = 100_000;

/// What is to be written to one row.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held<A> {
    Answer(A),
    Failed(String),
    Skipped(String),
}

/// The rows of a try, or of another batch.
#[derive(Clone, Debug)]
pub struct Rows<A> {
    /// Answers.
    pub ready: Vec<(IpAddr, A)>,
    /// Those whose question failed.
    pub failed: Reasons,
    /// Those that are not asked about.
    pub skipped: Reasons,
}

impl<A> Default for Rows<A> {
    fn default() -> Rows<A> {
        Rows { ready: Vec::new(), failed: Vec::new(), skipped: Vec::new() }
    }
}

/// All that waits at one source.
#[derive(Debug)]
pub struct Locked<A> {
    rows: BTreeMap<IpAddr, Held<A>>,
    /// When it is tried again, by the steady clock, and the pause before that.
    again_at: Duration,
    pause: Duration,
    /// Rows of the next try.
    most: usize,
    /// The last row that was tried.
    last: Option<IpAddr>,
    trying: bool,
}

impl<A> Default for Locked<A> {
    fn default() -> Locked<A> {
        Locked {
            rows: BTreeMap::new(),
            again_at: Duration::ZERO,
            pause: PAUSES.0,
            most: FEW,
            last: None,
            trying: false,
        }
    }
}

impl<A> Locked<A> {
    /// Whether nothing waits, and no try is under way.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && !self.trying
    }

    /// How many rows something waits for.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether so much waits that nothing more should be asked.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= FULL
    }

    /// Whether anything waits for this row.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.rows.contains_key(&ip)
    }

    /// Whether an answer does: its question needs not be asked again.
    pub fn has_answer(&self, ip: IpAddr) -> bool {
        matches!(self.rows.get(&ip), Some(Held::Answer(_)))
    }

    /// How long it is from `now` until the next try; `None`: nothing waits.
    pub fn due_in(&self, now: Duration) -> Option<Duration> {
        (!self.rows.is_empty()).then(|| self.again_at.saturating_sub(now))
    }

    /// The rows of the next try, if it is time for one. Its result is told by [`tried`](Locked::tried).
    pub fn try_again(&mut self, now: Duration) -> Option<Rows<A>> {
        self.due_in(now).filter(Duration::is_zero)?;
        self.trying = true;
        // In turns: the rows that one session holds must not hide those that another has let go.
        let after = self.rows.range((self.last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let before = self.rows.iter().take_while(|(ip, _)| Some(**ip) <= self.last);
        let ips: Vec<IpAddr> = after.chain(before).map(|(ip, _)| *ip).take(self.most).collect();
        self.last = ips.last().copied();
        let mut rows = Rows::default();
        for ip in ips {
            match self.rows.remove(&ip) {
                Some(Held::Answer(answer)) => rows.ready.push((ip, answer)),
                Some(Held::Failed(why)) => rows.failed.push((ip, why)),
                Some(Held::Skipped(why)) => rows.skipped.push((ip, why)),
                None => {}
            }
        }
        Some(rows)
    }

    /// Whether the batch under way is a try.
    pub fn is_trying(&self) -> bool {
        self.trying
    }

    /// The result of a batch, a try or not: the rows of it that others hold.
    pub fn tried(&mut self, held: Rows<A>, now: Duration) {
        let trying = std::mem::take(&mut self.trying);
        let any = !(held.ready.is_empty() && held.failed.is_empty() && held.skipped.is_empty());
        held.failed.into_iter().for_each(|(ip, why)| self.note(ip, Held::Failed(why)));
        held.skipped.into_iter().for_each(|(ip, why)| self.note(ip, Held::Skipped(why)));
        self.rows.extend(held.ready.into_iter().map(|(ip, answer)| (ip, Held::Answer(answer))));
        if any {
            self.pause = if trying { (self.pause * 2).min(PAUSES.1) } else { PAUSES.0 };
            self.again_at = now + self.pause;
            self.most = FEW;
        } else if trying {
            (self.pause, self.again_at) = (PAUSES.0, now);
            self.most = (2 * self.most).min(MANY);
        }
    }

    /// An answer is not lost for a note.
    fn note(&mut self, ip: IpAddr, note: Held<A>) {
        if !self.has_answer(ip) {
            self.rows.insert(ip, note);
        }
    }

    /// Something newer was written to this row: an answer, or else a note.
    pub fn overtaken(&mut self, ip: IpAddr, by_answer: bool) {
        if by_answer || !self.has_answer(ip) {
            self.rows.remove(&ip);
        }
    }

    /// Forgets notes of skipped rows that are no longer valid.
    pub fn forget_skips(&mut self, undone: impl Fn(IpAddr, &str) -> bool) {
        self.rows.retain(|ip, held| !matches!(&*held, Held::Skipped(why) if undone(*ip, why)));
    }
}

/// The rows of a batch that others hold.
pub fn held<A>(unwritten: &mut Unwritten<A>, failed: &Reasons, skipped: &Reasons) -> Rows<A> {
    let ready = std::mem::take(&mut unwritten.locked);
    let held = |rows: &Reasons| rows.iter().filter(|(ip, _)| unwritten.unnoted.contains(ip)).cloned().collect();
    Rows { ready, failed: held(failed), skipped: held(skipped) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([8, 8, 8, n])
    }

    fn answers(of: impl IntoIterator<Item = u8>) -> Rows<&'static str> {
        Rows { ready: of.into_iter().map(|n| (ip(n), "an answer")).collect(), ..Rows::default() }
    }

    fn tried(locked: &mut Locked<&'static str>, now: Duration) -> Vec<IpAddr> {
        locked.try_again(now).map(|rows| rows.ready.into_iter().map(|(ip, _)| ip).collect()).unwrap_or_default()
    }

    #[test]
    fn what_is_held_is_tried_later_each_time() {
        let mut locked = Locked::default();
        locked.tried(answers([1]), NOW);
        let mut now = NOW;
        for pause in [1, 2, 4, 8, 10, 10] {
            let pause = Duration::from_secs(pause);
            assert_eq!(locked.due_in(now), Some(pause));
            assert!(locked.try_again(now + pause - Duration::from_millis(1)).is_none());
            now += pause;
            assert_eq!(tried(&mut locked, now), [ip(1)]);
            assert!(!locked.is_empty(), "it is under way");
            locked.tried(answers([1]), now);
        }
        assert_eq!(tried(&mut locked, now + PAUSES.1), [ip(1)]);
        locked.tried(Rows::default(), now);
        assert!(locked.is_empty() && locked.due_in(now).is_none());
    }

    #[test]
    fn few_rows_are_tried_in_turns_and_more_once_those_are_free() {
        let mut locked = Locked::default();
        locked.tried(answers(0..40), NOW);
        let mut now = NOW;
        for first in [0, 16] {
            now += PAUSES.1;
            let few: Vec<u8> = (first..first + 16).collect();
            assert_eq!(tried(&mut locked, now), few.iter().map(|n| ip(*n)).collect::<Vec<_>>());
            locked.tried(answers(few), now);
        }
        now += PAUSES.1;
        let expected: Vec<IpAddr> = (32..40).chain(0..8).map(ip).collect();
        assert_eq!(tried(&mut locked, now), expected);
        locked.tried(Rows::default(), now);
        assert_eq!(tried(&mut locked, now).len(), 24, "at once");
        locked.tried(Rows::default(), now);
        assert!(locked.is_empty());
    }

    #[test]
    fn a_try_grows_by_what_was_free_and_shrinks_at_a_lock() {
        let mut locked = Locked::default();
        locked.tried(answers(0..=255), NOW);
        let now = NOW + PAUSES.0;
        for most in [FEW, 2 * FEW, 4 * FEW] {
            assert_eq!(tried(&mut locked, now).len(), most);
            locked.tried(Rows::default(), now);
        }
        let rows = locked.try_again(now).expect("at once");
        assert_eq!(rows.ready.len(), 8 * FEW);
        locked.tried(rows, now);
        assert_eq!(tried(&mut locked, now + PAUSES.1).len(), FEW);
    }

    #[test]
    fn an_answer_is_replaced_by_an_answer_only() {
        let mut locked = Locked::default();
        locked.tried(answers([1]), NOW);
        let failed = vec![(ip(1), "no".to_owned()), (ip(2), "no".to_owned())];
        locked.tried(Rows { failed, ..Rows::default() }, NOW);
        assert!(locked.has_answer(ip(1)) && locked.contains(ip(2)) && !locked.has_answer(ip(2)));
        locked.overtaken(ip(1), false);
        locked.overtaken(ip(2), false);
        assert!(locked.has_answer(ip(1)) && !locked.contains(ip(2)));
        locked.overtaken(ip(1), true);
        assert!(locked.is_empty());
    }

    #[test]
    fn skips_that_are_no_longer_valid_are_forgotten() {
        let mut locked: Locked<&str> = Locked::default();
        let skipped = vec![(ip(1), "never_ask".to_owned()), (ip(2), "400".to_owned())];
        locked.tried(Rows { skipped, ..Rows::default() }, NOW);
        locked.forget_skips(|_, why| why == "never_ask");
        assert!(!locked.contains(ip(1)) && locked.contains(ip(2)));
    }
}
