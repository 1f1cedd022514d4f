use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn txt(asked: &str, records: &[&str]) -> Option<Origin> {
    origin(ip(asked), records.iter().map(|record| record.as_bytes()))
}

fn announced(asked: &str, records: &[&str]) -> Vec<Announcement> {
    match txt(asked, records) {
        Some(Origin::Announced(announcements)) => announcements,
        other => panic!("{records:?} gave {other:?}"),
    }
}

fn rows(asked: &[&str], lines: &[&str]) -> Vec<Option<Origin>> {
    let mut tallies: Vec<_> = asked.iter().map(|asked| Tally::new(ip(asked))).collect();
    for line in lines {
        bulk_line(line.as_bytes(), |ip| tallies.iter_mut().find(|tally| tally.ip == ip));
    }
    tallies.into_iter().map(Tally::origin).collect()
}

#[test]
fn case_1_a_record_gives_all_five_fields() {
    let expected = Announcement {
        prefix: net("8.8.8.0/24"),
        origins: vec![15169],
        country: Some("US".into()),
        registry: Some("arin".into()),
        allocated: NaiveDate::from_ymd_opt(1992, 12, 1),
        as_name: None,
    };
    assert_eq!(announced("8.8.8.8", &["15169 | 8.8.8.0/24 | US | arin | 1992-12-01"]), [expected]);
}

#[test]
fn an_ipv6_record_is_read_the_same_way() {
    let answer = announced("2001:4860:b002::68", &["15169 | 2001:4860::/32 | US | arin | 2005-03-14"]);
    assert_eq!(answer[0].prefix, net("2001:4860::/32"));
}

#[test]
fn case_2_na_is_a_negative_answer() {
    assert_eq!(txt("192.0.2.1", &["NA | | | |"]), Some(Origin::NotAnnounced));
    assert_eq!(txt("192.0.2.1", &["0 | NA | | |"]), Some(Origin::NotAnnounced));
}

#[test]
fn case_3_an_asn_alone_stands_for_the_address_itself() {
    let answer = announced("8.8.8.8", &["15169 |  |  |  | "]);
    assert_eq!((answer[0].prefix, &answer[0].origins[..]), (net("8.8.8.8/32"), &[15169][..]));
    assert_eq!((&answer[0].country, &answer[0].registry, answer[0].allocated), (&None, &None, None));
    assert_eq!(announced("2001:db8::1", &["15169 |  |  |  | "])[0].prefix, net("2001:db8::1/128"));
}

#[test]
fn case_4_other_texts_are_no_answer() {
    for foreign in ["15169", "", "|", "||||", "free text", "v=spf1 include:example.com -all", "a | b | c | d | e"] {
        assert_eq!(txt("8.8.8.8", &[foreign]), None, "{foreign:?}");
    }
    assert_eq!(txt("8.8.8.8", &[]), None);
}

#[test]
fn case_5_several_origins_stand_in_their_order() {
    let answer = announced("219.234.81.1", &["9395 17431 | 219.234.80.0/20 | CN | apnic | 2002-04-17"]);
    assert_eq!(answer[0].origins, [9395, 17431]);
}

#[test]
fn nested_prefixes_come_longest_first_and_keep_their_origins() {
    let answer = announced(
        "94.136.40.1",
        &[
            "20738 | 94.136.32.0/19 | GB | ripencc | 2008-07-24",
            "v=spf1 -all",
            "20738 20773 | 94.136.40.0/24 | GB | ripencc | 2008-07-24",
            "NA | | | |",
            "64500 20738 | 94.136.32.0/19 | GB | ripencc | 2008-07-24",
        ],
    );
    let short: Vec<_> = answer.iter().map(|known| (known.prefix, known.origins.clone())).collect();
    assert_eq!(short, [(net("94.136.40.0/24"), vec![20738, 20773]), (net("94.136.32.0/19"), vec![20738, 64500])]);
}

