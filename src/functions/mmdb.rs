//! Installed editions: whole records (`mmdb_record`, `mmdb_networks`), the list of editions (`mmdb_editions`), and
//! import by hand (`import_mmdb_files`).

use std::sync::Arc;

use enrich::maxmind::store::{EditionState, StoreError};
use enrich::maxmind::{Databases, Edition, Generation, Networks};
use ipnetwork::IpNetwork;
use pgrx::prelude::*;
use pgrx::{IntoDatum, pg_sys};

use crate::files::maxmind;
use crate::pg::call;
use crate::pg::call::{Call, Rows};
use crate::pg::errors::bad_value;
use crate::pg::inet::Inet;
use crate::pg::time::from_unix_us;
use crate::{settings, sql_function};

sql_function!(
    /// `mmdb_record(edition text, ip inet) → jsonb`.
    mmdb_record,
    pg_finfo_mmdb_record,
    |call: Call| {
        let (Some(edition), Some(inet)) = (call.text(0), call.get::<Inet>(1)) else { return call.null() };
        let record = maxmind::with(|databases| {
            find(databases, &edition).map(|generation| generation.record(enrich::address::effective(inet.ip)))
        });
        match record {
            Some(Ok(record)) => call.give(record.and_then(jsonb)),
            Some(Err(error)) => broken(&edition, &error.to_string()),
            None => not_installed(&edition),
        }
    }
);

sql_function!(
    /// `mmdb_networks(edition text, within inet) → setof (network cidr, record jsonb)`.
    mmdb_networks,
    pg_finfo_mmdb_networks,
    |call: Call| {
        let mut rows = Rows::begin(call);
        let Some(edition) = call.text(0) else { return call.null() };
        let mut walk = Walk::begin(edition, within(call));
        while let Some((network, record)) = walk.next() {
            rows.row(|| vec![Inet::from(network).into_datum(), jsonb(record)]);
        }
        call.null()
    }
);

sql_function!(
    /// `_mmdb_network_rows(edition text, within inet) → setof record (network cidr, record jsonb)`: the same, a row a
    /// call.
    mmdb_network_rows,
    pg_finfo_mmdb_network_rows,
    |call: Call| {
        call::one_by_one(
            call,
            || call.text(0).map(|edition| Walk::begin(edition, within(call))),
            |walk| walk.next().map(|(network, record)| vec![Inet::from(network).into_datum(), jsonb(record)]),
        )
    }
);

/// The range that a walk is asked for; `None`: everything.
fn within(call: Call) -> Option<IpNetwork> {
    call.get::<Inet>(1).and_then(|inet| IpNetwork::new(inet.ip, inet.bits).ok())
}

/// A walk over an edition's networks. It shares the generation that it began on: a newer one may be installed between
/// two fetches of a cursor.
struct Walk {
    edition: String,
    generation: Arc<Generation>,
    networks: Networks,
}

impl Walk {
    fn begin(edition: String, within: Option<IpNetwork>) -> Walk {
        let Some(generation) = maxmind::with(|databases| find(databases, &edition).cloned()) else {
            not_installed(&edition)
        };
        let networks = generation.networks(within);
        Walk { edition, generation, networks }
    }

    fn next(&mut self) -> Option<(IpNetwork, serde_json::Value)> {
        pgrx::check_for_interrupts!();
        match self.networks.next(&self.generation)? {
            Ok(found) => Some(found),
            Err(error) => broken(&self.edition, &error.to_string()),
        }
    }
}

sql_function!(
    /// `mmdb_editions() → setof (…, fields text[], networks bigint)`: installed editions of the list, and refused files;
    /// declared as `setof (…, in_use bool)`, including editions that were taken out of the list.
    mmdb_editions,
    pg_finfo_mmdb_editions,
    |call: Call| {
        let mut rows = Rows::begin(call);
        // As many as the function is declared with: a session, or a function that an update has left to its users, may
        // have those of an earlier version. With one column more it marks editions that are no longer in use; with two,
        // it says what the files hold.
        let shows_others = rows.columns() == MMDB_EDITIONS_COLUMNS + 1;
        let shows_fields = rows.columns() >= MMDB_EDITIONS_COLUMNS + 2;
        let listed = settings::snapshot().maxmind_editions;
        let role = |name: &str| listed.iter().find(|edition| edition.name() == name).map(Edition::role);
        let in_use = |name: &str| role(name).is_some();
        let mut editions = maxmind::manifest().editions;
        editions.retain(|name, _| shows_others || in_use(name));
        let users = enrich::maxmind::users(&settings::place::directory(), editions.values().filter_map(|state| state.current.as_ref()));
        for (name, state) in editions {
            rows.row(|| {
                let mut row = file(&name, &state);
                let current = state.current.as_ref();
                row.push(current.and_then(|c| users.get(&c.directory).copied().unwrap_or(0).into_datum()));
                row.push(current.and_then(|c| enrich::maxmind::attribution(&c.database_type)).map(call::text));
                row.extend(shows_others.then(|| in_use(&name).into_datum()));
                if shows_fields {
                    let holds = current.map(|current| current.holds(role(&name).flatten()));
                    row.push(holds.and_then(|holds| holds.fields.names().into_datum()));
                    row.push(holds.and_then(|holds| (holds.networks as i64).into_datum()));
                }
                row
            });
        }
        call.null()
    }
);

