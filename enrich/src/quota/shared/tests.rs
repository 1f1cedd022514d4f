use super::*;

const DAY: Micros = 86_400_000_000;
/// In the window that began a moment ago.
const NOW: Micros = 20_000 * DAY + 5;
const TODAY: Micros = 20_000 * DAY;

fn ledger(window_start: Micros, used: u64) -> Ledger {
    Ledger { window_start, used, closed_until: None }
}

fn kept(account: Option<&Account>, ledger: Ledger) -> Kept {
    Kept { account: account.cloned(), ledger, writer: Writer::Own }
}

struct Fixture {
    _dir: tempfile::TempDir,
    quota: SharedQuota,
    account: Account,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().expect("a directory");
        let quota = SharedQuota::new(&dir.path().join("below"));
        Fixture { _dir: dir, quota, account: Account::of("https://api.example", None) }
    }

    /// A database has spent so much of the day of `now`.
    fn spend(&self, database: u32, used: u64, limit: Option<u64>, now: Micros) -> Result<(), NotSpent> {
        self.quota.spend(&self.account, database, &ledger(Window::Day.start(now), used), limit, now, Window::Day)
    }

    fn by_others(&self, database: u32, now: Micros) -> u64 {
        self.quota.by_others(&self.account, database, now, Window::Day).expect("read")
    }
}

#[test]
fn three_databases_spend_one_limit() {
    let shared = Fixture::new();
    assert_eq!(shared.by_others(1, NOW), 0);
    shared.spend(1, 4, Some(10), NOW).expect("4 of 10");
    shared.spend(2, 5, Some(10), NOW).expect("9 of 10");
    assert!(matches!(shared.spend(3, 2, Some(10), NOW), Err(NotSpent::Others)));
    shared.spend(3, 1, Some(10), NOW).expect("10 of 10");
    assert!(matches!(shared.spend(1, 5, Some(10), NOW), Err(NotSpent::Others)));
    assert_eq!(shared.by_others(1, NOW), 6);
    // Given back, it is there for the others.
    shared.spend(2, 3, None, NOW).expect("given back");
    shared.spend(1, 6, Some(10), NOW).expect("10 of 10");
    // A limit that was lowered stops all, and giving back goes on.
    assert!(matches!(shared.spend(1, 7, Some(5), NOW), Err(NotSpent::Others)));
    shared.spend(1, 5, None, NOW).expect("given back");
}

#[test]
fn windows_and_accounts_are_told_apart() {
    let shared = Fixture::new();
    let other = Account::of("https://other.example", None);
    let spend_other = |now| shared.quota.spend(&other, 2, &ledger(TODAY, 10), Some(10), now, Window::Day);
    shared.spend(1, 10, Some(10), NOW).expect("all of it");
    spend_other(NOW).expect("of another account");
    shared.spend(2, 10, Some(10), NOW + DAY).expect("the next day");
    assert_eq!(shared.by_others(1, NOW + DAY), 10);
    // Old entries are removed.
    shared.spend(2, 1, Some(10), NOW + 90 * DAY).expect("months later");
    assert_eq!(shared.by_others(1, NOW + 90 * DAY), 1);
    assert!(!fs::read_to_string(shared.quota.path()).expect("text").contains(&other.0));
}

#[test]
fn a_clock_that_was_far_ahead_counts_until_the_window_of_now_ends() {
    let shared = Fixture::new();
    shared.spend(2, 10, Some(10), NOW + 3650 * DAY).expect("under a wrong clock");
    // Nothing is left to be spent, so that nobody writes.
    assert!(matches!(shared.spend(1, 1, Some(10), NOW), Err(NotSpent::Others)));
    assert_eq!(shared.by_others(1, NOW), 10, "it was spent, whenever that was");
    assert_eq!(shared.by_others(1, NOW + DAY), 0);
    shared.spend(1, 10, Some(10), NOW + DAY).expect("all of the next day");
}

#[test]
fn a_clock_set_back_over_midnight_does_not_give_the_quota_twice() {
    let shared = Fixture::new();
    shared.spend(1, 4, Some(10), NOW).expect("today");
    shared.spend(2, 6, Some(10), NOW).expect("today");
    let before_midnight = TODAY - 5;
    assert_eq!(shared.by_others(1, before_midnight), 6);
    assert!(matches!(shared.spend(3, 1, Some(10), before_midnight), Err(NotSpent::Others)));
    assert_eq!((shared.by_others(1, NOW), shared.by_others(3, NOW)), (6, 10), "nothing was changed");
}

#[test]
fn what_others_spent_is_not_removed_for_a_ledger_that_is_ahead() {
    let shared = Fixture::new();
    shared.spend(1, 4, Some(10), NOW).expect("today");
    let ahead = ledger(TODAY + 3650 * DAY, 3);
    shared.quota.spend(&shared.account, 2, &ahead, None, NOW, Window::Day).expect("given back");
    assert_eq!((shared.by_others(2, NOW), shared.by_others(3, NOW)), (4, 7));
}

