//! What an index reads of a row. An index has names of its own for its columns: those that the table's had when it was made, and for
//! expressions what PostgreSQL made up (`inet`, `lower`). So each column stands here for where its values come from: two indexes of one table
//! that read the same are equal, whatever their columns are called.

use std::collections::HashMap;

use super::{EventTime, Selector};
use crate::condition::Condition;

/// Where the values of an index's columns come from, by the names of these.
#[derive(Clone, Debug, Default)]
pub struct Origins(HashMap<String, String>);

impl Origins {
    /// Of columns in their order, each by its name and its number in the table, which is 0 for an expression. `expressions` has these, as
    /// `pg_index.indexprs` does.
    ///
    /// ```
    /// use enrich::selector::Origins;
    /// let of = |name: &str, number| Origins::new([(name.to_owned(), number)], "({VAR :varattno 2 :location 40})");
    /// assert_eq!(of("src", 1).read("src"), of("src_before", 1).read("src_before"));
    /// assert_ne!(of("src", 1).read("src"), of("src", 0).read("src"));
    /// ```
    pub fn new(columns: impl IntoIterator<Item = (String, i16)>, expressions: &str) -> Origins {
        let mut expressions = split(expressions).into_iter();
        let mut origin = |number: i16| match number {
            0 => expressions.next().unwrap_or_default(),
            number => number.to_string(),
        };
        Origins(columns.into_iter().map(|(name, number)| (name, origin(number))).collect())
    }

    /// What a selector reads.
    pub fn read(&self, selector: &str) -> String {
        Selector::parse(selector).map_or_else(|_| selector.to_owned(), |selector| self.of(selector))
    }

    fn of(&self, selector: Selector) -> String {
        // No origin looks like a name that the index does not have.
        let missing = || format!("no {}", selector.column);
        let column = self.0.get(&selector.column).cloned().unwrap_or_else(missing);
        Selector { column, ..selector }.to_string()
    }

    fn time(&self, text: &str) -> String {
        let time = EventTime::parse(text, |name| self.0.contains_key(name));
        let path = time.path.as_deref().and_then(|path| Selector::parse(path).ok());
        let read = self.of(path.unwrap_or_else(|| Selector::whole(time.column)));
        format!("{read}@{}", time.zone.unwrap_or_default())
    }

    fn condition(&self, text: &str) -> String {
        let Ok(condition) = Condition::parse(text) else { return text.to_owned() };
        let tests = condition.0.into_iter().map(|test| (self.of(test.value), test.is_one, test.literals));
        format!("{:?}", tests.collect::<Vec<_>>())
    }
}

/// What is read of a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reads {
    /// Where the addresses stand; their order says nothing.
    addresses: Vec<String>,
    observed_at: Option<String>,
    only_where: Option<String>,
    sensor: Option<String>,
}

impl Reads {
    /// By the arguments of `attach_ip_source`.
    pub fn new(
        origins: &Origins,
        selectors: &[String],
        observed_at: Option<&str>,
        only_where: Option<&str>,
        sensor: Option<&str>,
    ) -> Reads {
        let mut addresses: Vec<String> = selectors.iter().map(|text| origins.read(text)).collect();
        addresses.sort_unstable();
        Reads {
            addresses,
            observed_at: observed_at.map(|text| origins.time(text)),
            only_where: only_where.map(|text| origins.condition(text)),
            sensor: sensor.map(|text| origins.read(text)),
        }
    }

    /// Whether both read an address of a row.
    #[must_use]
    pub fn overlaps(&self, other: &Reads) -> bool {
        self.addresses.iter().any(|address| other.addresses.contains(address))
    }

    /// Whether this reads all that the other does, of every row that the other reads.
    #[must_use]
    pub fn includes(&self, other: &Reads) -> bool {
        let is_kept = |own: &Option<String>, other: &Option<String>| other.is_none() || own == other;
        other.addresses.iter().all(|address| self.addresses.contains(address))
            && is_kept(&self.observed_at, &other.observed_at)
            && is_kept(&self.sensor, &other.sensor)
            && (self.only_where.is_none() || self.only_where == other.only_where)
    }
}

/// The expressions in a list of PostgreSQL's nodes.
fn split(list: &str) -> Vec<String> {
    let (mut all, mut depth, mut from) = (Vec::new(), 0_u32, 0);
    let mut chars = list.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            // What follows is part of a word.
            '\\' => {
                chars.next();
            }
            '{' => {
                if depth == 0 {
                    from = at;
                }
                depth += 1;
            }
            '}' => {
                if depth == 1 {
                    all.push(placeless(&list[from..=at]));
                }
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
    }
    all
}

