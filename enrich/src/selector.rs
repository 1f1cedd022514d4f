//! Which values of a row hold addresses, and how each is read: a column, or a path into a JSON column
//! (`payload->>src_ip`), as one address, as a list of them, or as free text.

mod event_time;
mod mistake;
mod reads;

use std::fmt;

pub use event_time::EventTime;
pub use mistake::{mistake, mistaken_key};
pub use reads::{Origins, Reads};

#[cfg(test)]
mod tests;

/// One element of `attach_ip_source`'s `ip_columns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The column's name, unquoted.
    pub column: String,
    /// The way into the JSON value; empty for the column itself.
    pub path: Vec<Step>,
    /// How a value is read.
    pub reading: Reading,
}

/// One step into a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A key of an object, or an index of an array, as text.
    Key(String),
    /// Each element of an array: `*`.
    Each,
}

/// How the text of a value is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// As one address.
    #[default]
    Address,
    /// As addresses between commas, semicolons or blanks: `list(…)`.
    List,
    /// As free text with any number of addresses in it: `text(…)`.
    Text,
}

/// A text that is neither a column's name nor a path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is neither a column nor a path like payload->>src_ip")]
pub struct BadSelector(String);

/// Elements of arrays inside of elements of arrays: more make no sense, and each is a level of recursion.
const MOST_EACH: usize = 8;

impl Selector {
    /// A column, given by its name, as it is.
    #[must_use]
    pub fn whole(column: String) -> Selector {
        Selector { column, path: Vec::new(), reading: Reading::Address }
    }

    /// Reads `column`, `"Odd column"`, `column->>key`, `column->key->>'another key'`, `column->list->*->>key`, and each of
    /// them in `list(…)` or `text(…)`. The last arrow may be `->` or `->>`: the value is read as text either way. A key
    /// that is called `*` stands in quotes.
    ///
    /// # Errors
    /// [`BadSelector`] when the column or a key is missing, or a quote or parenthesis is not closed.
    pub fn parse(text: &str) -> Result<Selector, BadSelector> {
        Selector::parse_telling(text, |_| ())
    }

    /// The same, and hands over each key that stands without quotes.
    fn parse_telling(text: &str, mut bare: impl FnMut(&str)) -> Result<Selector, BadSelector> {
        let bad = || BadSelector(text.chars().take(100).collect());
        let (mut rest, reading) = unwrap(text.trim());
        let column = take(&mut rest, '"').filter(|(c, _)| !c.is_empty()).ok_or_else(bad)?.0;
        let mut path = Vec::new();
        while !rest.is_empty() {
            rest = rest.strip_prefix("->").ok_or_else(bad)?;
            rest = rest.strip_prefix('>').unwrap_or(rest).trim_start();
            path.push(match take(&mut rest, '\'').filter(|(key, _)| !key.is_empty()).ok_or_else(bad)? {
                (key, false) if key == "*" => Step::Each,
                (key, is_quoted) => {
                    if !is_quoted {
                        bare(&key);
                    }
                    Step::Key(key)
                }
            });
        }
        if path.iter().filter(|step| **step == Step::Each).count() > MOST_EACH {
            return Err(bad());
        }
        Ok(Selector { column, path, reading })
    }

    /// The keys between two `*`, and before the first and behind the last: one part more than there are `*`.
    pub fn parts(&self) -> Vec<Vec<String>> {
        let mut parts = vec![Vec::new()];
        for step in &self.path {
            match (step, parts.last_mut()) {
                (Step::Key(key), Some(part)) => part.push(key.clone()),
                _ => parts.push(Vec::new()),
            }
        }
        parts
    }
}

/// What stands in `list(…)` or `text(…)`, and how it is read. A column may be called like that and have parentheses: it
/// stands in quotes.
fn unwrap(text: &str) -> (&str, Reading) {
    for (name, reading) in [("list", Reading::List), ("text", Reading::Text)] {
        if let Some((head, rest)) = text.split_at_checked(name.len())
            && head.eq_ignore_ascii_case(name)
            && let Some(inner) = rest.trim_start().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'))
        {
            return (inner.trim(), reading);
        }
    }
    (text, Reading::Address)
}

/// Takes a bare word up to the next arrow, or a quoted one in which the quote is doubled, and says whether it was quoted.
fn take(rest: &mut &str, quote: char) -> Option<(String, bool)> {
    let Some(quoted) = rest.strip_prefix(quote) else {
        let end = rest.find("->").unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        *rest = tail;
        return Some((word.trim().to_owned(), false));
    };
    let mut word = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            word.push(c);
        } else if quoted[at + 1..].starts_with(quote) {
            word.push(quote);
            chars.next();
        } else {
            *rest = quoted[at + 1..].trim_start();
            return Some((word, true));
        }
    }
    None
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Key(key) => write!(f, "'{}'", key.replace('\'', "''")),
            Step::Each => f.write_str("*"),
        }
    }
}

/// Quoted wherever it could be read as something else.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reading {
            Reading::Address => "",
            Reading::List => "list(",
            Reading::Text => "text(",
        })?;
        let bare = Selector::parse(&self.column)
            .is_ok_and(|read| read.column == self.column && read.path.is_empty() && read.reading == Reading::Address);
        if bare && self.path.is_empty() {
            f.write_str(&self.column)?;
        } else {
            write!(f, "\"{}\"", self.column.replace('"', "\"\""))?;
        }
        for (i, step) in self.path.iter().enumerate() {
            write!(f, "{}{step}", if i + 1 == self.path.len() { "->>" } else { "->" })?;
        }
        f.write_str(if self.reading == Reading::Address { "" } else { ")" })
    }
}
