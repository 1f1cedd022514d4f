use std::fs;

use super::*;
use crate::secrets::error::Why;
use crate::secrets::fake::Directory;

fn vault() -> Reference {
    Reference::parse("vault://secret/greynoise#key").unwrap()
}

fn error(reference: &Reference, why: Why) -> SecretError {
    SecretError { reference: reference.clone(), why }
}

fn down() -> SecretError {
    error(&vault(), Why::Failed("Vault does not answer".to_owned()))
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn keeper(reference: Reference) -> Keeper {
    let mut keeper = Keeper::default();
    keeper.point(Some(reference));
    keeper.begin();
    keeper
}

fn text(keeper: &Keeper) -> Option<&str> {
    keeper.key().map(Secret::expose)
}

#[test]
fn what_cannot_be_read_at_a_start_is_tried_again_soon_and_then_less_often() {
    let start = Instant::now();
    let mut keeper = keeper(vault());
    let mut now = start;
    for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        keeper.took(Err(down()), now);
        let at = now + Duration::from_secs(pause);
        assert!(!keeper.is_due(at - Duration::from_millis(1)), "{pause}");
        assert!(keeper.is_due(at), "{pause}");
        now = at;
        keeper.begin();
        assert!(!keeper.is_due(now), "a look is under way");
    }
    keeper.took(Ok(secret("key")), now);
    assert_eq!((text(&keeper), keeper.trouble()), (Some("key"), None));
    assert!(!keeper.is_due(now + Duration::from_secs(86_400)));
    // The next trouble begins with short pauses again.
    keeper.took(Err(down()), now);
    assert!(keeper.is_due(now + Duration::from_secs(1)));
    assert_eq!(text(&keeper), Some("key"), "what was read once goes on counting");
}

#[test]
fn what_somebody_has_to_mend_is_looked_at_once_a_minute_at_most() {
    let now = Instant::now();
    let refusal = error(&vault(), Why::Refused("Vault has no such secret".to_owned()));
    let mut keeper = keeper(vault());
    keeper.took(Ok(secret("key")), now);
    keeper.took(Err(refusal.clone()), now);
    assert_eq!((text(&keeper), keeper.trouble()), (None, Some(&refusal)));
    assert!(!keeper.is_due(now + Duration::from_secs(59)));
    assert!(keeper.is_due(now + Duration::from_secs(60)));
}

#[test]
fn a_variable_does_not_come_by_waiting() {
    let now = Instant::now();
    let reference = Reference::Env("GREYNOISE_API_KEY".to_owned());
    let mut keeper = keeper(reference.clone());
    keeper.took(Err(error(&reference, Why::Unset("is not set"))), now);
    assert!(!keeper.is_due(now + Duration::from_secs(86_400)));
}

#[test]
fn a_refused_key_counts_by_its_value_and_its_place_is_read_now_and_then() {
    let start = Instant::now();
    let mut keeper = keeper(vault());
    keeper.took(Ok(secret("old")), start);
    keeper.refuse(start);
    assert!(keeper.is_refused());
    let minutes = |count: u64| start + Duration::from_secs(60 * count);
    assert!(!keeper.is_due(minutes(5) - Duration::from_secs(1)));
    assert!(keeper.is_due(minutes(5)));
    keeper.begin();
    keeper.took(Ok(secret("old")), minutes(5));
    assert!(keeper.is_refused(), "the same key is not asked with");
    assert!(!keeper.is_due(minutes(9)) && keeper.is_due(minutes(10)));
    keeper.begin();
    keeper.took(Ok(secret("new")), minutes(10));
    assert!(!keeper.is_refused());
    assert!(!keeper.is_due(minutes(1000)));
    // Replaced long after it was read: the new one is found at once.
    keeper.refuse(minutes(1000));
    assert!(keeper.is_due(minutes(1000)));
}

#[test]
fn a_reload_tries_a_refused_key_once_more() {
    let now = Instant::now();
    let mut keeper = keeper(vault());
    keeper.took(Ok(secret("key")), now);
    keeper.refuse(now);
    keeper.point(Some(vault()));
    assert!(!keeper.is_refused());
    assert_eq!(text(&keeper), Some("key"), "what is known counts until it is read");
    keeper.point(None);
    assert_eq!(text(&keeper), None);
}

#[test]
fn who_may_not_ask_without_a_key_may_with_one() {
    let now = Instant::now();
    let reference = Reference::Env("GREYNOISE_API_KEY".to_owned());
    let mut keeper = keeper(reference.clone());
    keeper.took(Err(error(&reference, Why::Unset("is not set"))), now);
    keeper.refuse(now);
    assert!(keeper.is_refused());
    keeper.took(Ok(secret("key")), now);
    assert!(!keeper.is_refused());
}

#[test]
fn a_file_is_read_again_when_it_changed_and_only_then() {
    let directory = Directory::new();
    let path = directory.path().join("key");
    let reference = Reference::File(path.clone());
    let mut now = Instant::now();
    let mut keeper = keeper(reference.clone());
    keeper.took(Err(error(&reference, Why::Unset("there is no such file"))), now);
    let mut later = || {
        now += LOOK;
        now
    };
    assert!(!keeper.is_due(later()));
    fs::write(&path, "key").unwrap();
    let at = later();
    assert!(keeper.is_due(at), "mounted after the start");
    keeper.begin();
    keeper.took(Ok(secret("key")), at);
    assert!(!keeper.is_due(later()));
    fs::write(directory.path().join("draft"), "new").unwrap();
    fs::rename(directory.path().join("draft"), &path).unwrap();
    assert!(!keeper.is_due(at + Duration::from_secs(6)), "looked at a moment ago");
    assert!(keeper.is_due(at + LOOK * 3));
}