#[test]
fn a_prefix_that_is_no_network_around_the_address_is_no_answer() {
    for prefix in [
        "8.8.9.0/24",
        "8.8.8.8/24",
        "0.0.0.0/0",
        "8.8.8.0/33",
        "8.8.8.0/+24",
        "8.8.8.0",
        "8.8.8.0/255.255.255.0",
        "::/96",
        "x/24",
        "8.8.8.0/",
    ] {
        assert_eq!(txt("8.8.8.8", &[&format!("15169 | {prefix} | US | arin | 1992-12-01")]), None, "{prefix}");
        assert_eq!(txt("8.8.8.8", &[&format!("NA | {prefix} | US | arin | 1992-12-01")]), None, "{prefix}");
    }
    assert_eq!(txt("2001:db8::1", &["15169 | ::/0 | | |"]), None);
}

#[test]
fn case_21_asns_are_unsigned_and_nothing_else() {
    assert_eq!(announced("8.8.8.8", &["4200000001 | 8.8.8.0/24 | | |"])[0].origins, [4_200_000_001]);
    assert_eq!(announced("8.8.8.8", &["NA 0 4294967295 1 1 | 8.8.8.0/24 | | |"])[0].origins, [4_294_967_295, 1]);
    for wrong in ["4294967296", "-1", "+1", "AS1", "1.2", "{1,2}", "15169 x"] {
        assert_eq!(txt("8.8.8.8", &[&format!("{wrong} | 8.8.8.0/24 | | |")]), None, "{wrong}");
    }
}

#[test]
fn a_field_that_is_wrong_is_null_and_loses_no_other() {
    for (country, date) in [("us", "1992-13-01"), ("USA", "0000-01-01"), ("U", "yesterday"), ("ÜÄ", "1992-1-1")] {
        let answer = announced("8.8.8.8", &[&format!("15169 | 8.8.8.0/24 | {country} | arin | {date}")]);
        assert_eq!((&answer[0].country, answer[0].allocated), (&None, None));
        assert_eq!(answer[0].registry.as_deref(), Some("arin"));
    }
}

#[test]
fn an_as_record_is_read_from_the_left() {
    let team = as_name(23028, b"23028 | US | arin | 2002-01-04 | TEAM-CYMRU - Team Cymru Inc., US").unwrap();
    assert_eq!(team.name.as_deref(), Some("TEAM-CYMRU - Team Cymru Inc., US"));
    assert_eq!((team.country.as_deref(), team.registry.as_deref()), (Some("US"), Some("arin")));
    assert_eq!(team.allocated, NaiveDate::from_ymd_opt(2002, 1, 4));
    let renater = as_name(1930, "1930 | EU | ripencc | | A | B, Réseau | PT".as_bytes()).unwrap();
    assert_eq!((renater.name.as_deref(), renater.allocated), (Some("A | B, Réseau | PT"), None));
}

#[test]
fn an_as_record_of_another_as_is_no_answer() {
    for foreign in ["23029 | US | arin | 2002-01-04 | X", "NA | | | |", "23028 | US | arin", "v=spf1", ""] {
        assert_eq!(as_name(23028, foreign.as_bytes()), None, "{foreign:?}");
    }
}

#[test]
fn a_bulk_reply_is_matched_by_address() {
    let asked = ["68.22.187.0", "192.168.1.1", "2001:4860:0:0::68", "9.9.9.9"];
    let answers = rows(
        &asked,
        &[
            "Bulk mode; whois.cymru.com [2016-05-02 04:40:56 +0000]",
            "AS      | IP               | BGP Prefix          | CC | Registry | Allocated  | AS Name",
            "23028   | 68.22.187.0      | 68.22.187.0/24      | US | arin     | 2002-03-15 | TEAM-CYMRU - A | B, US\r",
            "NA      | 192.168.1.1      | NA                  |    | other    |            | NA",
            "15169   | 2001:4860::68    | 2001:4860::/32      | US | arin     | 2005-03-14 | GOOGLE, US",
            "666     | 1.2.3.4          | 1.2.3.0/24          | US | arin     | 2005-03-14 | NOBODY ASKED",
            "Error: no ASN or IP match on line 3.",
        ],
    );
    let [Some(Origin::Announced(team)), Some(Origin::NotAnnounced), Some(Origin::Announced(google)), None] =
        &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!(team[0].as_name.as_deref(), Some("TEAM-CYMRU - A | B, US"));
    assert_eq!(google[0].prefix, net("2001:4860::/32"));
}

