//! Secrets, and the references that stand for them in settings: `env:NAME` and `file:/path`.
//!
//! A setting holds a reference and never the value: settings are shown to whoever asks. The value is read where and
//! when it is used, by the worker, and wiped afterwards. The schemes of secret managers are recognized, and refused
//! with a reason until they can be resolved.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Largest secret that is read from a file, in bytes.
const MAX_SECRET: u64 = 64 * 1024;
/// Schemes that name another program or service.
const MANAGERS: [&str; 4] = ["vault", "op", "aws-sm", "sops"];
/// Names of environment variables that a reference may read, by their beginnings: what else stands in the server's
/// environment is nobody's business.
const ENV_PREFIXES: [&str; 2] = ["MAXMIND_", "GREYNOISE_"];

/// A value that is wiped when it is dropped, and that `{:?}` does not show.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the value in.
    pub fn new(value: String) -> Secret {
        Secret(Zeroizing::new(value))
    }

    /// The value, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Secret {
        Secret::new(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a secret stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A variable of the server's environment.
    Env(String),
    /// A file.
    File(PathBuf),
    /// A secret manager: the whole reference.
    Manager(String),
}

/// Why a text is no reference. Never repeats the text: it may be a key that was pasted by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// No known scheme.
    #[error("It is a reference to a secret, never the secret itself: env:NAME or file:/path.")]
    NoReference,
    /// A file that is not named from the root.
    #[error("A file is named by its absolute path: file:/path.")]
    RelativePath,
    /// Nothing behind the scheme, or what can't be a name.
    #[error("After env: comes the name of a variable, of letters, digits and underscores.")]
    BadName,
}

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// The text is none.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        let text = text.trim();
        if let Some(name) = text.strip_prefix("env:") {
            let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            return if fits { Ok(Reference::Env(name.to_owned())) } else { Err(ReferenceError::BadName) };
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = Path::new(path);
            return if path.is_absolute() {
                Ok(Reference::File(path.to_owned()))
            } else {
                Err(ReferenceError::RelativePath)
            };
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        if scheme.is_some_and(|scheme| MANAGERS.contains(&scheme)) {
            return Ok(Reference::Manager(text.to_owned()));
        }
        Err(ReferenceError::NoReference)
    }

    /// The secret. `user` is who the server runs as: only that user and root may own a file.
    ///
    /// # Errors
    /// It stands nowhere, or is refused: [`SecretError`] says why, and never shows a value.
    pub fn resolve(&self, user: u32) -> Result<Secret, SecretError> {
        match self {
            Reference::Env(name) => {
                if !ENV_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                    return Err(SecretError::NameNotAllowed(self.clone()));
                }
                let value = std::env::var(name).unwrap_or_default();
                if value.is_empty() { Err(SecretError::Unset(self.clone())) } else { checked(self, value) }
            }
            Reference::File(path) => self.read(path, user),
            Reference::Manager(_) => Err(SecretError::NotSupported(self.clone())),
        }
    }

    fn read(&self, path: &Path, user: u32) -> Result<Secret, SecretError> {
        let trouble = |error: &std::io::Error| SecretError::Unreadable(self.clone(), error.kind().to_string());
        let file = match std::fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(SecretError::Unset(self.clone())),
            opened => opened.map_err(|error| trouble(&error))?,
        };
        // Of what was opened, not of what the name means a moment later.
        let about = file.metadata().map_err(|error| trouble(&error))?;
        if !about.is_file() || about.len() > MAX_SECRET {
            return Err(SecretError::NoSecretFile(self.clone()));
        }
        if about.mode() & 0o022 != 0 || (about.uid() != 0 && about.uid() != user) {
            return Err(SecretError::Writable(self.clone()));
        }
        let mut value = Zeroizing::new(String::new());
        file.take(MAX_SECRET).read_to_string(&mut value).map_err(|error| trouble(&error))?;
        let line = value.strip_suffix('\n').unwrap_or(&value);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() { Err(SecretError::Unset(self.clone())) } else { checked(self, line.to_owned()) }
    }
}

/// A key goes into a header, where a line break would begin another one.
fn checked(reference: &Reference, value: String) -> Result<Secret, SecretError> {
    let secret = Secret::new(value);
    if secret.expose().chars().any(char::is_control) {
        Err(SecretError::ControlCharacters(reference.clone()))
    } else {
        Ok(secret)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Env(name) => write!(f, "env:{name}"),
            Reference::File(path) => write!(f, "file:{}", path.display()),
            Reference::Manager(text) => f.write_str(text),
        }
    }
}

