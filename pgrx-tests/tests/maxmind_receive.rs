//! Files that come from another server of the same data: installed once, whatever this one had, and without disturbing
//! what is known of the operator's own file.

use crate::maxmind_support::*;
use asn_inventory_tests::prelude::*;
use enrich::maxmind::receive::Offer;
use enrich::maxmind::store::{GenerationInfo, Outcome, StoreError};

/// The file that answers on `from` is taken over to `to`, in parts of 1000 bytes.
fn take(from: &Site, to: &Site) -> Option<Outcome> {
    let info = from.state(ASN).current.expect("a generation");
    let bytes = std::fs::read(from.current(ASN).join("database.mmdb")).expect("a database");
    give(to, &bytes, &info)
}

fn give(to: &Site, bytes: &[u8], info: &GenerationInfo) -> Option<Outcome> {
    give_at(to, bytes, info, 10)
}

fn give_at(to: &Site, bytes: &[u8], info: &GenerationInfo, offered_at: i64) -> Option<Outcome> {
    let mut draft = to.store.draft(&edition(ASN)).expect("a draft");
    bytes.chunks(1000).for_each(|part| draft.add(part).expect("a part"));
    draft.install(&to.store, &edition(ASN), &offer(info, offered_at), &|| ()).expect("an answer")
}

fn offer(info: &GenerationInfo, offered_at: i64) -> Offer {
    Offer { sha256: info.sha256.clone(), build_epoch: info.build_epoch as i64, offered_at }
}

/// Whether it wants what the other has, offered at this time.
fn wants_at(site: &Site, from: &Site, offered_at: i64) -> bool {
    let info = from.state(ASN).current.expect("a generation");
    site.store.wants(&edition(ASN), &offer(&info, offered_at)).expect("a manifest")
}

fn wants(site: &Site, from: &Site) -> bool {
    wants_at(site, from, 10)
}

fn file(number: u32, build_epoch: u64) -> MmdbWriter {
    MmdbWriter::new(ASN, build_epoch).insert("8.8.8.0/24", json!({ "autonomous_system_number": number }))
}

fn with(name: &str, number: u32, build_epoch: u64) -> Site {
    let site = Site::new(name);
    site.put(ASN, file(number, build_epoch));
    site.installed(ASN);
    site
}

#[test]
fn a_file_of_another_server_is_installed_once() {
    let (primary, standby) = (with("receive_from", 7, 1), Site::new("receive_to"));
    assert!(wants(&standby, &primary));
    assert!(matches!(take(&primary, &standby), Some(Outcome::Installed(_))));
    assert_eq!(asn(&standby.open(), "8.8.8.8"), Some(7));
    assert!(!wants(&standby, &primary));
    assert!(!std::fs::exists(standby.root.join("received").join("GeoLite2-ASN.mmdb")).expect("a directory"));

    // Gone, it is wanted again.
    std::fs::remove_dir_all(standby.current(ASN)).expect("removed");
    assert!(wants(&standby, &primary));
    assert!(matches!(take(&primary, &standby), Some(Outcome::Installed(_))));
    assert_eq!(asn(&standby.open(), "8.8.8.8"), Some(7));
}

#[test]
fn a_file_that_is_offered_later_is_installed_even_where_it_is_older() {
    let (primary, standby) = (with("receive_older_from", 7, 1), with("receive_older_to", 8, 2));
    // At first contact an older file may be one that was left there.
    assert!(!wants_at(&standby, &primary, 5));
    assert!(!wants_at(&standby, &primary, 5));
    assert!(wants_at(&standby, &primary, 10));
    assert!(matches!(take(&primary, &standby), Some(Outcome::Installed(_))));
    assert_eq!(asn(&standby.open(), "8.8.8.8"), Some(7));
    // The operator's file was looked at before, and is no news.
    assert!(!standby.has_news(ASN));
    // A new one is.
    standby.put(ASN, file(9, 99));
    standby.installed(ASN);
    assert_eq!(asn(&standby.open(), "8.8.8.8"), Some(9));
    assert!(!wants(&standby, &primary), "what was taken once comes back only when it is offered again");
    assert!(wants_at(&standby, &primary, 11));
}

#[test]
fn of_two_offers_the_later_one_stays() {
    let (one, other, standby) = (with("receive_two_1", 1, 1), with("receive_two_2", 2, 1), Site::new("receive_two_to"));
    assert!(matches!(take(&one, &standby), Some(Outcome::Installed(_))));
    assert!(!wants_at(&standby, &other, 9));
    assert!(wants_at(&standby, &other, 11));
}

