//! Freshness: whether a row's answer is still valid, source by source.
//!
//! Which rows are due is the same question, asked of a table: `src/inventory/due.rs` has it in SQL, with the same
//! words.

use crate::record::Status;

/// How long answers are fresh, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Team Cymru's.
    pub cymru: i64,
    /// Its "no route".
    pub cymru_negative: i64,
    /// GreyNoise's.
    pub greynoise: i64,
}

/// The state of a source's answer. A worse one is greater: see [`Freshness::of_both`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// It has answered not too long ago, or is not asked.
    Fresh,
    /// It has no answer yet.
    Missing,
    /// It has answered too long ago.
    Stale,
}

/// Whether what a row says of MaxMind is what the files of now say: its answer is not from before them (`stale_before`; `None`:
/// there is no file), or nothing could answer then and nothing can now. All times are of one clock, in microseconds.
pub fn maxmind_is_fresh<'a>(
    answered: Option<i64>,
    status: impl FnOnce() -> &'a [u8],
    stale_before: Option<i64>,
) -> bool {
    match (answered, stale_before) {
        (Some(at), Some(before)) => at >= before,
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (None, None) => status() == Status::Unavailable.as_str().as_bytes(),
    }
}

/// How far ahead of the clock an answer may be dated, in microseconds: more says that the clock was wrong then.
const AHEAD: i64 = 24 * 3600 * 1_000_000;

fn is_over(answered: i64, now: i64, life: i64) -> bool {
    answered < now.saturating_sub(life) || answered > now.saturating_add(AHEAD)
}

impl Freshness {
    /// Team Cymru's, by the words in a row. The times of its answer and of now are read only if they matter: reading a
    /// clock is a large part of the cost of returning a row of the inventory.
    pub fn of_cymru(
        status: &[u8],
        answered: impl FnOnce() -> Option<i64>,
        now: impl FnOnce() -> i64,
        lives: &Lifetimes,
    ) -> Freshness {
        let life = if status == Status::Found.as_str().as_bytes() { lives.cymru } else { lives.cymru_negative };
        Freshness::of(status, answered, now, life)
    }

    /// GreyNoise's.
    pub fn of_greynoise(
        status: &[u8],
        answered: impl FnOnce() -> Option<i64>,
        now: impl FnOnce() -> i64,
        lives: &Lifetimes,
    ) -> Freshness {
        Freshness::of(status, answered, now, lives.greynoise)
    }

    fn of(status: &[u8], answered: impl FnOnce() -> Option<i64>, now: impl FnOnce() -> i64, life: i64) -> Freshness {
        let is = |word: Status| status == word.as_str().as_bytes();
        if is(Status::Skipped) {
            Freshness::Fresh
        } else if !(is(Status::Found) || is(Status::NotFound)) {
            Freshness::Missing
        } else if answered().is_none_or(|at| is_over(at, now(), life)) {
            Freshness::Stale
        } else {
            Freshness::Fresh
        }
    }

    /// That of a row with two sources. A stale answer comes before a missing one: it is not queued yet.
    pub fn of_both(self, other: Freshness) -> Freshness {
        self.max(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVES: Lifetimes = Lifetimes { cymru: 100, cymru_negative: 10, greynoise: 50 };
    const NOW: i64 = 1000;

    #[test]
    fn an_answer_lives_as_long_as_its_kind_says() {
        let cymru = |status: &[u8], at| Freshness::of_cymru(status, || Some(at), || NOW, &LIVES);
        assert_eq!(cymru(b"found", 900), Freshness::Fresh);
        assert_eq!(cymru(b"found", 899), Freshness::Stale);
        assert_eq!(cymru(b"not_found", 990), Freshness::Fresh);
        assert_eq!(cymru(b"not_found", 989), Freshness::Stale);
        let greynoise = |status: &[u8], at| Freshness::of_greynoise(status, || Some(at), || NOW, &LIVES);
        for status in [&b"found"[..], b"not_found"] {
            assert_eq!(greynoise(status, 950), Freshness::Fresh);
            assert_eq!(greynoise(status, 949), Freshness::Stale);
        }
    }

    #[test]
    fn what_is_not_asked_is_fresh_and_what_has_no_answer_is_missing() {
        let cymru = |status: &[u8]| Freshness::of_cymru(status, || None, || NOW, &LIVES);
        assert_eq!(cymru(b"skipped"), Freshness::Fresh);
        for status in [&b"pending"[..], b"failed", b"quota", b""] {
            assert_eq!(cymru(status), Freshness::Missing);
        }
        // An answer without its time cannot be trusted to be young.
        assert_eq!(cymru(b"found"), Freshness::Stale);
    }

    #[test]
    fn of_two_sources_the_stale_one_counts_first() {
        use Freshness::*;
        assert_eq!(Fresh.of_both(Fresh), Fresh);
        assert_eq!(Fresh.of_both(Missing), Missing);
        assert_eq!(Missing.of_both(Stale), Stale);
        assert_eq!(Stale.of_both(Fresh), Stale);
    }

    #[test]
    fn maxmind_is_fresh_from_the_moment_of_the_install_on() {
        let is_fresh = |answered, status: &'static [u8], before| maxmind_is_fresh(answered, || status, before);
        assert!(is_fresh(Some(5), b"found", Some(5)) && !is_fresh(Some(4), b"found", Some(5)));
        assert!(!is_fresh(None, b"unavailable", Some(i64::MIN)), "a file can answer now");
    }

    #[test]
    fn without_any_file_nothing_newer_can_be_said() {
        let is_fresh = |answered, status: &'static [u8]| maxmind_is_fresh(answered, || status, None);
        assert!(is_fresh(Some(5), b"found") && is_fresh(None, b"unavailable"));
        assert!(!is_fresh(None, b"pending"), "nobody has looked at this row");
    }

    #[test]
    fn an_answer_from_the_future_is_stale() {
        let cymru = |at| Freshness::of_cymru(b"found", || Some(at), || NOW, &LIVES);
        assert_eq!(cymru(NOW + AHEAD), Freshness::Fresh);
        assert_eq!(cymru(NOW + AHEAD + 1), Freshness::Stale);
    }

    #[test]
    fn a_life_that_is_longer_than_the_clock_never_ends() {
        let forever = Lifetimes { cymru: i64::MAX, ..LIVES };
        assert_eq!(Freshness::of_cymru(b"found", || Some(i64::MIN), || -5, &forever), Freshness::Fresh);
    }
}
