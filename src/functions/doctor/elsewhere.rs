//! Whether the servers that share an inventory answer from the same mmdb files: a standby and its primary, the nodes of a
//! cluster.

use std::collections::BTreeMap;
use std::time::Duration;

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

/// A file of a server.
struct Installed {
    generation: String,
    built: String,
    since: String,
    age: f64,
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
                    "built": time::text(current.build_epoch as i64 * 1_000_000),
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
    let name = |node| names.get(&node).cloned().unwrap_or_else(|| format!("node {node}"));
    let ours = read(Sql::as_caller().query(&command, &[]).text(0, 1).as_deref());
    let mut found = Vec::new();
    for reply in replies.iter().filter(|reply| Some(reply.node) != me) {
        let name = name(reply.node);
        let theirs = match &reply.result {
            Ok(text) => read(text.as_deref()),
            Err(why) => {
                let why = enrich::text::clean(why.trim(), 300).into_owned();
                let detail = format!("Node {name} does not tell which mmdb files it uses: {why}.");
                let remedy = "SELECT * FROM citus_check_cluster_node_health();".to_owned();
                found.push(Finding::new("mmdb elsewhere", "warning", detail, Some(remedy)));
                continue;
            }
        };
        found.extend(differences(schema, &name, &ours, &theirs));
    }
    found
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
