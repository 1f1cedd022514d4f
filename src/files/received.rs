//! What this server has in use, for others, and what comes from another one: see [`enrich::maxmind::receive`].

use enrich::maxmind::Edition;
use enrich::maxmind::receive::{Digest, Draft, Offer, fill};
use enrich::maxmind::store::{GenerationInfo, Outcome, StoreError};
use pgrx::PgSqlErrorCode;

use super::maxmind;
use crate::pg::{errors, time};
use crate::shared;

/// Reads the file that answers for an edition, if there is one, in parts of `size` bytes. Raises an error when it cannot be
/// read, or is not what it was when it was installed.
pub fn read(edition: &Edition, size: usize, begin: impl FnOnce(&GenerationInfo), mut part: impl FnMut(&[u8])) {
    let opened = maxmind::store().database(edition).unwrap_or_else(|error| raise(error));
    let Some((info, mut file)) = opened else { return };
    begin(&info);
    let mut buffer = vec![0; size];
    let mut digest = Digest::default();
    loop {
        let filled = fill(&mut file, &mut buffer)
            .unwrap_or_else(|error| raise(StoreError::Io { path: edition.file_name().into(), error }));
        if filled == 0 {
            break;
        }
        digest.add(&buffer[..filled]);
        part(&buffer[..filled]);
    }
    if digest.hexadecimal() != info.sha256 {
        errors::raise(
            PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
            format!("the installed file of {edition} is damaged"),
            "Its SHA-256 is not that of the file that was imported.",
            "Put the file into asn_inventory.maxmind_dir again.",
        );
    }
}

/// Installs a file that was put together. False: it changed while it was read. Raises an error when it cannot be written.
pub fn install(draft: Draft, edition: &Edition, offer: &Offer) -> bool {
    let breathe = || {
        pgrx::check_for_interrupts!();
    };
    match draft.install(&maxmind::store(), edition, offer, &breathe) {
        Ok(None) => return false,
        Ok(Some(Outcome::Unchanged | Outcome::Unsettled)) => {}
        Ok(Some(Outcome::Installed(info))) => pgrx::log!(
            "asn_inventory: installed {edition}, build {}, {} nodes, generation {}, from the server that this one follows",
            time::text(info.built_us()),
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

/// An error of the store.
pub fn raise(error: StoreError) -> ! {
    errors::raise(super::failure::sqlstate(&error), format!("could not read or write mmdb files: {error}"), "", "")
}
