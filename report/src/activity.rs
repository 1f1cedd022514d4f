//! The buckets of the timeline, and which observations are drawn in them: those of the events' own days or hours, wherever
//! these say when most of it was.

use crate::data::Timeline;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// Lengths of a bucket, and up to which length of time it is used.
const STEPS: [(i64, i64); 4] = [(HOUR, 3 * DAY), (DAY, 120 * DAY), (7 * DAY, 830 * DAY), (30 * DAY, i64::MAX)];
/// Days with less than a part of so many say next to nothing of when the rest was, as on the first one after an update
/// from a version that counted none.
const PARTS: u64 = 100;

/// Observations as they were counted by the time of the events: the beginning of each day or hour, in Unix seconds, with
/// those of it.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    /// By day.
    pub days: Vec<(i64, u64)>,
    /// By hour: of some days or all, or of none.
    pub hours: Vec<(i64, u64)>,
}

impl Activity {
    /// The time from one event to another, with the days before and after it: addresses of theirs may be gone.
    fn widened(&self, span: Option<(i64, i64)>) -> Option<(i64, i64)> {
        let days = || self.days.iter().map(|(day, _)| *day);
        let (first, last) = days().min().zip(days().max())?;
        let Some((from, to)) = span else { return Some((first, last)) };
        // The day of the first event begins before it.
        let is_earlier = first < from.div_euclid(DAY) * DAY;
        Some((if is_earlier { first } else { from }, to.max(last)))
    }

    /// Whether every day has hours, and these hold most of it. They may lag behind by what comes while they are counted.
    fn has_hours(&self) -> bool {
        let has = |day: i64| self.hours.iter().any(|(hour, _)| hour.div_euclid(DAY) * DAY == day);
        self.days.iter().all(|(day, _)| has(*day)) && sum(&self.hours) >= sum(&self.days) / 2
    }
}

impl Timeline {
    /// Over the time from the first event of the inventory to its last one. With the observations of days or hours, as far
    /// as there are any; `all` are those of the inventory.
    pub fn over(span: Option<(i64, i64)>, activity: &Activity, all: u64) -> Option<Timeline> {
        let counted = sum(&activity.days);
        if counted == 0 || counted < all / PARTS {
            return span.map(|span| Timeline::empty(span, HOUR));
        }
        let span = activity.widened(span)?;
        let line = Timeline::empty(span, HOUR);
        Some(match line.step {
            HOUR if activity.has_hours() => line.drawn(&activity.hours, all),
            HOUR => Timeline::empty(span, DAY).drawn(&activity.days, all),
            _ => line.drawn(&activity.days, all),
        })
    }

    fn empty((from, to): (i64, i64), shortest: i64) -> Timeline {
        let to = to.max(from);
        let fits = |(step, most): &&(i64, i64)| *step >= shortest && to - from <= *most;
        let step = STEPS.iter().find(fits).map_or(DAY, |(step, _)| *step);
        let start = from.div_euclid(step) * step;
        let buckets = ((to - start) / step + 1) as usize;
        Timeline { start, step, new: vec![0; buckets], observed: vec![0; buckets], ..Timeline::default() }
    }

    fn drawn(mut self, counts: &[(i64, u64)], all: u64) -> Timeline {
        for (at, observations) in counts {
            let bucket = usize::try_from((at - self.start).div_euclid(self.step)).ok();
            if let Some(n) = bucket.and_then(|bucket| self.observed.get_mut(bucket)) {
                *n = n.saturating_add(*observations);
            }
        }
        let drawn = self.observed.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
        self.is_exact = true;
        self.uncounted = all.saturating_sub(drawn);
        self.gone = drawn.saturating_sub(all);
        self
    }

    /// When buckets begin, and when the last one ends.
    pub fn bounds(&self) -> impl Iterator<Item = i64> {
        let (start, step) = (self.start, self.step);
        (0..=self.new.len() as i64).map(move |i| start + i * step)
    }
}

