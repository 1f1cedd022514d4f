//! Whether the servers that share an inventory answer from the same mmdb files: a standby and its primary, the nodes of a
//! cluster. The nodes from the same lists of networks as well.

use std::collections::BTreeMap;
use std::time::Duration;

use enrich::lists::spread::{InUse, stands_still};
use enrich::maxmind::Edition;
use serde_json::Value;

use super::finding::{Finding, ask};
use crate::files::maxmind;
use crate::inventory::{heap, shared_files};
use crate::pg::catalog::Schema;
use crate::pg::citus::{self, Where};
use crate::pg::sql::Sql;
use crate::pg::{process, time};
use crate::settings;
use crate::settings::ShareFiles;

/// How long a new file may travel.
const TRAVELS: Duration = Duration::from_secs(60);
/// What a node answers from, as JSON in a text.
const FILES: &str = "SELECT pg_catalog.json_agg(pg_catalog.json_build_object('edition', f.edition, 'generation', f.generation,
    'built', f.build_time::pg_catalog.text, 'since', f.installed_at::pg_catalog.text, 'age', extract(epoch FROM pg_catalog.now() OPERATOR(pg_catalog.-) f.installed_at)))::pg_catalog.text
    FROM";
/// The same of its lists of networks.
const LISTS: &str = "SELECT pg_catalog.json_agg(pg_catalog.json_build_object('list', l.list,
    'generation', l.generation, 'previous', l.previous_generation, 'since', l.installed_at::pg_catalog.text,
    'age', extract(epoch FROM pg_catalog.now() OPERATOR(pg_catalog.-) l.installed_at)))::pg_catalog.text
    FROM";
/// Most lists that are named.
const NAMED: usize = 10;

/// A file of a server.
struct Installed {
    generation: String,
    built: String,
    since: String,
    age: f64,
}

/// A list of networks of a server.
struct Used {
    entries: InUse,
    since: String,
}

/// The check `mmdb elsewhere`.
pub fn look(schema: &Schema) -> Vec<Finding> {
    let everywhere = heap::is_everywhere(schema);
    let mut found = Vec::new();
    if process::in_recovery() || everywhere && !citus::is_coordinator() {
        found.extend(followed(schema));
    }
    if everywhere && !process::in_recovery() {
        found.extend(nodes(schema));
    }
    found
}

/// The files that the primary or the coordinator shares, beside those of this server.
fn followed(schema: &Schema) -> Vec<Finding> {
    if !schema.has_column(c"mmdb_shared", c"sha256") {
        return Vec::new();
    }
    let leader = if process::in_recovery() { "the primary" } else { "the coordinator" };
    let text = include_str!("elsewhere.sql");
    let manifest = maxmind::manifest();
    let ours: BTreeMap<&String, Value> = manifest
        .editions
        .iter()
        .filter_map(|(edition, state)| {
            let current = state.current.as_ref()?;
            let taken = state.received.as_ref().map(|last| &last.sha256);
            Some((
                edition,
                serde_json::json!({
                    "sha256": current.sha256, "taken": taken, "generation": current.directory,
                    "built": time::text(current.built_us()),
                    "since": time::text(current.installed_at),
                }),
            ))
        })
        .collect();
    let list = &settings::snapshot().maxmind_editions;
    let listed = list.iter().map(|edition| edition.name().to_owned()).collect::<Vec<_>>();
    let spelled = list.iter().map(Edition::spelled).collect::<Vec<_>>();
    let off = settings::share_files() == ShareFiles::off;
    let arguments = [
        crate::pg::argument::text(&serde_json::to_string(&ours).unwrap_or_default()),
        crate::pg::argument::texts(&listed),
        crate::pg::argument::text(leader),
        (pgrx::pg_sys::BOOLOID, pgrx::IntoDatum::into_datum(off)),
        crate::pg::argument::bigint(TRAVELS.as_secs() as i64),
        (pgrx::pg_sys::BOOLOID, pgrx::IntoDatum::into_datum(shared_files::are_trusted(schema))),
        crate::pg::argument::texts(&spelled),
    ];
    ask(schema, text, &arguments)
}

/// The files of all nodes, beside those of this one.
fn nodes(schema: &Schema) -> Vec<Finding> {
    let command = format!("{FILES} {}.mmdb_editions() f WHERE f.generation IS NOT NULL", schema.name);
    let replies = citus::run_on(Where::Everywhere, &command);
    let names = citus::node_names();
    let me = citus::my_node();
    let name = |node| citus::node_name(&names, node);
    let ours = read(Sql::as_caller().query(&command, &[]).text(0, 1).as_deref());
    let mut found = Vec::new();
    for reply in replies.iter().filter(|reply| Some(reply.node) != me) {
        let name = name(reply.node);
        let theirs = match &reply.result {
            Ok(text) => read(text.as_deref()),
            Err(why) => {
                let detail = format!("Node {name} does not tell which mmdb files it uses: {why}.");
                let remedy = "SELECT * FROM citus_check_cluster_node_health();".to_owned();
                found.push(Finding::new("mmdb elsewhere", "warning", detail, Some(remedy)));
                continue;
            }
        };
        found.extend(differences(schema, &name, &ours, &theirs));
    }
    found.extend(lists(schema, me, name));
    found
}

