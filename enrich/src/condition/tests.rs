//! Conditions as people write them.

use super::*;

fn parsed(text: &str) -> Vec<(String, bool, Vec<String>)> {
    let Condition(tests) = Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    tests.into_iter().map(|test| (test.value.to_string(), test.is_one, test.literals)).collect()
}

fn test(value: &str, is_one: bool, literals: &[&str]) -> (String, bool, Vec<String>) {
    (value.to_owned(), is_one, literals.iter().map(|literal| (*literal).to_owned()).collect())
}

#[test]
fn comparisons_are_read_as_people_write_them() {
    let login = test("\"payload\"->>'eventid'", true, &["cowrie.login.failed"]);
    for text in [
        "payload->>eventid = cowrie.login.failed",
        "payload->>eventid=cowrie.login.failed",
        " payload ->> 'eventid'  =  'cowrie.login.failed' ",
    ] {
        assert_eq!(parsed(text), std::slice::from_ref(&login), "{text}");
    }
    assert_eq!(parsed("kind <> 'it''s, (a)'"), [test("kind", false, &["it's, (a)"])]);
    assert_eq!(parsed("kind!=''"), [test("kind", false, &[""])]);
    assert_eq!(
        parsed("payload->>eventid IN (a, 'b c',d) AND port not in (22) and \"odd = col\" = x"),
        [
            test("\"payload\"->>'eventid'", true, &["a", "b c", "d"]),
            test("port", false, &["22"]),
            test("odd = col", true, &["x"])
        ]
    );
    assert_eq!(parsed("payload->>'a=b' = c"), [test("\"payload\"->>'a=b'", true, &["c"])]);
    assert_eq!(parsed("a = and and b = in"), [test("a", true, &["and"]), test("b", true, &["in"])]);
}

#[test]
fn what_is_written_is_read_as_the_same() {
    for (text, written) in [
        (" kind=a ", "kind = 'a'"),
        ("kind not in (x)", "kind <> 'x'"),
        (
            "payload->>eventid in (a, 'b c') and \"odd = \"\"col\" != 'it''s'",
            "\"payload\"->>'eventid' in ('a', 'b c') and \"odd = \"\"col\" <> 'it''s'",
        ),
        ("p->'a b'->>c not in ('', and)", "\"p\"->'a b'->>'c' not in ('', 'and')"),
    ] {
        let condition = Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(condition.to_string(), written);
        assert_eq!(Condition::parse(written), Ok(condition), "{written}");
    }
}

#[test]
fn what_is_no_condition_says_where() {
    for (text, error) in [
        ("", "there is no column or path before \"\""),
        ("= x", "there is no column or path before \"= x\""),
        ("p->> = x", "there is no column or path before \"p->>\""),
        ("list(a) = x", "there is no column or path before \"list(a)\""),
        ("p->*->>a = x", "there is no column or path before \"p->*->>a\""),
        ("kind", "there is no =, <>, in or not in behind kind"),
        ("kind like x", "there is no =, <>, in or not in behind kind"),
        ("kind < 5", "there is no =, <>, in or not in behind kind"),
        ("kind =", "there is no text to compare with behind kind"),
        ("kind = \"x\"", "there is no text to compare with behind kind"),
        ("kind = 'x", "there is no text to compare with behind kind"),
        ("kind in x", "there is no text to compare with behind kind"),
        ("kind in ()", "there is no text to compare with behind kind"),
        ("kind in (a b)", "there is no text to compare with behind kind"),
        ("kind = a or kind = b", "there is no \"and\" before \"or kind = b\""),
        ("kind = a; drop table x", "there is no \"and\" before \"drop table x\""),
    ] {
        assert_eq!(Condition::parse(text).map_err(|error| error.to_string()), Err(error.to_owned()), "{text}");
    }
    let long = format!("kind in ({}x)", "x,".repeat(MOST));
    assert_eq!(Condition::parse(&long), Err(BadCondition::TooLong));
}

#[test]
fn booleans_are_read_as_postgresql_reads_them() {
    for (text, is) in [
        ("TRUE", Some(true)),
        (" t ", Some(true)),
        ("y", Some(true)),
        ("On", Some(true)),
        ("1", Some(true)),
        ("fal", Some(false)),
        ("N", Some(false)),
        ("of", Some(false)),
        ("0", Some(false)),
        ("o", None),
        ("", None),
        ("truely", None),
        ("2", None),
    ] {
        assert_eq!(boolean(text), is, "{text:?}");
    }
}

#[test]
fn a_key_that_is_a_mistake_is_named() {
    let key = |text: &str| Condition::mistaken_key(text).map(|(key, _)| key);
    assert_eq!(key("kind = login and payload->>eventid::text = x"), Some("eventid::text".to_owned()));
    assert_eq!(key("payload->>$.eventid in (a, b)"), Some("$.eventid".to_owned()));
    assert_eq!(key("payload->>'eventid::text' = x and kind <> a::b"), None);
    assert_eq!(key("payload->>eventid"), None);
}
