//! Selectors as people write them.

use super::*;

fn parsed(text: &str) -> Option<(String, Vec<Step>, Reading)> {
    Selector::parse(text).ok().map(|s| (s.column, s.path, s.reading))
}

fn some(column: &str, path: &[&str], reading: Reading) -> Option<(String, Vec<Step>, Reading)> {
    let step = |key: &&str| if *key == "*" { Step::Each } else { Step::Key((*key).to_owned()) };
    Some((column.to_owned(), path.iter().map(step).collect(), reading))
}

#[test]
fn columns_and_paths_are_read_as_people_write_them() {
    use Reading::Address;
    assert_eq!(parsed("src_ip"), some("src_ip", &[], Address));
    assert_eq!(parsed("payload->>src_ip"), some("payload", &["src_ip"], Address));
    assert_eq!(parsed(" payload -> 'peer' ->> 'ip' "), some("payload", &["peer", "ip"], Address));
    assert_eq!(parsed("payload->peers->0->>ip"), some("payload", &["peers", "0", "ip"], Address));
    assert_eq!(parsed("\"Odd->Column\"->>'it''s'"), some("Odd->Column", &["it's"], Address));
    assert_eq!(parsed("payload->answers->*->>rdata"), some("payload", &["answers", "*", "rdata"], Address));
    assert_eq!(parsed("payload->*"), some("payload", &["*"], Address));
    let quoted = Selector::parse("payload->>'*'").unwrap();
    assert_eq!(quoted.path, [Step::Key("*".to_owned())]);
}

#[test]
fn lists_and_texts_are_named() {
    assert_eq!(parsed("list(xff)"), some("xff", &[], Reading::List));
    assert_eq!(parsed(" TEXT ( payload->>input ) "), some("payload", &["input"], Reading::Text));
    assert_eq!(parsed("text(payload->*->>cmd)"), some("payload", &["*", "cmd"], Reading::Text));
    assert_eq!(parsed("\"list(x)\""), some("list(x)", &[], Reading::Address));
    assert_eq!(parsed("list"), some("list", &[], Reading::Address));
    assert_eq!(parsed("listing(x)"), some("listing(x)", &[], Reading::Address));
}

#[test]
fn half_a_path_is_refused() {
    for text in [
        "",
        "  ",
        "->>ip",
        "payload->>",
        "payload->>'ip",
        "\"payload",
        "payload->>'a'b",
        "list()",
        "text(->>a)",
        "a->*->*->*->*->*->*->*->*->*",
    ] {
        assert_eq!(parsed(text), None, "{text:?}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    for text in [
        "a",
        "list(a)",
        "text(\"p\"->>'x')",
        "\"list(a)\"",
        "\"p\"->'a'->*->>'it''s'",
        "\"p\"->>'*'",
        "\"a->b\"",
        "\"p\"->>*",
    ] {
        let selector = Selector::parse(text).unwrap();
        assert_eq!(selector.to_string(), text);
    }
}

#[test]
fn a_path_is_cut_at_each_star() {
    let parts = |text: &str| Selector::parse(text).unwrap().parts();
    assert_eq!(parts("p"), [[""; 0]]);
    assert_eq!(parts("p->a->>b"), [["a", "b"]]);
    assert_eq!(parts("p->a->*->>b"), [["a"], ["b"]]);
    assert_eq!(parts("p->*"), [[""; 0], [""; 0]]);
}
