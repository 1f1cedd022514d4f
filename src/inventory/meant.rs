//! Keys of paths that look like SQL, as in `payload->>ip::inet`: taken for a key, such a mistake reads nothing of any row. They are
//! refused when a table is attached, unless they stand in quotes. What is attached already goes on, and so it can be attached again: as
//! a note has it, or as it was observed when this session took that off, which the doctor's remedies do first.

use std::cell::RefCell;
use std::collections::HashSet;

use enrich::condition::Condition;
use enrich::selector::mistaken_key;

use crate::pg::argument;
use crate::pg::catalog::Schema;
use crate::pg::errors::bad_value;
use crate::pg::sql::Sql;

thread_local! {
    /// Such keys by which tables were observed that this session has taken triggers or notes off.
    static OBSERVED: RefCell<HashSet<String>> = RefCell::default();
}

/// A text with such a key: the text, the key, and what is meant more likely.
type Odd<'a> = (&'a str, String, &'static str);

/// Of a column or path, or of a condition.
fn odd(text: &str, is_condition: bool) -> Option<Odd<'_>> {
    let found = if is_condition { Condition::mistaken_key(text) } else { mistaken_key(text) };
    found.map(|(key, cure)| (text, key, cure))
}

/// Refuses a path, or a condition, that is attached nowhere yet.
pub fn check<'a>(schema: &Schema, paths: impl Iterator<Item = &'a str>, only_where: Option<&'a str>) {
    let paths = paths.filter_map(|text| odd(text, false));
    for (text, key, cure) in paths.chain(only_where.and_then(|text| odd(text, true))) {
        if !OBSERVED.with_borrow(|keys| keys.contains(&key)) && !is_attached(schema, text) {
            refuse(text, &key, cure);
        }
    }
}

/// Whether a table is attached by such a path or condition.
fn is_attached(schema: &Schema, text: &str) -> bool {
    let query = format!(
        "SELECT EXISTS (SELECT FROM {}.ip_source s, pg_catalog.to_jsonb(s) AS j
                        WHERE $1 = ANY (s.ip_columns) OR $1 IN (j->>'observed_path', j->>'only_where', j->>'sensor'))",
        schema.name
    );
    Sql::on(schema, c"ip_source").returning(&query, &[argument::text(text)]).get::<bool>(0, 1) == Some(true)
}

/// Keeps in mind by which paths, and by which condition, a table was observed.
pub fn remember(paths: impl IntoIterator<Item = impl AsRef<str>>, only_where: Option<&str>) {
    let key = |(_, key, _): Odd<'_>| key;
    let mut keys: Vec<String> = paths.into_iter().filter_map(|text| odd(text.as_ref(), false).map(key)).collect();
    keys.extend(only_where.and_then(|text| odd(text, true)).map(key));
    OBSERVED.with_borrow_mut(|known| known.extend(keys));
}

/// Says what is wrong with a key.
pub fn refuse(text: &str, key: &str, cure: &str) -> ! {
    bad_value(
        format!("\"{key}\" cannot be a key without quotes"),
        &format!("\"{text}\" would read what has exactly this key."),
        &format!("{cure} A key that is called so stands in single quotes: '{}'.", key.replace('\'', "''")),
    )
}
