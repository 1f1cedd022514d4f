//! How long answers take, counted in buckets: any number of them costs the same memory, and two sets of buckets can be
//! added. Their quantiles are exact to within the width of a bucket, a quarter of the value.

use std::time::Duration;

/// The buckets of one decade, in tenths: ten, each a quarter wider than the one before.
const STEPS: [u64; 10] = [10, 12, 16, 20, 25, 32, 40, 50, 63, 80];
/// Decades, from 100 ns to 100 s.
const DECADES: usize = 9;
/// The bounds between buckets.
const BOUNDS_LEN: usize = STEPS.len() * DECADES + 1;
/// How many buckets there are; the last one is for everything longer than the last bound.
pub const BUCKETS: usize = BOUNDS_LEN + 1;

/// Upper bounds of all buckets but the last, in nanoseconds, ascending; a bound belongs to its bucket. 1, 2.5 and 5 of
/// every decade are among them.
pub const BOUNDS: [u64; BOUNDS_LEN] = {
    let mut bounds = [0; BOUNDS_LEN];
    let (mut at, mut decade) = (0, 10);
    while at < BOUNDS_LEN {
        bounds[at] = STEPS[at % STEPS.len()] * decade;
        at += 1;
        if at.is_multiple_of(STEPS.len()) {
            decade *= 10;
        }
    }
    bounds
};

/// The bucket of a duration.
pub fn bucket(took: Duration) -> usize {
    let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    BOUNDS.partition_point(|bound| *bound < ns)
}

/// The duration that a part `q` (0 to 1) of the counted values does not exceed: spread evenly within a bucket, as
/// Prometheus's `histogram_quantile` has it. `None` if nothing was counted. A longer value than the last bound counts
/// as that bound.
pub fn quantile(counts: &[u64; BUCKETS], q: f64) -> Option<Duration> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = q.clamp(0.0, 1.0) * total as f64;
    let mut below = 0;
    for (at, count) in counts.iter().enumerate() {
        let reached = below + count;
        if *count > 0 && reached as f64 >= rank {
            let lower = at.checked_sub(1).map_or(0, |before| BOUNDS[before]);
            let upper = BOUNDS.get(at).copied().unwrap_or(lower);
            let part = ((rank - below as f64) / *count as f64).max(0.0);
            return Some(Duration::from_nanos(lower + ((upper - lower) as f64 * part) as u64));
        }
        below = reached;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counted(durations: impl IntoIterator<Item = Duration>) -> [u64; BUCKETS] {
        let mut counts = [0; BUCKETS];
        durations.into_iter().for_each(|took| counts[bucket(took)] += 1);
        counts
    }

    #[test]
    fn bounds_go_from_a_tenth_of_a_microsecond_to_a_hundred_seconds() {
        assert_eq!((BOUNDS[0], BOUNDS[BOUNDS_LEN - 1]), (100, 100_000_000_000));
        assert!(BOUNDS.windows(2).all(|pair| pair[0] < pair[1] && pair[1] * 100 <= pair[0] * 134), "{BOUNDS:?}");
        for whole in [1_000_000, 2_500_000, 5_000_000, 1_000_000_000] {
            assert!(BOUNDS.contains(&whole), "{whole}");
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_nothing_is_too_short_or_too_long() {
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::from_nanos(100)), 0);
        assert_eq!(bucket(Duration::from_nanos(101)), 1);
        assert_eq!(bucket(Duration::from_secs(100)), BUCKETS - 2);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn of_nothing_there_is_no_quantile() {
        assert_eq!(quantile(&[0; BUCKETS], 0.5), None);
    }

    #[test]
    fn what_is_longer_than_the_last_bound_passes_for_it() {
        assert_eq!(quantile(&counted([Duration::from_secs(5000)]), 0.99), Some(Duration::from_secs(100)));
    }

    proptest! {
        #[test]
        fn a_quantile_is_right_to_within_a_bucket(
            mut ns in prop::collection::vec(100u64..50_000_000_000, 1..400),
            q in prop::sample::select(vec![0.5, 0.95, 0.99]),
        ) {
            let found = quantile(&counted(ns.iter().map(|ns| Duration::from_nanos(*ns))), q).unwrap().as_nanos() as f64;
            ns.sort_unstable();
            let exact = ns[((q * ns.len() as f64).ceil() as usize).clamp(1, ns.len()) - 1] as f64;
            prop_assert!(found <= exact * 1.34 && found * 1.34 >= exact, "{} for {}", found, exact);
        }
    }
}