sql_function!(
    /// `_mmdb_files() → setof (…)`: the same without a look at the server's processes, and only for the editions in
    /// use: other editions are never out of date or refused.
    mmdb_files,
    pg_finfo_mmdb_files,
    |call: Call| {
        let mut rows = Rows::begin(call);
        for (name, state) in maxmind::in_use() {
            rows.row(|| file(&name, &state));
        }
        call.null()
    }
);

/// Columns of `mmdb_editions` in 0.1.0.
const MMDB_EDITIONS_COLUMNS: usize = 11;

/// The data of one edition.
fn file(name: &str, state: &EditionState) -> Vec<Option<pg_sys::Datum>> {
    let text = |t: &str| Some(call::text(t));
    let current = state.current.as_ref();
    let refused = state.refused.as_ref();
    vec![
        text(name),
        current.and_then(|c| text(&c.database_type)),
        current.and_then(|c| from_unix_us(c.built_us()).into_datum()),
        current.and_then(|c| i64::from(c.node_count).into_datum()),
        current.and_then(|c| (c.size as i64).into_datum()),
        current.and_then(|c| text(&c.directory)),
        current.and_then(|c| from_unix_us(c.installed_at).into_datum()),
        refused.and_then(|r| text(&r.reason)),
        refused.and_then(|r| from_unix_us(r.at).into_datum()),
    ]
}

sql_function!(
    /// `import_mmdb_files(force bool) → integer`: how many editions were installed.
    import_mmdb_files,
    pg_finfo_import_mmdb_files,
    |call: Call| {
        let force = call.get::<bool>(0).unwrap_or(false);
        match maxmind::import(&settings::snapshot(), force) {
            Ok(installed) => call.give((installed as i32).into_datum()),
            Err(error @ StoreError::Busy) => crate::pg::errors::raise(
                PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
                error.to_string(),
                "",
                "Try again in a few seconds.",
            ),
            Err(error) => crate::pg::errors::raise(
                PgSqlErrorCode::ERRCODE_IO_ERROR,
                "could not import mmdb files",
                &error.to_string(),
                match error {
                    StoreError::Damaged { .. } => {
                        "import_mmdb_files(true) keeps it as current.json.broken, and imports the files again."
                    }
                    _ => "The files imported before stay in use.",
                },
            ),
        }
    }
);

fn find<'a>(databases: &'a Databases, edition: &str) -> Option<&'a Arc<Generation>> {
    databases.edition(&Edition::new(edition).ok()?)
}

/// A record as jsonb, in the server's encoding. `enrich` has left NUL out of its texts: jsonb has none.
fn jsonb(record: serde_json::Value) -> Option<pg_sys::Datum> {
    let text = record.to_string();
    call::jsonb(&text)
}

fn not_installed(edition: &str) -> ! {
    let installed = maxmind::with(|databases| {
        databases.generations().iter().map(|g| g.edition().name().to_owned()).collect::<Vec<_>>().join(", ")
    });
    let detail =
        if installed.is_empty() { "No edition is installed.".into() } else { format!("Installed: {installed}.") };
    bad_value(
        format!("mmdb edition \"{}\" is not installed", edition.chars().take(64).collect::<String>()),
        &detail,
        "Name it in asn_inventory.maxmind_editions and put its file into asn_inventory.maxmind_dir.",
    )
}

fn broken(edition: &str, detail: &str) -> ! {
    crate::pg::errors::raise(
        PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
        format!("could not read a record of mmdb edition \"{edition}\""),
        // It may quote the record.
        &enrich::text::clean(detail, 400),
        "",
    )
}
