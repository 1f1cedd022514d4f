use super::*;

const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8));

fn ticket(number: u64) -> Ticket {
    Ticket { slot: 0, number }
}

#[test]
fn everybody_who_waits_for_an_address_is_told_once() {
    let mut interests = Interests::default();
    interests.add_job(0);
    interests.add_job(1);
    for number in 1..=3 {
        interests.add_question(IP, ticket(number));
    }
    interests.expect(IP, Source::Cymru, Some(0));
    interests.expect(IP, Source::Cymru, Some(1));
    interests.expect(IP, Source::Cymru, Some(1));
    interests.settle(IP, Source::Cymru, End::Found(true));
    interests.settle(IP, Source::Cymru, End::Failed);
    assert_eq!(interests.answered(), [1, 2, 3].map(ticket));
    assert_eq!(interests.answered(), []);
    for job in 0..2 {
        assert_eq!(
            interests.job_progress(job).0,
            Progress { processed: 1, enriched: 1, cymru_asn: 1, ..Progress::default() }
        );
    }
    assert!(interests.is_empty());
}

#[test]
fn an_address_is_settled_by_the_last_of_its_sources() {
    let mut interests = Interests::default();
    interests.add_job(0);
    interests.expect(IP, Source::Cymru, Some(0));
    interests.expect(IP, Source::GreyNoise, Some(0));
    interests.settle(IP, Source::GreyNoise, End::NotFound);
    assert!(interests.job_waits_for(0, IP) && !interests.job_progress(0).1);
    interests.settle(IP, Source::Cymru, End::Failed);
    assert_eq!(interests.job_progress(0), (Progress { processed: 1, errors: 1, ..Progress::default() }, true));
}

#[test]
fn nobody_is_told_before_it_is_known_which_sources_are_asked() {
    let mut interests = Interests::default();
    interests.add_question(IP, ticket(1));
    interests.await_claim(IP);
    interests.await_claim(IP);
    interests.expect(IP, Source::Cymru, None);
    interests.claimed(IP);
    interests.settle(IP, Source::Cymru, End::NotFound);
    assert_eq!(interests.answered(), []);
    interests.claimed(IP);
    assert_eq!(interests.answered(), [ticket(1)]);
}

#[test]
fn what_comes_after_a_job_has_ended_counts_for_nobody() {
    let mut interests = Interests::default();
    interests.add_job(0);
    interests.expect(IP, Source::Cymru, Some(0));
    interests.remove_job(0);
    assert!(interests.is_empty());
    // Another job has its slot.
    interests.add_job(0);
    interests.settle(IP, Source::Cymru, End::Found(true));
    assert_eq!(interests.job_progress(0), (Progress::default(), true));
    interests.remove_job(0);
    interests.expect(IP, Source::GreyNoise, Some(0));
    assert!(interests.is_empty());
}

#[test]
fn a_session_goes_on_waiting_when_a_job_ends() {
    let mut interests = Interests::default();
    interests.add_job(0);
    interests.add_question(IP, ticket(1));
    interests.expect(IP, Source::Cymru, Some(0));
    interests.remove_job(0);
    interests.settle(IP, Source::Cymru, End::Skipped);
    assert_eq!(interests.answered(), [ticket(1)]);
}

#[test]
fn addresses_that_a_job_takes_back_count_only_once_they_are_named_again() {
    let mut interests = Interests::default();
    interests.add_job(0);
    interests.add_job(1);
    interests.expect(IP, Source::Cymru, Some(0));
    interests.expect(IP, Source::Cymru, Some(1));
    interests.take_back(0, &[IP, IpAddr::from([9, 9, 9, 9])]);
    interests.take_back(0, &[IP]);
    assert!(!interests.job_waits_for(0, IP) && interests.job_waits_for(1, IP));
    assert_eq!((interests.of_job(0), interests.of_job(1)), (0, 1));
    interests.settle(IP, Source::Cymru, End::Found(true));
    assert_eq!(interests.job_progress(0), (Progress::default(), true));
    assert_eq!(interests.job_progress(1).0.processed, 1);
    interests.expect(IP, Source::GreyNoise, Some(0));
    interests.settle(IP, Source::GreyNoise, End::NotFound);
    assert_eq!(interests.job_progress(0), (Progress { processed: 1, not_found: 1, ..Progress::default() }, true));
    // A session that waits goes on waiting; an address without another waiter is forgotten.
    interests.add_question(IP, ticket(1));
    interests.expect(IP, Source::Cymru, Some(0));
    interests.take_back(0, &[IP]);
    interests.settle(IP, Source::Cymru, End::Skipped);
    assert_eq!(interests.answered(), [ticket(1)]);
    interests.expect(IP, Source::Cymru, Some(0));
    interests.take_back(0, &[IP]);
    assert!(interests.is_empty());
}

#[test]
fn an_answer_from_before_counts_for_its_job_with_those_that_come() {
    let mut interests = Interests::default();
    interests.add_job(0);
    interests.add_job(1);
    // Nobody waits yet: there is nothing to note.
    interests.note_answer(0, IP, Source::Cymru, End::Found(true));
    assert!(interests.is_empty());
    interests.expect(IP, Source::GreyNoise, Some(0));
    interests.expect(IP, Source::GreyNoise, Some(1));
    interests.note_answer(0, IP, Source::Cymru, End::Found(true));
    interests.settle(IP, Source::GreyNoise, End::NotFound);
    let known = Progress { processed: 1, enriched: 1, cymru_asn: 1, ..Progress::default() };
    assert_eq!(interests.job_progress(0), (known, true));
    let unknown = Progress { processed: 1, not_found: 1, ..Progress::default() };
    assert_eq!(interests.job_progress(1), (unknown, true), "the other job did not ask that source");
    // With its slot, the notes of a job go.
    interests.expect(IP, Source::GreyNoise, Some(0));
    interests.expect(IP, Source::GreyNoise, Some(1));
    interests.note_answer(0, IP, Source::Cymru, End::Found(true));
    interests.remove_job(0);
    interests.add_job(0);
    interests.expect(IP, Source::GreyNoise, Some(0));
    interests.settle(IP, Source::GreyNoise, End::NotFound);
    assert_eq!(interests.job_progress(0).0, unknown);
}

#[test]
fn an_address_that_maxmind_knows_is_known_unless_a_source_failed() {
    let of = |ends: &[(Source, End)]| {
        let mut progress = Progress::default();
        progress.add(ends);
        progress
    };
    let (maxmind, one) = ((Source::MaxMind, End::Found(true)), Progress { processed: 1, ..Progress::default() });
    assert_eq!(of(&[maxmind, (Source::GreyNoise, End::NotFound)]), Progress { enriched: 1, ..one });
    assert_eq!(of(&[maxmind, (Source::GreyNoise, End::Skipped)]), Progress { enriched: 1, ..one });
    assert_eq!(of(&[maxmind, (Source::GreyNoise, End::Failed)]), Progress { errors: 1, ..one });
    assert_eq!(of(&[]), Progress { skipped: 1, ..one });
}
