//! The language in which names are read from files that have several.

use std::fmt;

/// A language as files write it: `en`, `de`, `pt-BR`, `zh-CN`. At most 16 bytes; an index keeps it in its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Language(String);

/// A text that names no language.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("A language is a code such as en, de or pt-BR: 2 to 16 letters, digits and \"-\".")]
pub struct BadLanguage;

impl Language {
    /// Checks a code.
    ///
    /// # Errors
    /// [`BadLanguage`] when it is empty or too long, or has other characters than letters, digits and `-`.
    pub fn new(text: &str) -> Result<Language, BadLanguage> {
        let text = text.trim();
        let fits =
            (2..=MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if fits { Ok(Language(text.to_owned())) } else { Err(BadLanguage) }
    }

    /// The code itself.
    pub fn code(&self) -> &str {
        &self.0
    }

    /// Whether a file means this language by `code`.
    pub fn is(&self, code: &str) -> bool {
        self.0.eq_ignore_ascii_case(code)
    }

    /// As an index keeps it, padded with NUL.
    pub(super) fn bytes(&self) -> [u8; MAX] {
        let mut bytes = [0; MAX];
        bytes[..self.0.len()].copy_from_slice(self.0.as_bytes());
        bytes
    }
}

/// Longest code, in bytes.
pub(super) const MAX: usize = 16;

impl Default for Language {
    /// The language that every file of MaxMind has.
    fn default() -> Language {
        Language("en".to_owned())
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_a_short_code() {
        for code in ["en", "pt-BR", "zh-Hans-CN", "abcdefghijklmnop"] {
            assert_eq!(Language::new(code).map(|language| language.0), Ok(code.to_owned()));
        }
        for text in ["", "e", "xx_bad", "en,de", "e n", "abcdefghijklmnopq", "é", "en\0", "../en"] {
            assert_eq!(Language::new(text), Err(BadLanguage), "{text:?}");
        }
        assert!(Language::new(" de ").unwrap().is("DE"));
    }
}
