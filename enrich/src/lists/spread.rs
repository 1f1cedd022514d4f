//! Whether two servers answer from the same entries of a list: it does not travel, each takes the list's file for itself.

/// How long a list may be on its way, in seconds: those that are fetched daily reach each server within a day.
const DAILY: f64 = 86_400.0;

/// What a server answers from.
#[derive(Clone, Debug)]
pub struct InUse {
    /// The name of the entries, made of their content.
    pub generation: String,
    /// That of the entries before.
    pub previous: Option<String>,
    /// For how many seconds they have answered.
    pub age: f64,
}

/// Whether one of two servers has missed a change for longer than a list is on its way. Of a list that changes each day one of
/// them is never older than a day: there it counts that the other has left the older one behind twice.
pub fn stands_still(one: &InUse, other: &InUse) -> bool {
    let (newer, older) = if one.age < other.age { (one, other) } else { (other, one) };
    let is_behind_twice = newer.previous.as_ref().is_some_and(|previous| *previous != older.generation);
    one.generation != other.generation && (newer.age > DAILY || is_behind_twice && older.age > 2.0 * DAILY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: f64 = 3_600.0;

    fn in_use(generation: &str, previous: Option<&str>, hours: f64) -> InUse {
        InUse { generation: generation.to_owned(), previous: previous.map(str::to_owned), age: hours * HOUR }
    }

    /// Whoever of the two is asked says the same.
    fn differs(one: InUse, other: InUse) -> bool {
        let differs = stands_still(&one, &other);
        assert_eq!(stands_still(&other, &one), differs);
        differs
    }

    #[test]
    fn the_same_entries_are_the_same_at_any_age() {
        assert!(!differs(in_use("b", Some("a"), 1.0), in_use("b", None, 900.0)));
    }

    #[test]
    fn another_version_has_a_day_to_arrive() {
        assert!(!differs(in_use("b", Some("a"), 23.0), in_use("a", None, 900.0)));
        assert!(differs(in_use("b", Some("a"), 25.0), in_use("a", None, 900.0)));
        // Two lists of one name, of which nothing is known from before.
        assert!(differs(in_use("b", None, 25.0), in_use("a", None, 25.0)));
    }

    #[test]
    fn a_server_that_stands_still_is_told_although_the_list_changes_each_day() {
        assert!(!differs(in_use("c", Some("b"), 1.0), in_use("a", None, 47.0)));
        assert!(differs(in_use("c", Some("b"), 1.0), in_use("a", None, 49.0)));
        // Or each hour.
        assert!(differs(in_use("y", Some("x"), 0.5), in_use("a", None, 49.0)));
    }

    #[test]
    fn servers_that_fetch_another_version_each_day_do_not_stand_still() {
        // One at noon and the other at midnight: they never have the same.
        assert!(!differs(in_use("c", Some("a"), 1.0), in_use("b", Some("z"), 13.0)));
        assert!(!differs(in_use("c", Some("a"), 11.9), in_use("b", Some("z"), 23.9)));
    }

    #[test]
    fn a_server_that_was_added_late_has_missed_nothing() {
        // It is the first with the next version, and has had the one of before for a shorter time than the others.
        assert!(!differs(in_use("b", Some("a"), 1.0), in_use("a", None, 900.0)));
        // Its first version is one that the others are still to get.
        assert!(!differs(in_use("b", None, 1.0), in_use("a", None, 900.0)));
    }
}