/// A node without the places where its parts stood in the statement: a copy of an index has others.
fn placeless(node: &str) -> String {
    let mut is_place = false;
    let words = node.split(' ').map(|word| {
        let is_number = std::mem::replace(&mut is_place, word == ":location");
        if is_number { word.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit()) } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "{OPEXPR :opno 3206 :args ({VAR :varattno 2 :location 44} {CONST :constvalue 5 [ 97 ] :location 53}) :location 51}";
    const B: &str = "{OPEXPR :opno 3206 :args ({VAR :varattno 2 :location 44} {CONST :constvalue 5 [ 98 ] :location 53}) :location 51}";

    fn origins(columns: &[(&str, i16)], expressions: &[&str]) -> Origins {
        let columns = columns.iter().map(|(name, number)| ((*name).to_owned(), *number));
        Origins::new(columns, &format!("({})", expressions.join(" ")))
    }

    fn reads(origins: &Origins, selectors: &[&str], more: [Option<&str>; 3]) -> Reads {
        let selectors: Vec<String> = selectors.iter().map(|text| (*text).to_owned()).collect();
        Reads::new(origins, &selectors, more[0], more[1], more[2])
    }

    #[test]
    fn a_column_is_what_it_comes_from() {
        let none = [None; 3];
        let now = origins(&[("a", 2), ("b", 3)], &[]);
        let before = origins(&[("b", 2), ("a", 3)], &[]);
        assert_ne!(reads(&now, &["a"], none), reads(&before, &["a"], none));
        assert_eq!(reads(&now, &["a"], none), reads(&before, &["b"], none));
        assert_eq!(reads(&now, &["a", "b"], none), reads(&now, &["b", "\"a\""], none));
        assert_ne!(reads(&now, &["a->>x"], none), reads(&now, &["a->>y"], none));
        assert_eq!(reads(&now, &["a->>x"], none), reads(&before, &["b->x"], none));
        assert_ne!(reads(&now, &["a"], none), reads(&now, &["list(a)"], none));
        // Nothing is read of a column that is not there, and of another nothing else.
        assert_ne!(reads(&now, &["2"], none), reads(&now, &["a"], none));
    }

    #[test]
    fn expressions_of_one_name_are_told_apart_and_known_again() {
        let none = [None; 3];
        let (a, b) = (origins(&[("inet", 0)], &[A]), origins(&[("inet", 0)], &[B]));
        assert_ne!(reads(&a, &["inet"], none), reads(&b, &["inet"], none));
        assert!(!reads(&a, &["inet"], none).overlaps(&reads(&b, &["inet"], none)));
        // A copy, and one beside another, where columns stand between them.
        let copied = A.replace("44", "-1").replace("53", "-1").replace("51", "-1");
        assert_eq!(reads(&a, &["inet"], none), reads(&origins(&[("inet", 0)], &[&copied]), &["inet"], none));
        let both = origins(&[("inet", 0), ("src", 1), ("inet1", 0)], &[B, A]);
        assert_eq!(reads(&a, &["inet"], none), reads(&both, &["inet1"], none));
        assert!(reads(&b, &["inet"], none).overlaps(&reads(&both, &["src", "inet"], none)));
    }

    #[test]
    fn braces_in_words_and_numbers_elsewhere_belong_to_an_expression() {
        assert_eq!(
            split(r"({A :name \{x :location 7} {B :location -1 :args ({C})})"),
            [r"{A :name \{x :location }", "{B :location  :args ({C})}"]
        );
        assert_eq!(split("{A :opno 7}"), ["{A :opno 7}"]);
        assert_eq!(split("} {A"), [""; 0]);
        assert_eq!(split(""), [""; 0]);
    }

    #[test]
    fn the_rest_counts_by_its_columns_too() {
        let now = origins(&[("a", 1), ("at", 2), ("kind", 3), ("p", 4)], &[]);
        let before = origins(&[("a", 1), ("ts", 2), ("art", 3), ("q", 4)], &[]);
        let same = |one: [Option<&str>; 3], other: [Option<&str>; 3]| {
            reads(&now, &["a"], one) == reads(&before, &["a"], other)
        };
        assert!(same([Some("at@UTC"), None, None], [Some("ts@UTC"), None, None]));
        assert!(!same([Some("at@UTC"), None, None], [Some("ts"), None, None]));
        assert!(same([Some("p->>at"), None, None], [Some("q->>at"), None, None]));
        assert!(same(
            [None, Some("kind = x and p->>b in (y, z)"), None],
            [None, Some("art='x' and q->b in (y,z)"), None]
        ));
        assert!(!same([None, Some("kind = x"), None], [None, Some("art <> x"), None]));
        assert!(same([None, None, Some("p->>hp")], [None, None, Some("q->>hp")]));
        assert!(!same([None, None, Some("p->>hp")], [None; 3]));
    }

    #[test]
    fn one_includes_another_whose_rows_and_values_it_reads_all() {
        let columns = origins(&[("a", 1), ("b", 2), ("at", 3), ("kind", 4)], &[]);
        let plain = reads(&columns, &["a"], [None; 3]);
        let both = reads(&columns, &["b", "a"], [None; 3]);
        let timed = reads(&columns, &["a"], [Some("at"), None, None]);
        let [x, y] = ["kind = x", "kind = y"].map(|only| reads(&columns, &["a"], [None, Some(only), None]));
        for (one, other, includes) in [
            (&plain, &plain, true),
            (&both, &plain, true),
            (&plain, &both, false),
            (&timed, &plain, true),
            (&plain, &timed, false),
            (&plain, &x, true),
            (&x, &plain, false),
            (&x, &y, false),
        ] {
            assert_eq!(one.includes(other), includes, "{one:?} {other:?}");
        }
    }
}
