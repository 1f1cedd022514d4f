//! Cleaning of texts from outside.

use super::*;
use proptest::prelude::*;

/// Whether `cleaned` is a part of `raw` and no copy.
fn is_borrowed(cleaned: &str, raw: &str) -> bool {
    raw.as_bytes().as_ptr_range().contains(&cleaned.as_ptr()) || cleaned.is_empty()
}

#[test]
fn a_clean_text_is_handed_back_as_it_is() {
    for text in ["", "GOOGLE", "Société Générale", "日本 インターネット", "a b c", "…"] {
        let cleaned = clean(text, MAX_TEXT);
        assert_eq!(cleaned, text);
        assert!(is_borrowed(&cleaned, text), "{text:?} was copied");
    }
}

#[test]
fn blanks_around_a_text_are_trimmed_without_a_copy() {
    let raw = " \t\u{a0}GOOGLE LLC\r\n";
    let cleaned = clean(raw, MAX_TEXT);
    assert_eq!(cleaned, "GOOGLE LLC");
    assert!(is_borrowed(&cleaned, raw));
}

#[test]
fn runs_of_white_space_become_one_blank() {
    assert_eq!(clean("a  b\t\tc\r\nd\u{2028}e\u{85}f\u{3000}g", MAX_TEXT), "a b c d e f g");
    assert_eq!(clean("a \0 b", MAX_TEXT), "a b");
}

#[test]
fn control_characters_are_dropped() {
    assert_eq!(clean("Goo\0gle\u{7f} L\u{9b}LC\u{1b}[31m", MAX_TEXT), "Google LLC[31m");
    assert_eq!(clean("\0 Google \0", MAX_TEXT), "Google");
    for c in (0..0x20).chain(0x7f..0xa0).filter_map(char::from_u32) {
        let cleaned = clean(&format!("a{c}b"), MAX_TEXT).into_owned();
        assert!(cleaned == "ab" || cleaned == "a b", "{c:?} left {cleaned:?}");
    }
}

#[test]
fn bidirectional_overrides_are_dropped_and_plain_marks_kept() {
    assert_eq!(clean("\u{202e}moc.elpmaxe\u{202c} \u{2066}x\u{2069}", MAX_TEXT), "moc.elpmaxe x");
    assert_eq!(clean("a\u{202a}\u{202b}\u{202d}\u{2067}\u{2068}b", MAX_TEXT), "ab");
    // Right-to-left text itself, and the joiners that scripts need, are kept.
    assert_eq!(clean("شرکت\u{200c}های", MAX_TEXT), "شرکت\u{200c}های");
}

#[test]
fn nothing_but_rubbish_leaves_nothing() {
    assert_eq!(clean(" \0\u{202e}\n ", MAX_TEXT), "");
    assert_eq!(clean(&"\0".repeat(1000), MAX_TEXT), "");
}

#[test]
fn a_text_too_long_is_cut_between_characters_and_says_so() {
    assert_eq!(clean("abcdefgh", 8), "abcdefgh");
    assert_eq!(clean("abcdefghi", 8), "abcde…");
    // `ä` has two bytes: five bytes of room hold two of them, and a half is not kept.
    assert_eq!(clean("äääää", 8), "ää…");
    assert_eq!(clean("abcd efghi", 8), "abcd…");
    // Dropped or folded characters take no room.
    assert_eq!(clean("a\0b\0c\0d\0     e", 6), "abcd e");
}

#[test]
fn a_limit_too_small_for_the_ellipsis_only_cuts() {
    assert_eq!(clean("abcdef", 3), "…");
    assert_eq!(clean("abcdef", 2), "ab");
    assert_eq!(clean("äb", 1), "");
    assert_eq!(clean("abc", 0), "");
}

#[test]
fn three_hundred_kilobytes_with_nul_fit_into_a_column() {
    let raw = "Evil\0 Corp\u{7} ".repeat(25_000);
    let cleaned = clean(&raw, MAX_TEXT);
    assert!(cleaned.len() <= MAX_TEXT && cleaned.len() > MAX_TEXT - 10);
    assert!(cleaned.starts_with("Evil Corp Evil Corp ") && cleaned.ends_with('…'));
}

proptest! {
    #[test]
    fn whatever_comes_in_is_safe_to_store(raw in any::<String>(), max_bytes in 0..80usize) {
        let cleaned = clean(&raw, max_bytes);
        prop_assert!(cleaned.len() <= max_bytes);
        prop_assert_eq!(cleaned.trim(), &*cleaned);
        prop_assert!(!cleaned.contains("  "));
        prop_assert!(!cleaned.chars().any(is_dropped));
    }

    #[test]
    fn cleaning_twice_is_cleaning_once(raw in "[a-c \\t\\x00\u{202e}ä…]{0,60}", max_bytes in 0..80usize) {
        let once = clean(&raw, max_bytes);
        let twice = clean(&once, max_bytes);
        prop_assert!(is_borrowed(&twice, &once));
        prop_assert_eq!(&once, &twice);
    }
}
