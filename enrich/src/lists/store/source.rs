//! One list brought up to date from the operator's file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use nix::fcntl::OFlag;

use super::{Fault, Outcome, Store, at};
use crate::lists::manifest::{ListInfo, ListState, Refusal};
use crate::lists::parsed::{Parsed, Room};
use crate::lists::ranges;
use crate::lists::read::{MOST_BYTES, read};
use crate::lists::text::Unread;
use crate::maxmind::manifest::{Signature, now_us};
use crate::maxmind::store::is_denial;

impl Store {
    /// Brings one list up to date. `None`: nothing happened.
    pub(super) fn import_one(
        &self,
        dir: &Path,
        name: &str,
        signature: Result<Signature, String>,
        state: &mut ListState,
        room: Room,
        breathe: &dyn Fn(),
    ) -> Result<Option<Outcome>, Fault> {
        // A file that was refused brings nothing back.
        let is_lost = match &state.current {
            // Whatever is the matter with it, the file makes it anew.
            Some(info) if state.refused.is_none() => !self.has_ranges(info, breathe).unwrap_or(false),
            _ => false,
        };
        let path = dir.join(&state.file);
        if state.is_of(&signature, &path, || room) && !is_lost {
            return Ok(None);
        }
        let signature = match signature {
            Ok(signature) => signature,
            Err(reason) => return Ok(Some(state.refuse(None, &reason))),
        };
        // It may still be growing. It is looked at again in the next round.
        if !signature.settled(SystemTime::now()) {
            return Ok(None);
        }
        let parsed = match parse(&path, &signature, room, breathe) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Ok(None),
            Err(Unread::Refused(reason)) => return Ok(Some(state.refuse(Some(signature), &reason))),
            Err(Unread::NoRoom(reason)) => {
                let refusal = Refusal::new(&reason).for_room(room);
                (state.seen, state.refused) = (Some(signature), Some(refusal.clone()));
                return Ok(Some(Outcome::Refused(refusal)));
            }
            Err(Unread::Io(error)) => return Err(Fault::File(at(Path::new(&state.file))(error))),
        };
        let ranges = self.write(&format!("{name}-"), breathe, |out| Ok(ranges::write(&parsed, out)?))?;
        let current = state.current.take();
        let before = current.as_ref().map(|current| current.ranges.clone());
        let same = current.filter(|current| current.ranges == ranges);
        let info = ListInfo {
            ranges,
            entries: parsed.entries,
            addresses_v4: parsed.addresses_v4(),
            warning: parsed.warning(),
            size: signature.size,
            modified_at: signature.modified_us(),
            installed_at: same.as_ref().map_or_else(now_us, |same| same.installed_at),
            previous: same.as_ref().map_or(before, |same| same.previous.clone()),
        };
        *state =
            ListState { file: state.file.clone(), current: Some(info.clone()), seen: Some(signature), refused: None };
        Ok(same.is_none().then_some(Outcome::Installed(info)))
    }
}

impl ListState {
    /// Whether the file was looked at as it is now, and a refusal stands.
    pub(super) fn is_of(&self, signature: &Result<Signature, String>, path: &Path, room: impl Fn() -> Room) -> bool {
        let is_over = |refusal: &Refusal| {
            refusal.is_by_another()
                || refusal.room.is_some() && refusal.had_less_than(room())
                // A new group of the server's user, say, changes nothing of the file itself.
                || is_denial(&refusal.reason) && open(path).is_ok()
        };
        match signature {
            Ok(signature) => self.seen.as_ref() == Some(signature) && !self.refused.as_ref().is_some_and(is_over),
            Err(reason) => self.refused.as_ref().is_some_and(|refusal| refusal.reason == *reason),
        }
    }

    fn refuse(&mut self, seen: Option<Signature>, reason: &str) -> Outcome {
        let refusal = Refusal::new(reason);
        self.seen = seen;
        self.refused = Some(refusal.clone());
        Outcome::Refused(refusal)
    }
}

fn open(path: &Path) -> io::Result<File> {
    // If it is replaced by a pipe between two looks, no process waits at its other end.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

/// The entries of the operator's file, or the reason against it; `None`: it changed while it was read.
pub(super) fn parse(
    path: &Path,
    signature: &Signature,
    room: Room,
    breathe: &dyn Fn(),
) -> Result<Option<Parsed>, Unread> {
    if signature.size > MOST_BYTES {
        let reason = format!("a list of {} bytes is too large, {MOST_BYTES} at most", signature.size);
        return Err(Unread::Refused(reason));
    }
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(Unread::Refused(error.to_string()));
        }
        Err(error) => return Err(Unread::Io(error)),
    };
    let is_unchanged = || Signature::of_open(&file).is_ok_and(|now| now == *signature);
    if !is_unchanged() {
        return Ok(None);
    }
    let limited = io::Read::take(&file, MOST_BYTES);
    let parsed = read(&mut BufReader::with_capacity(256 << 10, limited), room, breathe);
    match parsed {
        _ if !is_unchanged() => Ok(None),
        Ok(parsed) => Ok(Some(parsed)),
        Err(unread) => Err(unread),
    }
}
