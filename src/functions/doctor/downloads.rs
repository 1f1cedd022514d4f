//! How the last look for newer files went, whether each source of files is in use and could be had, and whether the settings
//! of a proxy can be read.

use std::sync::atomic::Ordering;

use enrich::maxmind::download::{Kind, Site};
use enrich::maxmind::update;
use enrich::secrets::Environment;

use super::finding::{Finding, ask, select};
use super::{Group, could_not_look};
use crate::files::lists;
use crate::functions::status::updates;
use crate::pg::catalog::Schema;
use crate::pg::{argument, time, tx};
use crate::shared::{kind, state};
use crate::{settings, shared};

/// What the sources with their own schedules could not do as a whole stands in the jobs alone. A role may not be allowed to
/// read these: the rest of the check goes on then.
const OWN_SCHEDULES: Group = Group {
    checks: &["mmdb sources"],
    needs: &["enrichment_run"],
    look: |schema| ask(schema, include_str!("downloads_own.sql"), &[]),
};

/// The check `maxmind downloads`.
pub fn last_update(schema: &Schema) -> Vec<Finding> {
    // Where that is not known, what failed is told.
    ask(schema, include_str!("downloads.sql"), &[argument::boolean(updates::are_any().unwrap_or(true))])
}

/// The checks `mmdb sources` and `proxy`.
pub fn look(schema: &Schema) -> Vec<Finding> {
    let mut found = sources(schema);
    found.extend(own_schedules(schema));
    found.extend(under_way());
    found.extend(proxy());
    found
}

fn own_schedules(schema: &Schema) -> Vec<Finding> {
    // One that is not set any more has no next turn, which could go well.
    if !updates::with_schedules() {
        return Vec::new();
    }
    let looked = tx::attempt(|| (OWN_SCHEDULES.look)(schema));
    looked.unwrap_or_else(|failure| could_not_look(schema, &OWN_SCHEDULES, &failure))
}

fn sources(schema: &Schema) -> Vec<Finding> {
    let (sites, editions) = (settings::downloads().sites, settings::snapshot().maxmind_editions);
    let mut found = Vec::new();
    let is_unused = |site: &&Site| site.kind() == Kind::Database && !editions.contains(site.name());
    for site in sites.iter().filter(is_unused) {
        let name = site.name().name();
        let list: Vec<String> = editions.iter().map(|edition| edition.spelled()).chain([name.to_owned()]).collect();
        found.push(Finding::new(
            "mmdb sources",
            "warning",
            format!("{name} has a source and is not in asn_inventory.maxmind_editions: it is not downloaded."),
            Some(format!(
                "ALTER SYSTEM SET asn_inventory.maxmind_editions = '{}'; SELECT pg_reload_conf();",
                list.join(",")
            )),
        ));
    }
    let lists = lists::store().manifest().unwrap_or_default();
    let is_installed = |site: &Site| lists.lists.get(site.name().name()).is_some_and(|state| state.current.is_some());
    let troubles = update::troubles(&settings::place::directory(), &sites, time::now_unix_us());
    for site in sites.iter().filter(|site| site.kind() == Kind::List && !is_installed(site)) {
        if troubles.iter().all(|(other, _)| !other.is_as(site)) {
            found.push(Finding::new(
                "mmdb sources",
                "warning",
                format!("list {} has a source, and was not fetched and imported yet.", site.name().name()),
                Some(select(schema, "update_maxmind", "")),
            ));
        }
    }
    for (site, wait) in troubles {
        let (host, why, at) = (site.host(), wait.reason(None), time::text(wait.until));
        let since = wait.since.map(|since| format!("; failing since {}", time::text(since))).unwrap_or_default();
        let name = match site.kind() {
            Kind::Database => site.name().name().to_owned(),
            Kind::List => format!("list {}", site.name().name()),
        };
        found.push(Finding::new(
            "mmdb sources",
            "warning",
            format!("{name} from {host}: {why}; tried again at {at}{since}."),
            Some(format!("{}  -- after correcting what it says", select(schema, "update_maxmind", "true"))),
        ));
    }
    found
}

/// What an update is at, in whichever database: all others of the server wait for its end.
fn under_way() -> Option<Finding> {
    let jobs = shared::shared().map(|shared| &shared.jobs[..]).unwrap_or_default();
    let runs = jobs.iter().any(|job| {
        job.state.load(Ordering::Acquire) == state::RUNNING && job.kind.load(Ordering::Relaxed) == kind::UPDATE
    });
    // What a server that was killed left behind is under way no more.
    let at = runs.then(|| update::under_way(&settings::place::directory(), time::now_unix_us())).flatten()?;
    let (what, host, since) = (at.what, at.host, time::text(at.since));
    let detail = format!("{what} is being fetched from {host} since {since}; other downloads wait for its end.");
    Some(Finding::new("mmdb sources", "ok", detail, None))
}

fn proxy() -> Option<Finding> {
    match settings::network().proxy.named(&Environment::Process) {
        Ok(None) => None,
        Ok(Some((name, from))) => {
            let detail = format!("The proxy {name}, from {from}, is asked for downloads, GreyNoise and Vault.");
            Some(Finding::new("proxy", "ok", detail, None))
        }
        Err(why) => Some(Finding::new(
            "proxy",
            "error",
            format!("The way out cannot be read, and nothing is asked: {why}"),
            Some(
                "ALTER SYSTEM SET asn_inventory.https_proxy = 'http://proxy:3128'; SELECT pg_reload_conf();".to_owned(),
            ),
        )),
    }
}
