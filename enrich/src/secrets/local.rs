//! `env:` and `file:`: secrets on this machine.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::{O_NOCTTY, O_NONBLOCK};
use zeroize::Zeroizing;

use super::error::Why;
use super::resolver::Resolver;
use super::value::text;
use super::{MAX_SECRET, Secret};

pub(super) fn env(resolver: &Resolver, name: &str) -> Result<Secret, Why> {
    if !resolver.env_allow.allow(name) {
        return Err(Why::Refused("this variable may not be read".to_owned()));
    }
    let value = resolver.environment.get(name).ok_or(Why::Unset("is not set in the server's environment"))?;
    text(Zeroizing::new(value.into_bytes()))
}

/// Links are followed, because mounted secrets are links; what counts is the file that was opened.
pub(super) fn file(path: &Path) -> Result<Secret, Why> {
    // Without O_NONBLOCK the opening of a named pipe waits for its other end.
    let opened = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Why::Unset("there is no such file")),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Err(Why::Refused(e.to_string())),
        Err(e) => return Err(Why::Failed(e.to_string())),
    };
    let metadata = file.metadata().map_err(|e| Why::Failed(e.to_string()))?;
    trusted(&metadata, nix::unistd::geteuid().as_raw())?;
    // Room for everything at once: a buffer that grows leaves pieces of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET + 2));
    file.take(MAX_SECRET as u64 + 1).read_to_end(&mut bytes).map_err(|e| Why::Failed(e.to_string()))?;
    text(bytes)
}

fn trusted(metadata: &Metadata, effective_user: u32) -> Result<(), Why> {
    let (is_file, mode, owner) = (metadata.is_file(), metadata.mode(), metadata.uid());
    judge(is_file, mode, owner, effective_user).map_err(|why| Why::Refused(why.to_owned()))
}

/// A user who can write the file can make us send requests with another key.
fn judge(is_file: bool, mode: u32, owner: u32, effective_user: u32) -> Result<(), &'static str> {
    if !is_file {
        Err("is not a regular file")
    } else if mode & 0o022 != 0 {
        Err("its group or others may write it: chmod go-w")
    } else if owner != 0 && owner != effective_user {
        Err("belongs neither to root nor to the server's user")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn only_root_and_the_server_may_have_written_a_key() {
        assert!(judge(true, 0o100_600, 70, 70).is_ok());
        assert!(judge(true, 0o100_444, 0, 70).is_ok());
        assert!(judge(true, 0o100_644, 1000, 70).is_err());
        assert!(judge(true, 0o100_620, 70, 70).is_err());
        assert!(judge(true, 0o100_602, 70, 70).is_err());
        assert!(judge(false, 0o040_700, 70, 70).is_err());
    }
}
