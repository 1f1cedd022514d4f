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