#[test]
fn an_offer_of_a_clock_that_was_ahead_keeps_no_later_one_out() {
    let (one, other, standby) =
        (with("receive_ahead_1", 1, 1), with("receive_ahead_2", 2, 1), Site::new("receive_ahead"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_micros() as i64;
    let ahead = now + 10 * 86_400_000_000;
    let info = one.state(ASN).current.expect("a generation");
    let bytes = std::fs::read(one.current(ASN).join("database.mmdb")).expect("a database");
    assert!(wants_at(&standby, &one, ahead));
    assert!(matches!(give_at(&standby, &bytes, &info, ahead), Some(Outcome::Installed(_))));
    // The same offer is no new one, whatever its time.
    standby.put(ASN, file(3, 9));
    standby.installed(ASN);
    assert!(!wants_at(&standby, &one, ahead));
    assert!(wants_at(&standby, &other, now));
}

#[test]
fn a_file_that_claims_to_be_of_the_future_keeps_no_offer_out() {
    let (primary, standby) = (with("receive_honest", 7, 1), with("receive_future", 8, 1 << 40));
    assert!(wants(&standby, &primary));
    assert!(matches!(take(&primary, &standby), Some(Outcome::Installed(_))));
    assert_eq!(asn(&standby.open(), "8.8.8.8"), Some(7));
}

#[test]
fn nobody_else_imports_while_a_file_is_put_together() {
    let (primary, standby) = (with("receive_lock_from", 7, 1), with("receive_lock_to", 8, 1));
    let draft = standby.store.draft(&edition(ASN)).expect("a draft");
    assert!(matches!(standby.store.draft(&edition(ASN)), Err(StoreError::Busy)));
    let import = standby.store.import(&standby.source, &editions(), false, &|| ());
    assert!(matches!(import, Err(StoreError::Busy)));
    drop(draft);
    // A file that is taken away meanwhile counts as nothing.
    let info = primary.state(ASN).current.expect("a generation");
    let bytes = std::fs::read(primary.current(ASN).join("database.mmdb")).expect("a database");
    let mut draft = standby.store.draft(&edition(ASN)).expect("a draft");
    draft.add(&bytes).expect("a part");
    std::fs::remove_file(standby.root.join("received").join("GeoLite2-ASN.mmdb")).expect("removed");
    assert!(draft.install(&standby.store, &edition(ASN), &offer(&info, 10), &|| ()).is_err());
    assert!(wants(&standby, &primary));
}

#[test]
fn a_file_without_a_description_travels_as_well() {
    let (primary, standby) = (Site::new("receive_plain_from"), Site::new("receive_plain_to"));
    primary.put(ASN, file(7, 1).optional_metadata(&[]));
    primary.installed(ASN);
    assert!(matches!(take(&primary, &standby), Some(Outcome::Installed(_))));
    assert_eq!(
        standby.state(ASN).current.map(|info| info.directory),
        primary.state(ASN).current.map(|info| info.directory)
    );
    // And the same file of the operator's is the same.
    primary.put(ASN, file(7, 1).optional_metadata(&[]));
    assert_eq!(primary.import(ASN), Outcome::Unchanged);
}

#[test]
fn a_file_that_is_here_already_is_not_sent_and_counts_as_taken() {
    let (primary, standby) = (with("receive_same_from", 7, 1), with("receive_same_to", 7, 1));
    assert!(!wants(&standby, &primary));
    standby.put(ASN, file(9, 99));
    standby.installed(ASN);
    assert!(!wants(&standby, &primary));
}

#[test]
fn bytes_that_are_not_those_that_were_named_install_nothing() {
    let (primary, standby) = (with("receive_bytes_from", 7, 1), with("receive_bytes_to", 8, 1));
    let mut info = primary.state(ASN).current.expect("a generation");
    assert_eq!(give(&standby, b"something else", &info), None);
    assert!(wants(&standby, &primary));
    // Named rightly, they are still no database. What is known of the operator's file stays as it was.
    let bytes = vec![0u8; 5000];
    let before = standby.state(ASN);
    info.sha256 = "7ca5bd879f393d9dd05b14f38add9c0fc6b67928f7f2d261b2e47a32ee8219e3".to_owned();
    assert!(matches!(give(&standby, &bytes, &info), Some(Outcome::Refused(_))));
    assert_eq!(standby.state(ASN), before);
    assert_eq!(asn(&standby.open(), "8.8.8.8"), Some(8));
    assert!(matches!(take(&primary, &standby), Some(Outcome::Installed(_))));
    assert_eq!(asn(&standby.open(), "8.8.8.8"), Some(7));
}