/// The lists of networks of all nodes, beside those of this one. They do not travel: each node has a directory of its own. A node
/// that does not answer is named already.
fn lists(schema: &Schema, me: Option<i32>, name: impl Fn(i32) -> String) -> Vec<Finding> {
    let command = format!("{LISTS} {}.network_lists() l WHERE l.installed_at IS NOT NULL", schema.name);
    let replies = citus::run_on(Where::Everywhere, &command);
    let of = |node: &citus::Reply| node.result.as_ref().ok().map(|text| read_lists(text.as_deref()));
    let Some(ours) = replies.iter().find(|reply| Some(reply.node) == me).and_then(of) else { return Vec::new() };
    let mut found = Vec::new();
    for reply in replies.iter().filter(|reply| Some(reply.node) != me) {
        let Some(theirs) = of(reply) else { continue };
        let all: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let others: Vec<String> = all
            .into_iter()
            .filter_map(|list| match (ours.get(list), theirs.get(list)) {
                (Some(_), None) => Some(format!("{list} is missing there")),
                (None, Some(_)) => Some(format!("{list} is missing here")),
                (Some(here), Some(there)) => stands_still(&here.entries, &there.entries)
                    .then(|| format!("{list} is another one there since {}, here since {}", there.since, here.since)),
                (None, None) => None,
            })
            .collect();
        if others.is_empty() {
            continue;
        }
        let more = if others.len() > NAMED { ", \u{2026}" } else { "" };
        let named = others.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let detail = format!("Node {} answers from other lists of networks: {named}{more}.", name(reply.node));
        let remedy = format!(
            "SELECT * FROM run_command_on_all_nodes('SELECT json_agg(l) FROM {}.network_lists() l');  -- each node needs the same files in its asn_inventory.lists_dir, or the same asn_inventory.mmdb_sources",
            schema.name.replace('\'', "''")
        );
        found.push(Finding::new("mmdb elsewhere", "warning", detail, Some(remedy)));
    }
    found
}

/// By name.
fn read_lists(text: Option<&str>) -> BTreeMap<String, Used> {
    let lists: Vec<Value> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let text = |list: &Value, key: &str| list[key].as_str().map(|text| enrich::text::clean(text, 100).into_owned());
    let one = |list: &Value| {
        let entries = InUse {
            generation: list["generation"].as_str()?.to_owned(),
            previous: list["previous"].as_str().map(str::to_owned),
            age: list["age"].as_f64().unwrap_or(0.0),
        };
        Some((text(list, "list")?, Used { entries, since: text(list, "since")? }))
    };
    lists.iter().filter_map(one).collect()
}

fn read(text: Option<&str>) -> BTreeMap<String, Installed> {
    let files: Vec<Value> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let text = |file: &Value, key: &str| file[key].as_str().map(|text| enrich::text::clean(text, 200).into_owned());
    let installed = |file: &Value| {
        Some((
            text(file, "edition")?,
            Installed {
                generation: text(file, "generation")?,
                built: text(file, "built")?,
                since: text(file, "since")?,
                age: file["age"].as_f64().unwrap_or(f64::MAX),
            },
        ))
    };
    files.iter().filter_map(installed).collect()
}

fn differences(
    schema: &Schema,
    node: &str,
    ours: &BTreeMap<String, Installed>,
    theirs: &BTreeMap<String, Installed>,
) -> Vec<Finding> {
    let editions: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let mut found = Vec::new();
    for edition in editions {
        let (here, there) = (ours.get(edition), theirs.get(edition));
        if here.map(|file| &file.generation) == there.map(|file| &file.generation) {
            continue;
        }
        let newest = [here, there].into_iter().flatten().map(|file| file.age).fold(f64::MAX, f64::min);
        if newest < TRAVELS.as_secs_f64() {
            continue;
        }
        let said = |file: Option<&Installed>| match file {
            Some(file) => format!("{} (built {}), since {}", file.generation, file.built, file.since),
            None => "no file".to_owned(),
        };
        let detail = format!("Node {node} answers {edition} from {}; this node from {}.", said(there), said(here));
        let remedy = format!(
            "SELECT * FROM run_command_on_all_nodes('SELECT json_agg(d) FROM {}.enrichment_doctor() d WHERE check_name = ''mmdb elsewhere''');  -- each node says why, and what to do",
            schema.name.replace('\'', "''")
        );
        found.push(Finding::new("mmdb elsewhere", "warning", detail, Some(remedy)));
    }
    found
}
