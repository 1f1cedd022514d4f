//! Messages in the log.

use enrich::campaign::effect::News;
use enrich::campaign::standing::Way;
use enrich::source::Source;

use crate::pg::time;
use crate::shared::trouble::Work;
use crate::shared::watched;

/// Writes it into the log.
pub fn say(news: News) {
    match news {
        News::WayWorks(way) => {
            let what = match way {
                Way::Dns => "Team Cymru answers",
                Way::Bulk => "Team Cymru's bulk sessions work",
            };
            pgrx::log!("asn_inventory: {what} again");
        }
        News::WayFails(way, reason, at) => {
            let what = match way {
                Way::Dns => "Team Cymru does not answer",
                Way::Bulk => "Team Cymru's bulk sessions fail, its DNS is asked instead",
            };
            pgrx::log!("asn_inventory: {what}: {reason}; the next attempt is at {}", time::text(at));
        }
        News::OnlyBulkWorks => {
            pgrx::log!("asn_inventory: Team Cymru answers again, by bulk sessions; its DNS does not");
        }
        News::BulkFailed(reason) => pgrx::debug1!("asn_inventory: a bulk session with Team Cymru failed: {reason}"),
        News::KeyRefused(reason) => pgrx::warning!(
            "asn_inventory: GreyNoise refuses the key ({reason}); it is off until there is another one: \
             asn_inventory.greynoise_api_key is read again at a reload, when its file changes, and every five minutes"
        ),
        News::QuotaSpent(until) => pgrx::log!(
            "asn_inventory: GreyNoise says that its quota is spent; asking again after {}, or at a reload of the settings",
            time::text(until)
        ),
        News::LedgerUnwritable(reason) if watched::is_new(Work::Ledger, &reason) => {
            pgrx::log!("asn_inventory: the quota's ledger cannot be written, GreyNoise is not asked: {reason}");
        }
        News::Unwritten(Source::GreyNoise, reason) if watched::is_new(Work::GreynoiseWrite, &reason) => {
            pgrx::log!("asn_inventory: answers of GreyNoise could not be written, trying again: {reason}");
        }
        News::Unwritten(Source::Cymru, reason) if watched::is_new(Work::CymruWrite, &reason) => {
            pgrx::log!("asn_inventory: answers of Team Cymru could not be written, trying again: {reason}");
        }
        News::NotReopened(reason) if watched::is_new(Work::Reopen, &reason) => {
            pgrx::log!("asn_inventory: rows that wait for GreyNoise's quota could not be made due: {reason}");
        }
        // Said a moment ago.
        News::LedgerUnwritable(_) | News::Unwritten(..) | News::NotReopened(_) => {}
        News::NotUnskipped(reason) => {
            pgrx::log!("asn_inventory: skipped rows could not be made due again: {reason}");
        }
    }
}