#[test]
fn what_cannot_be_read_is_not_taken_for_empty() {
    let shared = Fixture::new();
    shared.spend(1, 10, Some(10), NOW).expect("written");
    fs::write(shared.quota.path(), b"{\"cut").expect("broken");
    assert!(matches!(shared.spend(2, 1, Some(10), NOW), Err(NotSpent::Io(..))));
    assert!(shared.quota.by_others(&shared.account, 2, NOW, Window::Day).is_err());
}

#[test]
fn databases_that_spend_at_once_never_spend_more_than_there_is() {
    let shared = Fixture::new();
    let spend = |database: u32| {
        let mut used = 0;
        for _ in 0..50 {
            if shared.spend(database, used + 1, Some(40), NOW).is_ok() {
                used += 1;
            }
        }
        used
    };
    let all: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=4).map(|database| scope.spawn(move || spend(database))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(all, 40);
}

#[test]
fn a_key_finds_its_own_spending_when_it_comes_back() {
    let shared = Fixture::new();
    let [one, two] = ["one", "two"]
        .map(|key| Account::of("https://api.example", Some(&crate::secrets::Secret::new(key.to_owned()).mark())));
    let of = |account: &Account, kept: Option<&Kept>| {
        shared.quota.ledger_of(account, 1, kept, NOW, Window::Day).expect("read")
    };
    let spent = |account: &Account, used| kept(Some(account), ledger(TODAY, used));
    assert_eq!(of(&one, None), Ledger::default());
    // Before there was a column for it, the account that asks is the account that asked.
    assert_eq!(of(&one, Some(&kept(None, ledger(TODAY, 7)))).used, 7);
    let closed = kept(Some(&one), Ledger { closed_until: Some(NOW + DAY), ..ledger(TODAY, 7) });
    assert_eq!(of(&one, Some(&closed)), closed.ledger);
    assert_eq!(of(&two, Some(&closed)), Ledger::default(), "neither spent nor closed");
    assert_eq!(of(&two, Some(&closed)), Ledger::default(), "also after a kill in between");
    // It was in no file before: another database sees it, too.
    assert_eq!(shared.quota.by_others(&one, 2, NOW, Window::Day).expect("read"), 7);
    assert_eq!(of(&one, Some(&spent(&two, 3))), ledger(TODAY, 7));
    assert_eq!(of(&two, Some(&spent(&one, 8))), ledger(TODAY, 3));
    assert_eq!(of(&one, None).used, 8, "a table that was made anew has forgotten nothing");
}

#[test]
fn an_account_in_a_table_is_one_or_is_none() {
    let account = Account::of("https://api.example", None);
    assert_eq!(Account::parse(account.as_str()), Some(account));
    for text in ["", "x", "0123456789abcdef", "0123456789abcdef0123456789abcdeg", "é123456789abcdef0123456789abcde"] {
        assert_eq!(Account::parse(text), None, "{text}");
    }
}

#[test]
fn a_row_of_a_restored_dump_gives_nothing_back() {
    let shared = Fixture::new();
    let [account, other] = [&shared.account, &Account::of("https://other.example", None)];
    let of = |row: &Kept| shared.quota.ledger_of(account, 1, Some(row), NOW, Window::Day).expect("read");
    let used = |ledger: &Ledger| (ledger.window_start, ledger.used);
    shared.spend(1, 51, None, NOW).expect("later");
    let earlier = Ledger { closed_until: Some(NOW + DAY), ..ledger(TODAY, 10) };
    for row in [kept(Some(account), earlier), kept(None, earlier)] {
        assert_eq!(used(&of(&row)), (TODAY, 51));
        assert_eq!(of(&row).closed_until, Some(NOW + DAY));
    }
    assert_eq!(used(&of(&kept(Some(account), ledger(TODAY - DAY, 70)))), (TODAY, 51), "yesterday's");
    assert_eq!(used(&of(&kept(Some(account), ledger(TODAY, 60)))), (TODAY, 60), "more than the file has");
    assert_eq!(used(&of(&kept(Some(account), ledger(TODAY + 3650 * DAY, 60)))), (TODAY + 3650 * DAY, 60));
    // Neither does one that is put away.
    let put_away = |row: &Kept| shared.quota.ledger_of(other, 1, Some(row), NOW, Window::Day).expect("read");
    assert_eq!(put_away(&kept(Some(account), ledger(TODAY, 10))), Ledger::default());
    assert_eq!(shared.by_others(2, NOW), 51);
    put_away(&kept(Some(account), ledger(TODAY, 55)));
    assert_eq!(shared.by_others(2, NOW), 55);
}