fn sum(counts: &[(i64, u64)]) -> u64 {
    counts.iter().fold(0, |sum, (_, n)| sum.saturating_add(*n))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noon of a day.
    const fn noon(day: i64) -> i64 {
        day * DAY + 12 * HOUR
    }

    fn days(counts: &[(i64, u64)]) -> Activity {
        Activity { days: counts.iter().map(|(day, n)| (day * DAY, *n)).collect(), hours: Vec::new() }
    }

    fn over(span: (i64, i64), activity: &Activity, all: u64) -> Timeline {
        Timeline::over(Some(span), activity, all).expect("a timeline")
    }

    #[test]
    fn days_are_drawn_though_they_do_not_hold_all() {
        let activity = days(&[(100, 40), (103, 7), (109, 3)]);
        let drawn = vec![40, 0, 0, 7, 0, 0, 0, 0, 0, 3];
        // As many as the inventory has, fewer (the count lags, a day has expired), and more (addresses were deleted).
        for (all, uncounted, gone) in [(50, 0, 0), (59, 9, 0), (5_000, 4_950, 0), (45, 0, 5), (0, 0, 50)] {
            let line = over((noon(100), noon(109)), &activity, all);
            assert_eq!((line.start, line.step), (100 * DAY, DAY));
            assert!(line.is_exact && line.observed == drawn, "{all}: {line:?}");
            assert_eq!((line.uncounted, line.gone), (uncounted, gone), "{all}");
        }
    }

    #[test]
    fn next_to_nothing_is_not_drawn() {
        for activity in [days(&[]), days(&[(100, 0)]), days(&[(109, 49)])] {
            let line = over((noon(100), noon(109)), &activity, 5_000);
            assert!(!line.is_exact && line.observed == [0; 10] && line.uncounted == 0, "{line:?}");
            assert!(Timeline::over(None, &activity, 5_000).is_none());
        }
    }

    #[test]
    fn a_time_that_days_do_not_reach_is_shown_with_them() {
        // An event of 500 days ago, and days of the last month.
        let line = over((noon(0), noon(500)), &days(&[(470, 4), (500, 5)]), 10);
        assert_eq!((line.step, line.uncounted, line.observed.iter().sum()), (7 * DAY, 1, 9u64));
    }

    #[test]
    fn days_of_addresses_that_are_gone_are_shown() {
        let activity = days(&[(90, 4), (100, 5), (110, 6)]);
        for span in [Some((noon(100), noon(101))), None] {
            let line = Timeline::over(span, &activity, 5).expect("a timeline");
            assert_eq!((line.start, line.observed.len(), line.gone), (90 * DAY, 21, 10), "{span:?}");
        }
    }

    #[test]
    fn a_short_time_is_drawn_by_hour_where_every_day_has_hours() {
        let (from, to) = (noon(100), noon(101));
        let mut activity = days(&[(100, 4), (101, 5)]);
        let line = over((from, to), &activity, 9);
        assert_eq!((line.step, &line.observed[..]), (DAY, &[4, 5][..]), "no hours");
        activity.hours = vec![(from, 4)];
        assert_eq!(over((from, to), &activity, 9).step, DAY, "one day has none");
        // What came while they were counted is in the day.
        activity.hours.push((to, 3));
        let line = over((from, to), &activity, 9);
        assert_eq!((line.step, line.start, line.observed.len(), line.uncounted), (HOUR, from, 25, 2));
        assert_eq!((line.observed[0], line.observed[24]), (4, 3));
        activity.hours[0].1 = 0;
        assert_eq!(over((from, to), &activity, 9).step, DAY, "hours hold less than half of it");
    }

    #[test]
    fn bounds_are_those_of_the_buckets() {
        let line = over((noon(100), noon(102) + 23 * HOUR), &days(&[(100, 1)]), 1);
        assert_eq!(line.bounds().collect::<Vec<_>>(), [100, 101, 102, 103, 104].map(|day| day * DAY));
    }
}
