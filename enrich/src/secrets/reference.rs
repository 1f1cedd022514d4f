//! The grammar of references to secrets.
//!
//! ```text
//! env:NAME                             a variable of the server's environment
//! file:/absolute/path                  the text of a file
//! vault://mount/path#field             HashiCorp Vault, KV version 2
//! op://vault/item[/section]/field      1Password
//! aws-sm://[region/]secret-id[#key]    AWS Secrets Manager; with a key, one member of the JSON object in it
//! sops:///absolute/path#a.b            one value of a file that sops encrypted
//! ```
//!
//! A Vault path may be written as its users write it (`secret/maxmind`) or as the API does
//! (`secret/data/maxmind`). It is the API's where one segment between the first and the last is `data`; in the
//! short form the first segment is the mount. Where that guess is wrong — a mount of several segments, a secret in
//! a folder called `data` — the API's form always works.

use std::fmt;
use std::path::PathBuf;

/// Longer than any path or name that is meant.
const MAX_REFERENCE: usize = 1024;

/// Where a secret stands. `{}` shows it as it is, or may be, written; there is nothing secret in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// Name of a variable.
    Env(String),
    /// Absolute path.
    File(PathBuf),
    /// A secret in HashiCorp Vault.
    Vault {
        /// The API's path, `mount/data/path`.
        path: String,
        /// It is written, and shown, without the `data`.
        is_short: bool,
        /// Which field of it.
        field: String,
    },
    /// Three or four segments, without the scheme.
    Op(String),
    /// A secret in AWS Secrets Manager.
    AwsSm {
        /// `us-east-1`; without one, the program's own configuration.
        region: Option<String>,
        /// Name or ARN.
        id: String,
        /// Which member of the JSON object that the secret then is.
        key: Option<String>,
    },
    /// A value in a file that sops encrypted.
    Sops {
        /// Absolute path.
        path: PathBuf,
        /// Names from the outside in; a number is an index where a list stands.
        keys: Vec<String>,
    },
}

/// A text that is not a reference. It is not repeated: it may be the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// No scheme that we know.
    #[error("not a reference to a secret")]
    Unknown,
    /// Longer than 1024 bytes, or with control characters inside.
    #[error("not a reference to a secret: too long, or it has control characters")]
    Unreadable,
    /// The scheme is known, the rest does not fit it.
    #[error("not a reference to a secret: after \"{scheme}\" {expected} is expected")]
    Malformed {
        /// The scheme, with its colon.
        scheme: &'static str,
        /// The expected rest.
        expected: &'static str,
    },
}

impl ReferenceError {
    /// How to handle it.
    pub const fn hint(&self) -> &'static str {
        "Name the place where the key stands: env:NAME, file:/path, vault://mount/path#field, op://vault/item/field, \
         aws-sm://[region/]secret-id[#key] or sops:///path#key. A key itself does not belong in a setting."
    }
}

/// Scheme, the expected rest, and its parser.
type Grammar = (&'static str, &'static str, fn(&str) -> Option<Reference>);

const GRAMMARS: [Grammar; 6] = [
    ("env:", "the name of an environment variable", env),
    ("file:", "an absolute path", file),
    ("vault://", "mount/path#field", vault),
    ("op://", "vault/item/field", op),
    ("aws-sm://", "[region/]secret-id[#key]", aws_sm),
    ("sops://", "an absolute path and #key", sops),
];

