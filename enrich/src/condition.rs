//! Which rows of a table are events: `payload->>eventid = cowrie.login.failed and payload->>proto in (ssh, telnet)`.
//!
//! A small grammar that is evaluated on the values of a row: no SQL, nothing that could fail an insert or call code.

use std::fmt;

use crate::selector::{Reading, Selector, Step, mistaken_key};

#[cfg(test)]
mod tests;

/// What a row must meet: all of its tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition(pub Vec<Test>);

/// One comparison. A value that is null or missing meets none, as in SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The value: a column, or a path into JSON without `*`.
    pub value: Selector,
    /// It is to be one of `literals`; otherwise none of them.
    pub is_one: bool,
    /// As texts; at least one.
    pub literals: Vec<String>,
}

/// Literals and tests at most: each is compared with each row.
const MOST: usize = 100;

/// Why a text is no condition.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCondition {
    /// No value before the comparison, or one that is no column and no path.
    #[error("there is no column or path before {0}")]
    Value(String),
    /// Something else than a comparison behind the value.
    #[error("there is no =, <>, in or not in behind {0}")]
    Comparison(String),
    /// Nothing to compare with.
    #[error("there is no text to compare with behind {0}")]
    Literal(String),
    /// Something is left behind a comparison.
    #[error("there is no \"and\" before {0}")]
    Rest(String),
    /// Too many to compare with each row.
    #[error("it has more than {MOST} comparisons or texts")]
    TooLong,
}

impl Condition {
    /// Reads `value = text`, `value <> text` (or `!=`), `value in (text, text)` and `value not in (…)`, any number of them
    /// joined by `and`. A text with blanks, commas or parentheses stands in single quotes.
    ///
    /// # Errors
    /// [`BadCondition`], with the place.
    pub fn parse(text: &str) -> Result<Condition, BadCondition> {
        Condition::parse_telling(text, |_| ())
    }

    /// The first key in it that is more likely a mistake: see [`mistaken_key`].
    #[must_use]
    pub fn mistaken_key(text: &str) -> Option<(String, &'static str)> {
        let mut found = None;
        let look = |value: &str| found = found.take().or_else(|| mistaken_key(value));
        Condition::parse_telling(text, look).ok()?;
        found
    }

    /// As [`Condition::parse`], and hands over each value as it is written.
    fn parse_telling(text: &str, mut written: impl FnMut(&str)) -> Result<Condition, BadCondition> {
        let mut rest = text.trim();
        let mut tests = Vec::new();
        loop {
            tests.push(test(&mut rest, &mut written)?);
            let count: usize = tests.iter().map(|test| test.literals.len()).sum();
            if count > MOST {
                return Err(BadCondition::TooLong);
            }
            if rest.is_empty() {
                return Ok(Condition(tests));
            }
            let before = rest;
            take_word(&mut rest, "and").ok_or_else(|| BadCondition::Rest(beginning(before)))?;
        }
    }
}

/// As [`Condition::parse`] reads it, all in quotes that may need them.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Test { value, is_one, literals }) in self.0.iter().enumerate() {
            f.write_str(if i > 0 { " and " } else { "" })?;
            let is_word = value.column.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if value.path.is_empty() && !is_word {
                write!(f, "\"{}\"", value.column.replace('"', "\"\""))?;
            } else {
                write!(f, "{value}")?;
            }
            let texts: Vec<String> = literals.iter().map(|text| format!("'{}'", text.replace('\'', "''"))).collect();
            match (&texts[..], is_one) {
                ([text], true) => write!(f, " = {text}")?,
                ([text], false) => write!(f, " <> {text}")?,
                (_, true) => write!(f, " in ({})", texts.join(", "))?,
                (_, false) => write!(f, " not in ({})", texts.join(", "))?,
            }
        }
        Ok(())
    }
}

/// A boolean as PostgreSQL reads it: a word or its unambiguous beginning, in upper or lower case; `None`: it is none.
pub fn boolean(text: &str) -> Option<bool> {
    let text = text.trim().to_ascii_lowercase();
    let begins = |word: &str, least: usize| text.len() >= least && word.starts_with(&text);
    if text == "1" || begins("true", 1) || begins("yes", 1) || text == "on" {
        return Some(true);
    }
    (text == "0" || begins("false", 1) || begins("no", 1) || begins("off", 2)).then_some(false)
}