/// Why a reference gives no secret. Names the reference, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It points to nothing: no such variable or file, or an empty one.
    #[error("{0} is not set")]
    Unset(Reference),
    /// A variable that no reference may read.
    #[error("{0} is refused: only variables that begin with MAXMIND_ or GREYNOISE_ are read")]
    NameNotAllowed(Reference),
    /// The system says no.
    #[error("{0} can't be read: {1}")]
    Unreadable(Reference, String),
    /// A directory, a device, or too large.
    #[error("{0} is refused: it is no regular file of at most 64 kB")]
    NoSecretFile(Reference),
    /// Others may put their own key there.
    #[error("{0} is refused: others than root and the server's user may write it")]
    Writable(Reference),
    /// It would break the request that it goes into.
    #[error("{0} is refused: it holds control characters")]
    ControlCharacters(Reference),
    /// A scheme that is not there yet.
    #[error("{0} is not resolved by this version: use env: or file:")]
    NotSupported(Reference),
}

impl SecretError {
    /// Whether there simply is none.
    pub fn is_unset(&self) -> bool {
        matches!(self, SecretError::Unset(_))
    }
}

/// Programs that may resolve references, by name: `op=/usr/bin/op, aws=/usr/bin/aws`.
///
/// # Errors
/// An item is not `name=/absolute/path`.
pub fn commands(text: &str) -> Result<BTreeMap<String, PathBuf>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| {
            let (name, path) = item.split_once('=').unwrap_or((item, ""));
            let (name, path) = (name.trim(), Path::new(path.trim()));
            let known = ["op", "aws", "sops"].contains(&name);
            if known && path.is_absolute() {
                Ok((name.to_owned(), path.to_owned()))
            } else {
                Err(format!("\"{item}\" is not op, aws or sops = an absolute path."))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn me(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().uid()
    }

    fn file(name: &str, text: &str, mode: u32) -> PathBuf {
        let path = std::env::temp_dir().join(format!("asn_inventory.secret.{}.{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn what_is_no_reference_is_refused_and_not_repeated() {
        for text in
            ["", "abcdef0123456789", "https://example.com/key", "env", "env:", "env:A B", "file:", "file:key", "ENV:X"]
        {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(text.len() < 8 || !error.contains(text), "{error}");
        }
        assert_eq!(Reference::parse(" env:GREYNOISE_API_KEY ").unwrap(), Reference::Env("GREYNOISE_API_KEY".into()));
        assert_eq!(Reference::parse("file:/etc/key").unwrap().to_string(), "file:/etc/key");
        assert!(matches!(Reference::parse("op://vault/item/field"), Ok(Reference::Manager(_))));
    }

    #[test]
    fn a_file_gives_its_only_line() {
        let path = file("line", "abc def\n", 0o600);
        let found = Reference::File(path.clone()).resolve(me(&path));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found.unwrap().expose(), "abc def");
    }

    #[test]
    fn files_that_others_may_write_or_own_are_refused() {
        for (mode, owner) in [(0o620, None), (0o602, None), (0o600, Some(u32::MAX))] {
            let path = file(&format!("{mode:o}{}", owner.is_some()), "abc", mode);
            let mine = me(&path);
            // Root may own any: that case needs another owner to be refused.
            let refused = Reference::File(path.clone()).resolve(owner.unwrap_or(mine));
            std::fs::remove_file(&path).unwrap();
            if owner.is_none() || mine != 0 {
                assert!(matches!(refused, Err(SecretError::Writable(_))), "{mode:o}");
            }
        }
    }

    #[test]
    fn nothing_there_is_something_else_than_refused() {
        assert!(Reference::File("/nonexistent/asn_inventory".into()).resolve(0).unwrap_err().is_unset());
        assert!(Reference::Env("MAXMIND_SURELY_NOT_SET_ANYWHERE".into()).resolve(0).unwrap_err().is_unset());
        assert!(matches!(Reference::Env("PATH".into()).resolve(0), Err(SecretError::NameNotAllowed(_))));
        assert!(matches!(Reference::File("/".into()).resolve(0), Err(SecretError::NoSecretFile(_))));
        let path = file("control", "abc\r\nHost: x", 0o600);
        let refused = Reference::File(path.clone()).resolve(me(&path));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(refused, Err(SecretError::ControlCharacters(_))));
    }

    #[test]
    fn errors_and_debug_output_show_no_value() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(…)");
        let error = checked(&Reference::Env("MAXMIND_X".into()), "hunter2\n".into()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn programs_are_named_by_absolute_path() {
        assert_eq!(commands("op=/usr/bin/op, aws = /bin/aws").unwrap().len(), 2);
        assert_eq!(commands("").unwrap().len(), 0);
        for text in ["op=op", "op", "rm=/bin/rm", "=/bin/op"] {
            assert!(commands(text).is_err(), "{text}");
        }
    }
}
