//! The writes of one transaction, and their result.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use crate::cymru::AsName;
use crate::cymru::answer::{Answer, Prefix};
use crate::greynoise::Verdict;
use crate::time::Micros;

/// Why an address is skipped: its source is off. It is due once that is on again.
pub const SWITCHED_OFF: &str = "the source is switched off";
/// Why an address is skipped: it is never sent to a source. It is due once the setting no longer names it.
pub const NEVER_ASK: &str = "asn_inventory.never_ask";
/// Why an address is skipped by GreyNoise.
pub const IPV4_ONLY: &str = "it knows IPv4 only";

/// Whether rows are skipped for this reason by a setting, and for no longer than that says so.
pub fn is_by_setting(reason: &str) -> bool {
    reason == SWITCHED_OFF || reason == NEVER_ASK
}

/// Rows by their answers.
pub type Reasons = Vec<(IpAddr, String)>;

/// Of Team Cymru.
#[derive(Clone, Debug, Default)]
pub struct CymruBatch {
    /// Answers by row.
    pub ready: Vec<(IpAddr, Answer)>,
    /// By network.
    pub prefixes: Vec<Prefix>,
    /// Its answers about AS.
    pub details: Vec<AsName>,
    /// Names of AS that came along with answers.
    pub names: Vec<(u32, String)>,
    /// Rows whose question failed.
    pub failed: Reasons,
    /// Rows that are not asked about.
    pub skipped: Reasons,
}

impl CymruBatch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
            && self.prefixes.is_empty()
            && self.details.is_empty()
            && self.names.is_empty()
            && self.failed.is_empty()
            && self.skipped.is_empty()
    }
}

/// Of GreyNoise.
#[derive(Clone, Debug, Default)]
pub struct GreyNoiseBatch {
    /// Verdicts by row.
    pub ready: Vec<(IpAddr, Verdict)>,
    /// Rows whose question failed.
    pub failed: Reasons,
    /// Rows that are not asked about.
    pub skipped: Reasons,
    /// Rows that the quota did not reach.
    pub spent: Vec<IpAddr>,
    /// When it is open again.
    pub until: Micros,
}

/// Why something could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A lock conflict: retry later.
    pub lock: bool,
    /// In words.
    pub message: String,
}

/// The rows of a batch that could not be written, while the rest of it was.
#[derive(Clone, Debug)]
pub struct Unwritten<A> {
    /// Answers to rows that another session holds.
    pub locked: Vec<(IpAddr, A)>,
    /// Rows without an answer that another session holds: the reason could not be noted.
    pub unnoted: HashSet<IpAddr>,
    /// Rows that cannot be written, with an answer or without. The writer has reported the reason.
    pub broken: Vec<IpAddr>,
}

impl<A> Default for Unwritten<A> {
    fn default() -> Unwritten<A> {
        Unwritten { locked: Vec::new(), unnoted: HashSet::new(), broken: Vec::new() }
    }
}

/// Rows that were to be made due again, and are not.
#[derive(Clone, Debug, Default)]
pub struct NotDue {
    /// Those that other sessions hold.
    pub locked: Vec<IpAddr>,
    /// Those that were not tried: so many others could not be written that they would have taken too long.
    pub left: Vec<IpAddr>,
    /// Those that cannot be written. The writer has reported the reason.
    pub broken: Vec<IpAddr>,
}

impl NotDue {
    /// How many they are.
    pub fn len(&self) -> usize {
        self.locked.len() + self.left.len() + self.broken.len()
    }

    /// Whether all were made due.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those to try again, in the order to try them in: what was not tried comes before what is held.
    pub fn again(self) -> Vec<IpAddr> {
        [self.left, self.locked].concat()
    }
}

/// The result of a batch.
pub type Written<A> = Result<Unwritten<A>, Refusal>;

/// Rows by the reason to write, in order. For a row without a reason nothing is written; only its waiting session is
/// told.
///
/// ```
/// use enrich::campaign::batch::by_reason;
/// let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
/// let rows = [(two, "no".to_owned()), (one, "no".to_owned()), (one, String::new())];
/// assert_eq!(by_reason(&rows).into_iter().collect::<Vec<_>>(), [("no", vec![one, two])]);
/// ```
pub fn by_reason(rows: &[(IpAddr, String)]) -> BTreeMap<&str, Vec<IpAddr>> {
    let mut by: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
    for (ip, reason) in rows.iter().filter(|(_, reason)| !reason.is_empty()) {
        by.entry(reason).or_default().push(*ip);
    }
    by.values_mut().for_each(|ips| ips.sort_unstable());
    by
}
