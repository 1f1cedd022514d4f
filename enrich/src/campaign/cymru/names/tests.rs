use super::*;
use crate::campaign::fake::{as_name, ip};

fn answer(asn: u32) -> Answer {
    Answer { asn: Some(asn), network: None, country: None, org: None, answered_at: None }
}

fn stored(asn: u32, name: &str, is_fresh: bool) -> StoredName {
    StoredName { asn, name: Some(name.to_owned()), is_fresh }
}

fn orgs(ready: &[(IpAddr, Answer)]) -> Vec<Option<&str>> {
    ready.iter().map(|(_, answer)| answer.org.as_deref()).collect()
}

fn asked(names: &mut Names) -> Vec<u32> {
    let number = |request| if let Request::AsName(asn) = request { asn } else { 0 };
    names.ask(usize::MAX).into_iter().map(number).collect()
}

fn unknown(names: &Names) -> Vec<u32> {
    names.unknown().collect()
}

/// The table has these of all that it may know.
fn found(names: &mut Names, stored: Vec<StoredName>) -> Vec<(IpAddr, Answer)> {
    let asked = unknown(names);
    names.found(&asked, stored)
}

fn silent() -> Result<Option<AsName>, Failure> {
    Err(Failure::transient("silent"))
}

#[test]
fn a_name_that_is_too_old_is_asked_for_again_and_serves_until_there_is_another() {
    let mut names = Names::default();
    assert_eq!(names.complete(ip("198.51.0.1"), answer(1)), None);
    assert_eq!(unknown(&names), [1]);
    assert!(asked(&mut names).is_empty(), "the table may know it");
    assert!(found(&mut names, vec![stored(1, "OLD", false)]).is_empty());
    assert!(unknown(&names).is_empty());
    assert_eq!(asked(&mut names), [1]);
    assert_eq!(orgs(&names.outcome(1, silent())), [Some("OLD")]);
    // With the next answer it is asked again.
    assert_eq!(names.complete(ip("198.51.0.1"), answer(1)), None);
    found(&mut names, vec![stored(1, "OLD", false)]);
    assert_eq!(asked(&mut names), [1]);
    assert_eq!(orgs(&names.outcome(1, Ok(Some(as_name(1))))), [Some("EXAMPLE")]);
    assert_eq!(names.complete(ip("198.51.0.1"), answer(1)).unwrap().1.org.as_deref(), Some("EXAMPLE"));
}

#[test]
fn a_fresh_name_is_not_asked_for() {
    let mut names = Names::default();
    names.complete(ip("198.51.0.1"), answer(1));
    assert_eq!(orgs(&found(&mut names, vec![stored(1, "FRESH", true)])), [Some("FRESH")]);
    assert!(asked(&mut names).is_empty() && !names.wants());
}

#[test]
fn names_in_memory_are_read_again_from_the_table_after_a_while() {
    let mut names = Names::default();
    names.complete(ip("198.51.0.1"), answer(1));
    found(&mut names, vec![stored(1, "FRESH", true)]);
    names.age(FORGOTTEN_AFTER / 2);
    assert!(names.complete(ip("198.51.0.1"), answer(1)).is_some());
    names.age(FORGOTTEN_AFTER);
    assert_eq!(names.complete(ip("198.51.0.1"), answer(1)), None);
    assert_eq!(unknown(&names), [1]);
}

#[test]
fn another_name_of_a_bulk_answer_takes_the_place_of_the_known_one() {
    let mut names = Names::default();
    names.came_along(1, "OLD");
    names.came_along(1, "NEW");
    assert_eq!(names.complete(ip("198.51.0.1"), answer(1)).unwrap().1.org.as_deref(), Some("NEW"));
    // The table has the older one, and what else is to be known of the AS.
    assert_eq!(unknown(&names), [1]);
    found(&mut names, vec![stored(1, "OLD", true)]);
    assert_eq!(names.complete(ip("198.51.0.1"), answer(1)).unwrap().1.org.as_deref(), Some("NEW"));
    assert!(asked(&mut names).is_empty());
}

#[test]
fn an_as_that_came_by_bulk_is_asked_about_unless_the_table_has_it() {
    let mut names = Names::default();
    for asn in 1..=3 {
        names.came_along(asn, "BULK");
    }
    found(&mut names, vec![stored(1, "BULK", true), stored(2, "BULK", false)]);
    assert_eq!(asked(&mut names), [2, 3]);
}

#[test]
fn while_nothing_can_be_asked_an_as_is_queued_once() {
    let mut names = Names::default();
    for _ in 0..3 {
        names.complete(ip("198.51.0.1"), answer(1));
        assert!(names.release().is_empty(), "the table was not asked yet");
        found(&mut names, vec![stored(1, "OLD", false)]);
        assert_eq!(orgs(&names.release()), [Some("OLD")]);
    }
    assert_eq!(asked(&mut names), [1]);
    assert!(!names.wants());
}

#[test]
fn an_as_that_is_known_by_then_is_not_asked_about_again() {
    let mut names = Names::default();
    names.complete(ip("198.51.0.1"), answer(1));
    found(&mut names, Vec::new());
    assert_eq!(orgs(&names.release()), [None]);
    // Queued for later; the next answer asks at once.
    names.complete(ip("198.51.0.1"), answer(1));
    found(&mut names, Vec::new());
    assert_eq!(asked(&mut names), [1]);
    names.outcome(1, Ok(Some(as_name(1))));
    assert!(asked(&mut names).is_empty());
}

#[test]
fn where_the_source_is_switched_off_nothing_waits() {
    let mut names = Names::default();
    names.complete(ip("198.51.0.1"), answer(1));
    names.came_along(2, "BULK");
    assert_eq!(orgs(&names.forget()), [None]);
    assert!(!names.holds_answers() && unknown(&names).is_empty() && !names.wants());
}

#[test]
fn only_what_the_table_was_asked_about_counts_as_looked_for() {
    let mut names = Names::default();
    names.complete(ip("198.51.0.1"), answer(1));
    names.came_along(2, "BULK");
    let earlier = unknown(&names);
    assert_eq!(earlier, [1, 2]);
    names.complete(ip("198.51.0.3"), answer(3));
    names.came_along(4, "BULK");
    names.found(&earlier, Vec::new());
    assert_eq!(unknown(&names), [3, 4]);
    assert_eq!(asked(&mut names), [1, 2]);
    assert_eq!(orgs(&names.found(&[3, 4], vec![stored(3, "FRESH", true), stored(4, "BULK", true)])), [Some("FRESH")]);
    assert!(asked(&mut names).is_empty() && unknown(&names).is_empty());
}

#[test]
fn an_as_keeps_its_place_until_it_is_taken_out() {
    let mut numbers = Numbers::default();
    (1..=4).chain(1..=2).for_each(|asn| numbers.push(asn));
    assert!(numbers.remove(2) && !numbers.remove(2));
    numbers.push(2);
    assert_eq!(numbers.pop(), Some(1));
    assert_eq!(numbers.iter().collect::<Vec<_>>(), [3, 4, 2]);
    assert!(!numbers.contains(1) && numbers.contains(2));
}
