//! What came of each edition and list, in words: for the job and for the log. The host is named where something failed; the rest of
//! a URL never is.

use enrich::maxmind::Edition;
use enrich::maxmind::download::{Closed, DownloadError, Kind};
use enrich::maxmind::update::{Done, Told};

use crate::files::{lists, maxmind};
use crate::pg::time;

/// The result of an edition or a list.
pub struct Line {
    /// For the job.
    pub text: String,
    /// It could not be had.
    pub failed: bool,
    /// When to look again.
    pub again: Option<i64>,
}

/// In words, and into the log.
pub fn line(told: &Told, host: &str) -> Line {
    let Told { kind, name: of, done } = told;
    let name = shown(*kind, of);
    let (mut failed, mut again) = (false, None);
    let text = match done {
        Done::UpToDate => format!("{name}: up to date"),
        Done::Downloaded => format!("{name}: downloaded"),
        Done::Arrived => {
            let why = refusal(*kind, of);
            failed = why.is_some();
            let why = why.map_or_else(|| "not installed yet".to_owned(), |why| format!("refused: {why}"));
            format!("{name}: the newest was downloaded before, and {why}")
        }
        Done::Unchanged => match refusal(*kind, of) {
            None => format!("{name}: up to date"),
            Some(why) => {
                failed = true;
                format!("{name}: the newest was downloaded before, and refused: {why}")
            }
        },
        Done::NotDue => format!("{name}: not due"),
        Done::Waits(wait) => {
            failed = true;
            again = Some(wait.until);
            let (at, why) = (time::text(wait.until), wait.reason(Some(host)));
            let since = wait.since.map(|since| format!("; failing since {}", time::text(since))).unwrap_or_default();
            if wait.why.is_refusal() {
                format!("{name}: not asked for: {why}; tried again at {at}, or by update_maxmind(true){since}")
            } else {
                format!("{name}: not asked for until {at}: {why}{since}")
            }
        }
        Done::Cancelled => format!("{name}: cancelled"),
        Done::Foreign => format!("{name}: not MaxMind's, and not asked for"),
        Done::Unwanted => format!("{name}: not asked for: there is no licence key"),
        Done::Keyless(why) => {
            failed = true;
            format!("{name}: not asked for: {why}")
        }
        Done::Failed(error, at) => {
            failed = true;
            again = *at;
            if error.is_of_host() { format!("{name}: {error} ({host})") } else { format!("{name}: {error}") }
        }
    };
    match done {
        Done::Failed(..) => pgrx::warning!("asn_inventory: download of {text}"),
        Done::Downloaded | Done::Arrived | Done::Waits(_) => pgrx::log!("asn_inventory: {text}"),
        _ if failed => pgrx::log!("asn_inventory: {text}"),
        _ => {}
    }
    Line { text, failed, again }
}

/// Whether MaxMind's other editions meet the same closed door: it is said once.
pub fn closes(done: &Done) -> bool {
    match done {
        Done::Failed(error, _) => matches!(error, DownloadError::Unauthorized | DownloadError::DailyLimit { .. }),
        Done::Waits(wait) => matches!(wait.why, Closed::Unauthorized | Closed::Limit | Closed::Daily),
        Done::Keyless(_) => true,
        _ => false,
    }
}

/// How messages name an edition or a list.
pub fn shown(kind: Kind, of: &Edition) -> String {
    match kind {
        Kind::Database => of.name().to_owned(),
        Kind::List => format!("list {}", of.name()),
    }
}

/// Why the import did not take the file that lies there.
pub fn refusal(kind: Kind, of: &Edition) -> Option<String> {
    match kind {
        Kind::Database => {
            let manifest = maxmind::store().manifest().ok()?;
            Some(manifest.editions.get(of.name())?.refused.as_ref()?.reason.clone())
        }
        Kind::List => {
            let manifest = lists::store().manifest().ok()?;
            // Another file may give the list of that name.
            let rejected = manifest.rejected.get(&kind.file_name(of.name()));
            let refused = manifest.lists.get(of.name()).and_then(|state| state.refused.as_ref());
            Some(rejected.or(refused)?.reason.clone())
        }
    }
}