#[test]
fn several_rows_of_one_address_are_one_answer() {
    let answers = rows(
        &["94.136.40.1"],
        &[
            "20738 | 94.136.40.1 | 94.136.32.0/19 | GB | ripencc | 2008-07-24 | A",
            "20773 | 94.136.40.1 | 94.136.40.0/24 | GB | ripencc | 2008-07-24 | B",
            "20738 | 94.136.40.1 | 94.136.40.0/24 | GB | ripencc | 2008-07-24 | A",
        ],
    );
    let Some(Origin::Announced(nested)) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!((nested.len(), nested[0].origins.clone()), (2, vec![20773, 20738]));
}

#[test]
fn case_6_a_row_with_as_and_address_only() {
    for row in ["15169 | 8.8.8.8 |  |  |  |  | ", "15169 | 8.8.8.8"] {
        let answers = rows(&["8.8.8.8"], &[row]);
        let Some(Origin::Announced(known)) = &answers[0] else { panic!("{answers:?}") };
        assert_eq!((&known[0].origins[..], &known[0].as_name), (&[15169][..], &None));
    }
}

#[test]
fn case_7_a_reply_without_rows_answers_nothing() {
    assert_eq!(rows(&["8.8.8.8"], &["Invalid | Response"]), [None]);
}

#[test]
fn case_22_a_monstrous_name_is_cleaned_and_capped() {
    let row = format!("15169 | 8.8.8.8 | 8.8.8.0/24 | US | arin | 1992-12-01 | Bad\0\x1b[2J {}", "x".repeat(300_000));
    let answers = rows(&["8.8.8.8"], &[&row]);
    let Some(Origin::Announced(known)) = &answers[0] else { panic!("no answer") };
    let name = known[0].as_name.as_deref().unwrap();
    assert!(name.starts_with("Bad[2J xxx") && name.len() <= text::MAX_TEXT);
}

#[test]
fn floods_are_capped() {
    let many: Vec<String> = (1..1000).map(|asn| asn.to_string()).collect();
    let record = format!("{} | 8.8.8.0/24 | | |", many.join(" "));
    assert_eq!(announced("8.8.8.8", &[&record])[0].origins.len(), MAX_ORIGINS);
    let mut tally = Tally::new(ip("2001:db8::"));
    for length in 1..=128 {
        let prefix = IpNetwork::new(ip("2001:db8::"), length).unwrap();
        tally.txt(format!("1 | {}/{length} | | |", prefix.network()).as_bytes());
    }
    assert_eq!(tally.announcements.len(), MAX_ANNOUNCEMENTS);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_never_break_the_promises(
        record in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "[0-9NA ]{0,12}\\|[0-9./:a-f ]{0,20}\\|[A-Z ]{0,4}\\|[a-z\u{0}-\u{20}]{0,8}\\|[0-9-]{0,11}(\\|.{0,9}){0,3}"
                .prop_map(String::into_bytes),
        ],
        asked in any::<IpAddr>(),
    ) {
        let row = [asked.to_string().as_bytes(), b"|", &record].concat();
        let mut tally = Tally::new(asked);
        bulk_line(&record, |_| Some(&mut tally));
        bulk_line(&row, |_| None);
        tally.txt(&record);
        let _ = as_name(15169, &record);
        if let Some(Origin::Announced(known)) = tally.origin() {
            prop_assert!(!known.is_empty());
            for one in known {
                prop_assert!(one.prefix.contains(asked) && one.prefix.prefix() > 0);
                prop_assert!(!one.origins.is_empty() && !one.origins.contains(&0));
            }
        }
    }

    #[test]
    fn what_the_service_writes_comes_back(asn in 1u32.., bits in any::<u32>(), length in 1u8..=32) {
        let asked = IpAddr::V4(bits.into());
        let prefix = IpNetwork::new(asked, length).unwrap();
        let prefix = IpNetwork::new(prefix.network(), length).unwrap();
        let record = format!("{asn} | {prefix} | DE | ripencc | 2000-02-29");
        let Some(Origin::Announced(known)) = origin(asked, [record.as_bytes()]) else { panic!("{record}") };
        prop_assert_eq!((known[0].prefix, &known[0].origins[..]), (prefix, &[asn][..]));
        prop_assert_eq!(known[0].allocated, NaiveDate::from_ymd_opt(2000, 2, 29));
    }
}
