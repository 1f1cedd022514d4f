//! `env:` and `file:`: secrets on this machine.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::{O_NOCTTY, O_NONBLOCK};
use zeroize::Zeroizing;

use super::allowed::Owners;
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
pub(super) fn file(path: &Path, owners: &Owners) -> Result<Secret, Why> {
    // Without O_NONBLOCK the opening of a named pipe waits for its other end.
    let opened = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Why::Unset("there is no such file")),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Err(Why::Refused(e.to_string())),
        Err(e) => return Err(Why::Failed(e.to_string())),
    };
    let metadata = file.metadata().map_err(|e| Why::Failed(e.to_string()))?;
    trusted(&metadata, nix::unistd::geteuid().as_raw(), owners)?;
    // Room for everything at once: a buffer that grows leaves pieces of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET + 2));
    file.take(MAX_SECRET as u64 + 1).read_to_end(&mut bytes).map_err(|e| Why::Failed(e.to_string()))?;
    text(bytes)
}

fn trusted(metadata: &Metadata, effective_user: u32, owners: &Owners) -> Result<(), Why> {
    let (is_file, mode, owner) = (metadata.is_file(), metadata.mode(), metadata.uid());
    trusted_by(is_file, mode, owner, effective_user, owners).map_err(|why| Why::Refused(why.to_owned()))
}

/// A user who can write the file can make us send requests with another key.
fn trusted_by(is_file: bool, mode: u32, owner: u32, effective_user: u32, owners: &Owners) -> Result<(), &'static str> {
    let ours = owner == 0 || owner == effective_user || owners.allow(owner);
    if !is_file {
        Err("is not a regular file")
    } else if mode & 0o022 != 0 {
        Err("its group or others may write it: chmod go-w")
    } else if !ours {
        Err("belongs neither to root nor to the server's user: chown it, or see asn_inventory.secret_file_owners")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_server_may_have_written_a_key() {
        let of = |text: &str| Owners::parse(text).unwrap();
        let judged = |mode, owner, owners: &str| trusted_by(true, mode, owner, 70, &of(owners));
        assert!(judged(0o100_600, 70, "").is_ok());
        assert!(judged(0o100_444, 0, "").is_ok(), "as Docker and Kubernetes mount them");
        assert!(judged(0o100_644, 1000, "").is_err());
        assert!(judged(0o100_644, 1000, "472").is_err());
        assert!(judged(0o100_644, 1000, "472, 1000").is_ok());
        assert!(judged(0o100_644, 1000, "any").is_ok());
        for owners in ["", "70", "any"] {
            assert!(judged(0o100_620, 70, owners).is_err());
            assert!(judged(0o100_602, 70, owners).is_err());
            assert!(trusted_by(false, 0o040_700, 70, 70, &of(owners)).is_err());
        }
        assert!(Owners::parse("postgres").is_err());
    }
}