#[test]
fn a_row_that_came_with_a_copy_of_a_database_counts_there() {
    let shared = Fixture::new();
    let account = &shared.account;
    let by =
        |writer| Kept { writer, ..kept(Some(account), Ledger { closed_until: Some(NOW + 1), ..ledger(TODAY, 6) }) };
    let of = |row: &Kept| shared.quota.ledger_of(account, 2, Some(row), NOW, Window::Day).expect("read");
    // Of a database that the file knows nothing of, and of another server: nobody else counts it.
    for writer in [Writer::Other(1), Writer::Unknown] {
        assert_eq!(of(&by(writer)).used, 6);
    }
    shared.spend(1, 8, None, NOW).expect("the original's");
    let begun = of(&by(Writer::Other(1)));
    assert_eq!((begun.used, begun.closed_until), (0, Some(NOW + 1)), "the account is closed for both");
    shared.spend(2, 2, None, NOW).expect("its own");
    assert_eq!(of(&by(Writer::Other(1))).used, 2);
    // Nor is it put away as its own.
    let other = Account::of("https://other.example", None);
    shared.quota.ledger_of(&other, 3, Some(&by(Writer::Other(1))), NOW, Window::Day).expect("read");
    assert_eq!(shared.by_others(4, NOW), 10);
}

#[test]
fn what_a_week_has_spent_counts_for_the_day_on_which_it_becomes_the_window() {
    // 2024-10-09.
    let wednesday = 20_005 * DAY;
    let shared = Fixture::new();
    let monday = Window::Week.start(wednesday);
    assert_eq!(monday, wednesday - 2 * DAY);
    for (database, used) in [(1, 4), (2, 5)] {
        let spent = ledger(monday, used);
        shared.quota.spend(&shared.account, database, &spent, Some(10), monday, Window::Week).expect("on Monday");
    }
    let row = kept(Some(&shared.account), ledger(monday, 4));
    let now = wednesday + 5;
    let of = |now| shared.quota.ledger_of(&shared.account, 1, Some(&row), now, Window::Day).expect("read");
    assert_eq!(of(now), ledger(wednesday, 4));
    assert_eq!((shared.by_others(1, now), shared.by_others(2, now)), (5, 4));
    assert!(matches!(shared.spend(1, 6, Some(10), now), Err(NotSpent::Others)));
    // For that day alone.
    assert_eq!(shared.by_others(1, now + DAY), 0);
    shared.spend(1, 10, Some(10), now + DAY).expect("all of the next day");
    // As a week's, both days count that are known of.
    let by_others = shared.quota.by_others(&shared.account, 3, now + DAY, Window::Week).expect("read");
    assert_eq!(by_others, 15);
    // A week that is over has nothing to do with today.
    let shared = Fixture::new();
    shared
        .quota
        .spend(&shared.account, 2, &ledger(monday - 7 * DAY, 5), None, monday - DAY, Window::Week)
        .expect("then");
    assert_eq!(shared.by_others(1, now), 0);
}

#[test]
fn an_account_is_the_same_in_all_spellings_of_its_address() {
    let is_same = |one, other| Account::of(one, None) == Account::of(other, None);
    for other in ["https://api.example/", "HTTPS://API.Example", " https://api.example:443// "] {
        assert!(is_same("https://api.example", other), "{other}");
    }
    assert!(is_same("https://api.example/Path", "https://API.example/Path/"));
    for other in
        ["https://api.example/path", "https://api.example:8443", "http://api.example", "https://api.example.net"]
    {
        assert!(!is_same("https://api.example", other), "{other}");
        assert!(!is_same("https://api.example/Path", other), "{other}");
    }
}

#[test]
fn one_read_that_fails_as_a_window_begins_does_not_keep_the_window_before() {
    let shared = Fixture::new();
    shared.spend(2, 7, Some(10), NOW).expect("today");
    let mut look = look::Look::default();
    let began = Instant::now();
    let mut at = |now: Micros, seconds| {
        look.by_others(&shared.quota, &shared.account, 1, (now, began + Duration::from_secs(seconds)), Window::Day)
    };
    assert_eq!(at(NOW, 0), 7);
    // It cannot be read, and looks as it did.
    let path = shared.quota.path();
    let (good, modified) =
        (fs::read(path).expect("read"), fs::metadata(path).and_then(|m| m.modified()).expect("time"));
    let write = |bytes: &[u8]| {
        fs::write(path, bytes).expect("written");
        File::options().write(true).open(path).and_then(|file| file.set_modified(modified)).expect("as before");
    };
    write(&vec![b'x'; good.len()]);
    assert_eq!(at(NOW + DAY, 10), 7, "the last that is known");
    write(&good);
    assert_eq!(at(NOW + DAY, 10), 7, "it is not tried without end");
    assert_eq!(at(NOW + DAY, 11), 0);
}