/// The bytes of a uuid, with hyphens and in braces or without; `None`: it is none.
pub fn uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.trim();
    let bare = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let digits: Vec<u8> = bare.bytes().filter(|byte| *byte != b'-').collect();
    let digits = str::from_utf8(&digits).ok().filter(|digits| digits.len() == 32)?;
    // A sign would be read as part of the number.
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(digits, 16).ok().filter(|_| is_plain)?;
    Some(number.to_be_bytes())
}

fn test(rest: &mut &str, written: &mut impl FnMut(&str)) -> Result<Test, BadCondition> {
    let end = end_of_value(rest);
    let (value, tail) = rest.split_at(end);
    let value = value.trim_end();
    let bad = || BadCondition::Value(beginning(if value.is_empty() { tail } else { value }));
    written(value);
    let value = Selector::parse(value).map_err(|_| bad())?;
    if value.reading != Reading::Address || value.path.contains(&Step::Each) {
        return Err(bad());
    }
    *rest = tail;
    let told = value.to_string();
    let is_one = if take(rest, "=") {
        true
    } else if take(rest, "<>") || take(rest, "!=") {
        false
    } else {
        let is_one = take_word(rest, "not").is_none();
        take_word(rest, "in").ok_or_else(|| BadCondition::Comparison(told.clone()))?;
        return Ok(Test { value, is_one, literals: list(rest).ok_or(BadCondition::Literal(told))? });
    };
    let literals = vec![literal(rest).ok_or(BadCondition::Literal(told))?];
    Ok(Test { value, is_one, literals })
}

/// Where the value before a comparison ends: at `=`, `<`, `!`, or at a blank that is not beside an arrow. Not in quotes.
fn end_of_value(text: &str) -> usize {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) => quote = (c != open).then_some(open),
            (None, '\'' | '"') => quote = Some(c),
            (None, '=' | '<' | '!') => return at,
            (None, c) if c.is_whitespace() => {
                let beside = text[..at].trim_end().ends_with('>') || text[at..].trim_start().starts_with("->");
                if !beside {
                    return at;
                }
            }
            _ => {}
        }
    }
    text.len()
}

fn take(rest: &mut &str, sign: &str) -> bool {
    let tail = rest.trim_start().strip_prefix(sign);
    if let Some(tail) = tail {
        *rest = tail.trim_start();
    }
    tail.is_some()
}

/// Takes a word of the grammar, in upper or lower case, that does not go on.
fn take_word(rest: &mut &str, word: &str) -> Option<()> {
    let text = rest.trim_start();
    let (head, tail) = text.split_at_checked(word.len())?;
    let ends = tail.chars().next().is_none_or(|c| c.is_whitespace() || c == '(');
    (head.eq_ignore_ascii_case(word) && ends).then(|| *rest = tail.trim_start())
}

fn list(rest: &mut &str) -> Option<Vec<String>> {
    if !take(rest, "(") {
        return None;
    }
    let mut literals = Vec::new();
    loop {
        literals.push(literal(rest)?);
        if take(rest, ")") {
            return Some(literals);
        }
        if !take(rest, ",") {
            return None;
        }
    }
}

/// A text in single quotes, a quote doubled; or a word.
fn literal(rest: &mut &str) -> Option<String> {
    let text = rest.trim_start();
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find(|c: char| c.is_whitespace() || "(),'".contains(c)).unwrap_or(text.len());
        let (word, tail) = text.split_at(end);
        *rest = tail.trim_start();
        // In SQL, double quotes are those of a name.
        return (!word.is_empty() && !word.starts_with('"')).then(|| word.to_owned());
    };
    let mut literal = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '\'' {
            literal.push(c);
        } else if quoted[at + 1..].starts_with('\'') {
            literal.push(c);
            chars.next();
        } else {
            *rest = quoted[at + 1..].trim_start();
            return Some(literal);
        }
    }
    None
}

/// Enough of a text to find the place.
fn beginning(text: &str) -> String {
    let text: String = text.chars().take(40).collect();
    format!("\"{text}\"")
}