impl Reference {
    /// Reads a setting. Blanks around it are dropped.
    ///
    /// # Errors
    /// [`ReferenceError`], which never holds `text`.
    ///
    /// ```
    /// use enrich::secrets::Reference;
    /// assert_eq!(Reference::parse("env:MAXMIND_LICENSE_KEY").unwrap().to_string(), "env:MAXMIND_LICENSE_KEY");
    /// assert!(!format!("{:?}", Reference::parse("hunter2")).contains("hunter2"));
    /// ```
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        let text = text.trim();
        if text.len() > MAX_REFERENCE || text.chars().any(char::is_control) {
            return Err(ReferenceError::Unreadable);
        }
        for (scheme, expected, read) in GRAMMARS {
            if let Some(rest) = text.strip_prefix(scheme) {
                return read(rest).ok_or(ReferenceError::Malformed { scheme, expected });
            }
        }
        Err(ReferenceError::Unknown)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Env(name) => write!(f, "env:{name}"),
            Reference::File(path) => write!(f, "file:{}", path.display()),
            Reference::Vault { path, field, is_short: true } => {
                // The mount is one segment then.
                write!(f, "vault://{}#{field}", path.replacen("/data/", "/", 1))
            }
            Reference::Vault { path, field, .. } => write!(f, "vault://{path}#{field}"),
            Reference::Op(item) => write!(f, "op://{item}"),
            Reference::AwsSm { region, id, key } => {
                f.write_str("aws-sm://")?;
                region.iter().try_for_each(|region| write!(f, "{region}/"))?;
                f.write_str(id)?;
                key.iter().try_for_each(|key| write!(f, "#{key}"))
            }
            Reference::Sops { path, keys } => write!(f, "sops://{}#{}", path.display(), keys.join(".")),
        }
    }
}

fn env(rest: &str) -> Option<Reference> {
    let fits = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && rest.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    fits.then(|| Reference::Env(rest.to_owned()))
}

fn file(rest: &str) -> Option<Reference> {
    absolute(rest).map(Reference::File)
}

/// An absolute path to something that may be a file; `///path`, as URLs write it, is `/path`.
fn absolute(text: &str) -> Option<PathBuf> {
    let inner = text.strip_prefix('/')?.trim_start_matches('/');
    (!inner.is_empty() && !inner.ends_with('/')).then(|| PathBuf::from(format!("/{inner}")))
}

fn vault(rest: &str) -> Option<Reference> {
    let (path, field) = rest.rsplit_once('#')?;
    let segments: Vec<&str> = path.split('/').collect();
    let sound = segments.len() >= 2 && segments.iter().all(|s| is_segment(s));
    if !sound || field.is_empty() {
        return None;
    }
    let is_short = !segments[1..segments.len() - 1].contains(&"data");
    let path = match is_short {
        true => format!("{}/data/{}", segments[0], segments[1..].join("/")),
        false => path.to_owned(),
    };
    Some(Reference::Vault { path, field: field.to_owned(), is_short })
}

/// A segment that stays where it is written when a server joins the path.
fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
}

fn op(rest: &str) -> Option<Reference> {
    let segments = rest.split('/');
    let count = segments.clone().count();
    let sound = (3..=4).contains(&count) && segments.clone().all(|s| !s.trim().is_empty());
    sound.then(|| Reference::Op(rest.to_owned()))
}

fn aws_sm(rest: &str) -> Option<Reference> {
    let (place, key) = match rest.split_once('#') {
        Some((_, "")) => return None,
        Some((place, key)) => (place, Some(key.to_owned())),
        None => (rest, None),
    };
    let (region, id) = match place.split_once('/') {
        Some((first, id)) if is_region(first) => (Some(first.to_owned()), id),
        _ => (None, place),
    };
    // The program reads an argument that starts with a dash as an option, and one like file://… as a file's name.
    let fits = !id.is_empty()
        && !id.starts_with('-')
        && !id.contains("//")
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+=.@-:".contains(&b));
    fits.then(|| Reference::AwsSm { region, id: id.to_owned(), key })
}

/// `us-east-1`, `us-gov-west-1`: two letters, words, a number. A secret's own name rarely looks like that.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [first, words @ .., last] = parts.as_slice() else { return false };
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    first.len() == 2
        && is_word(first)
        && !words.is_empty()
        && words.iter().all(is_word)
        && !last.is_empty()
        && last.len() <= 2
        && last.bytes().all(|b| b.is_ascii_digit())
}

