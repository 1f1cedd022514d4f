//! Which values of a row hold addresses: a column, or a path into a JSON column (`payload->>src_ip`).

use std::fmt;

/// One element of `attach_ip_source`'s `ip_columns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The column's name, unquoted.
    pub column: String,
    /// Keys (or array indexes, as text) into the JSON value; empty for the column itself.
    pub path: Vec<String>,
}

/// A text that is neither a column's name nor a path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is neither a column nor a path like payload->>src_ip")]
pub struct BadSelector(String);

impl Selector {
    /// Reads `column`, `"Odd column"`, `column->>key`, `column->key->>'another key'`. The last arrow may be `->` or
    /// `->>`: the value is read as text either way.
    ///
    /// # Errors
    /// [`BadSelector`] when the column or a key is missing, or a quote is not closed.
    pub fn parse(text: &str) -> Result<Selector, BadSelector> {
        let bad = || BadSelector(text.chars().take(100).collect());
        let mut rest = text.trim();
        let column = take(&mut rest, '"').filter(|c| !c.is_empty()).ok_or_else(bad)?;
        let mut path = Vec::new();
        while !rest.is_empty() {
            rest = rest.strip_prefix("->").ok_or_else(bad)?;
            rest = rest.strip_prefix('>').unwrap_or(rest).trim_start();
            path.push(take(&mut rest, '\'').filter(|k| !k.is_empty()).ok_or_else(bad)?);
        }
        Ok(Selector { column, path })
    }
}

/// Takes a bare word up to the next arrow, or a quoted one in which the quote is doubled.
fn take(rest: &mut &str, quote: char) -> Option<String> {
    let Some(quoted) = rest.strip_prefix(quote) else {
        let end = rest.find("->").unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        *rest = tail;
        return Some(word.trim().to_owned());
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
            return Some(word);
        }
    }
    None
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.column)?;
        for (i, key) in self.path.iter().enumerate() {
            write!(f, "{}{key}", if i + 1 == self.path.len() { "->>" } else { "->" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, Vec<String>)> {
        Selector::parse(text).ok().map(|s| (s.column, s.path))
    }

    fn some(column: &str, path: &[&str]) -> Option<(String, Vec<String>)> {
        Some((column.to_owned(), path.iter().map(|k| (*k).to_owned()).collect()))
    }

    #[test]
    fn columns_and_paths_are_read_as_people_write_them() {
        assert_eq!(parsed("src_ip"), some("src_ip", &[]));
        assert_eq!(parsed("payload->>src_ip"), some("payload", &["src_ip"]));
        assert_eq!(parsed(" payload -> 'peer' ->> 'ip' "), some("payload", &["peer", "ip"]));
        assert_eq!(parsed("payload->peers->0->>ip"), some("payload", &["peers", "0", "ip"]));
        assert_eq!(parsed("\"Odd->Column\"->>'it''s'"), some("Odd->Column", &["it's"]));
    }

    #[test]
    fn half_a_path_is_refused() {
        for text in ["", "  ", "->>ip", "payload->>", "payload->>'ip", "\"payload", "payload->>'a'b"] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }
}
