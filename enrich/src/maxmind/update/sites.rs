//! One source beside MaxMind's: whether it is to be asked, and what came of it.

use super::{Done, Keep, Update, UpdateError};
use crate::maxmind::download::{Attempts, Fingerprint, Kind, Limits, Pulled, Reach, Site};
use crate::proxy::Proxy;
use crate::secrets::Resolver;
use crate::time::Micros;

/// The way to all sources.
pub(super) struct Way<'a> {
    /// Looks up the references of this update.
    pub(super) resolver: &'a Resolver,
    pub(super) proxy: Option<&'a Proxy>,
}

pub(super) fn update(
    update: &Update,
    site: &Site,
    way: &Way,
    attempts: &mut Attempts,
    now: &impl Fn() -> Micros,
    keep: Keep,
) -> Result<Done, UpdateError> {
    // The mark of a source's keys is only wanted after a refusal: to look them up may mean to run a program.
    let by = || site.credentials(&|reference| way.resolver.resolve(reference));
    if let Err(wait) = attempts.may_ask(now(), site, update.forced, by) {
        return Ok(Done::Waits(wait));
    }
    if update.scheduled && !attempts.is_due(now(), site, update.corrected) {
        return Ok(Done::NotDue);
    }
    attempts.asks(now(), site);
    keep(attempts)?;
    let limits = Limits::of_sites();
    let reach = Reach {
        key: &|reference| way.resolver.key(reference),
        credentials: &|reference| way.resolver.resolve(reference),
        ca_file: update.ca_file.as_deref(),
        proxy: way.proxy,
        limits: &limits,
        cancel: &update.cancel,
    };
    let known = attempts.known(site).filter(|_| !update.forced);
    let to_dir = match site.kind() {
        Kind::Database => &update.to_dir,
        Kind::List => &update.lists_dir,
    };
    let pulled = site.pull(&reach, now(), known, to_dir);
    attempts.is_done();
    let done = match pulled {
        Ok(Pulled::Unchanged(known)) => {
            attempts.told(now(), site, Ok(known));
            Done::Unchanged
        }
        Ok(Pulled::File(known)) => {
            attempts.told(now(), site, Ok(known));
            Done::Downloaded
        }
        // Whatever failed then.
        Err(_) if update.cancel.is_cancelled() => Done::Cancelled,
        Err(error) => {
            let by = if error.is_refusal() { by() } else { Fingerprint::of_nobody() };
            attempts.told(now(), site, Err((&error, by)));
            Done::Failed(error, attempts.trouble(site).map(|wait| wait.until))
        }
    };
    keep(attempts)?;
    Ok(done)
}
