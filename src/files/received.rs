//! What this server has in use, for others, and what comes from another one: see [`enrich::maxmind::receive`].

use std::io;

use enrich::maxmind::Edition;
use enrich::maxmind::receive::{Draft, fill};
use enrich::maxmind::store::{GenerationInfo, Outcome, StoreError};
use pgrx::PgSqlErrorCode;

use super::maxmind;
use crate::pg::{errors, time};
use crate::shared;

/// Reads the file that answers for an edition, if there is one, in parts of `size` bytes. Raises an error when it cannot be
/// read.
pub fn read(edition: &Edition, size: usize, mut begin: impl FnMut(&GenerationInfo), mut part: impl FnMut(&[u8])) {
    let opened = maxmind::store().database(edition).unwrap_or_else(|error| raise(error));
    let Some((info, mut file)) = opened else { return };
    begin(&info);
    let mut buffer = vec![0; size];
    loop {
        let failed = |error: io::Error| StoreError::Io { path: edition.file_name().into(), error };
        match fill(&mut file, &mut buffer).unwrap_or_else(|error| raise(failed(error))) {
            0 => return,
            filled => part(&buffer[..filled]),
        }
    }
}

/// Installs a file that was put together. False: it changed while it was read, or another process imports. Raises an error
/// when it cannot be written.
pub fn install(draft: Draft, edition: &Edition, sha256: &str, build_epoch: i64) -> bool {
    let breathe = || {
        pgrx::check_for_interrupts!();
    };
    match draft.install(&maxmind::store(), edition, sha256, build_epoch, &breathe) {
        Ok(None | Some(Outcome::Unsettled)) | Err(StoreError::Busy) => return false,
        Ok(Some(Outcome::Unchanged)) => {}
        Ok(Some(Outcome::Installed(info))) => pgrx::log!(
            "asn_inventory: installed {edition}, build {}, {} nodes, generation {}, from the server that this one follows",
            time::text(info.build_epoch as i64 * 1_000_000),
            info.node_count,
            info.directory,
        ),
        // A newer version of the extension may take it.
        Ok(Some(Outcome::Refused(refusal))) => errors::raise(
            PgSqlErrorCode::ERRCODE_INVALID_BINARY_REPRESENTATION,
            format!("refused {edition}: {}", refusal.reason),
            "",
            "",
        ),
        Err(error) => raise(error),
    }
    shared::bump_generation();
    true
}

/// An error of the store, which is also shown as one of an import.
pub fn raise(error: StoreError) -> ! {
    maxmind::note(Some(&error));
    errors::raise(maxmind::sqlstate(&error), format!("could not read or write mmdb files: {error}"), "", "")
}
