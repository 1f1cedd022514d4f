use proptest::prelude::*;

use super::*;

#[test]
fn a_list_has_an_edition_and_a_url_an_entry() {
    let text = " a=https://a.example/x , b = https://b.example:8443/{year},\n c=https://m:{secret:sops:///k,#a.b}@c.example/,,";
    let sites = Site::list(text).unwrap();
    let told: Vec<_> = sites.iter().map(|site| (site.name().name(), site.host(), site.has_sum, site.every())).collect();
    assert_eq!(
        told,
        [("a", "a.example", false, None), ("b", "b.example:8443", false, None), ("c", "c.example", false, None),]
    );
    assert_eq!(Site::list("").unwrap().len(), 0);
    let options = |text: &str| {
        Site::list(&format!("a=https://a.example/x#{text}")).map(|sites| (sites[0].has_sum, sites[0].every()))
    };
    let minutes = |count: u64| Some(Duration::from_secs(count * 60));
    assert_eq!(options("sha256&every=6h"), Ok((true, minutes(360))));
    assert_eq!(options("every=7d"), Ok((false, minutes(7 * 24 * 60))));
    assert_eq!(options("every=10min&sha256"), Ok((true, minutes(10))));
    assert_eq!(options(""), Ok((false, None)));
    for text in [
        "sha512",
        "every=",
        "every=6",
        "every=5min",
        "every=h",
        "every=99999999999999999999d",
        "sha256=x",
        "every=367d",
    ] {
        assert!(options(text).is_err(), "{text}");
    }
}

#[test]
fn a_bad_entry_is_named_and_not_repeated() {
    for (text, why) in [
        ("hunter2", "entry 1 is not edition=https://…"),
        ("a=https://a.example/x,https://b.example/?token=hunter2", "entry 2 is not"),
        ("a=https://a.example/x,../b=hunter2", "entry 2 is not"),
        ("a=hunter2", "the source of a: It must begin with https://."),
        ("a=https://a.example/x,a=https://b.example/hunter2", "a has two sources"),
        ("a=https://a.example/x?token=hunter2", "the source of a: A key itself"),
    ] {
        let refused = Site::list(text).unwrap_err().to_string();
        assert!(refused.contains(why) && !refused.contains("hunter2"), "{text}: {refused}");
    }
}

#[test]
fn what_is_shown_has_no_part_of_the_url() {
    let site = &Site::list("a=https://u:{secret:env:B}@a.example/path/x?q=1").unwrap()[0];
    assert_eq!(site.host(), "a.example");
    let other = &Site::list("a=https://a.example/path/x?q=2").unwrap()[0];
    assert_ne!(site.mark(), other.mark());
    assert!(!site.mark().contains("path"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z]=(https|http)://[ -~ä{}:@,#?]{0,60}") {
        let _ = Site::list(&text);
    }
}