fn sops(rest: &str) -> Option<Reference> {
    let (path, keys) = rest.rsplit_once('#')?;
    let keys: Vec<String> = keys.split('.').map(str::to_owned).collect();
    let path = absolute(path)?;
    keys.iter().all(|key| !key.is_empty()).then_some(Reference::Sops { path, keys })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_scheme_is_read_and_shown_as_it_may_be_written() {
        for (text, shown) in [
            ("env:MAXMIND_LICENSE_KEY", "env:MAXMIND_LICENSE_KEY"),
            ("  file:/run/secrets/key ", "file:/run/secrets/key"),
            ("file:///run/secrets/key", "file:/run/secrets/key"),
            ("vault://secret/maxmind#license_key", "vault://secret/maxmind#license_key"),
            ("vault://secret/data/maxmind#license_key", "vault://secret/data/maxmind#license_key"),
            ("vault://team/kv/data/maxmind#k", "vault://team/kv/data/maxmind#k"),
            ("vault://secret/a/b#k", "vault://secret/a/b#k"),
            ("vault://secret/data#k", "vault://secret/data#k"),
            ("op://Ops Vault/MaxMind/license key", "op://Ops Vault/MaxMind/license key"),
            ("op://Ops/MaxMind/api/key", "op://Ops/MaxMind/api/key"),
            ("aws-sm://maxmind", "aws-sm://maxmind"),
            ("sops:///etc/keys.yaml#maxmind.license_key", "sops:///etc/keys.yaml#maxmind.license_key"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), shown);
            assert_eq!(Reference::parse(shown).unwrap(), reference, "what is shown can be read");
        }
    }

    #[test]
    fn a_region_is_told_from_a_name() {
        for (text, region, id, key) in [
            ("aws-sm://us-east-1/prod/maxmind#key", Some("us-east-1"), "prod/maxmind", Some("key")),
            ("aws-sm://us-gov-west-1/maxmind", Some("us-gov-west-1"), "maxmind", None),
            ("aws-sm://my-prod-app/secret", None, "my-prod-app/secret", None),
            ("aws-sm://us-east-1", None, "us-east-1", None),
            (
                "aws-sm://arn:aws:secretsmanager:eu-west-1:123456789012:secret:maxmind-AbCdEf",
                None,
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:maxmind-AbCdEf",
                None,
            ),
        ] {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            assert_eq!(
                Reference::parse(text),
                Ok(Reference::AwsSm { region: owned(region), id: id.to_owned(), key: owned(key) }),
            );
        }
    }

    #[test]
    fn what_does_not_fit_its_scheme_is_refused() {
        for text in [
            "env:",
            "env:1X",
            "env:A-B",
            "file:",
            "file:relative/path",
            "file:/",
            "file:/run/",
            "vault://secret/maxmind",
            "vault://secret#key",
            "vault://secret/../sys/x#key",
            "vault://secret//x#key",
            "vault://secret/x#",
            "op://vault/item",
            "op://vault//field",
            "op://a/b/c/d/e",
            "aws-sm://",
            "aws-sm://x#",
            "aws-sm://--debug",
            "aws-sm://file:///etc/passwd",
            "aws-sm://a b",
            "sops://etc/keys.yaml#a",
            "sops:///etc/keys.yaml",
            "sops:///etc/keys.yaml#a..b",
        ] {
            assert!(matches!(Reference::parse(text), Err(ReferenceError::Malformed { .. })), "{text}");
        }
        assert_eq!(Reference::parse(""), Err(ReferenceError::Unknown));
        assert_eq!(Reference::parse("env:A\0"), Err(ReferenceError::Unreadable));
        assert_eq!(Reference::parse(&format!("file:/{}", "x".repeat(2000))), Err(ReferenceError::Unreadable));
    }

    proptest! {
        #[test]
        fn an_error_never_repeats_the_text(
            scheme in "(env:|file:|vault://|op://|aws-sm://|sops://|)",
            key in "[!-~]{8,40}",
        ) {
            if let Err(error) = Reference::parse(&format!("{scheme}{key}")) {
                let told = format!("{error} {error:?} {}", error.hint());
                prop_assert!(!told.contains(&key));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(Reference::parse(&reference.to_string()).ok(), Some(reference));
            }
        }
    }
}
