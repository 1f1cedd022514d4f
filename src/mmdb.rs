//! Installed editions: whole records (`mmdb_record`, `mmdb_networks`), what is installed (`mmdb_editions`), and
//! importing by hand (`import_mmdb_files`).

use enrich::maxmind::store::{EditionState, StoreError};
use enrich::maxmind::{Databases, Edition, Generation};
use ipnetwork::IpNetwork;
use pgrx::prelude::*;
use pgrx::{IntoDatum, direct_function_call_as_datum, pg_sys};

use crate::call::{self, Call, Rows};
use crate::errors::bad_value;
use crate::inet::Inet;
use crate::time::from_unix_us;
use crate::{maxmind, settings, sql_function};

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
        let within = call.get::<Inet>(1).and_then(|inet| IpNetwork::new(inet.ip, inet.bits).ok());
        let found = maxmind::with(|databases| {
            let generation = find(databases, &edition)?;
            Some(generation.networks(within).and_then(|mut networks| {
                networks.try_for_each(|found| {
                    pgrx::check_for_interrupts!();
                    let (network, record) = found?;
                    rows.push(vec![Inet::from(network).into_datum(), jsonb(record)]);
                    Ok(())
                })
            }))
        });
        match found {
            Some(Ok(())) => call.null(),
            Some(Err(error)) => broken(&edition, &error.to_string()),
            None => not_installed(&edition),
        }
    }
);

sql_function!(
    /// `mmdb_editions() → setof (…)`: what is installed, and what was refused.
    mmdb_editions,
    pg_finfo_mmdb_editions,
    |call: Call| {
        let mut rows = Rows::begin(call);
        let manifest = maxmind::manifest();
        let users = enrich::maxmind::users(manifest.editions.values().filter_map(|state| state.current.as_ref()));
        for (name, state) in manifest.editions {
            let mut row = file(&name, &state);
            let current = state.current.as_ref();
            row.push(current.and_then(|c| users.get(&c.directory).copied().unwrap_or(0).into_datum()));
            row.push(current.and_then(|c| enrich::maxmind::attribution(&c.database_type)).map(call::text));
            rows.push(row);
        }
        call.null()
    }
);

sql_function!(
    /// `mmdb_files() → setof (…)`: the same without a look at the server's processes.
    mmdb_files,
    pg_finfo_mmdb_files,
    |call: Call| {
        let mut rows = Rows::begin(call);
        for (name, state) in maxmind::manifest().editions {
            rows.push(file(&name, &state));
        }
        call.null()
    }
);

/// What is known of one edition.
fn file(name: &str, state: &EditionState) -> Vec<Option<pg_sys::Datum>> {
    let text = |t: &str| Some(call::text(t));
    let current = state.current.as_ref();
    let refused = state.refused.as_ref();
    vec![
        text(name),
        current.and_then(|c| text(&c.database_type)),
        current.and_then(|c| from_unix_us(c.build_epoch as i64 * 1_000_000).into_datum()),
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
            Err(error @ StoreError::Busy) => crate::errors::raise(
                PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
                error.to_string(),
                "",
                "Try again in a few seconds.",
            ),
            Err(error) => crate::errors::raise(
                PgSqlErrorCode::ERRCODE_IO_ERROR,
                "mmdb files can't be imported",
                &error.to_string(),
                "What was imported before goes on answering.",
            ),
        }
    }
);

fn find<'a>(databases: &'a Databases, edition: &str) -> Option<&'a Generation> {
    databases.edition(&Edition::new(edition).ok()?)
}

/// A record as jsonb, in the server's encoding.
fn jsonb(record: serde_json::Value) -> Option<pg_sys::Datum> {
    let text = printable(record).to_string();
    let text = std::ffi::CString::new(call::server_text(&text)).ok()?;
    // SAFETY: the input function of jsonb reads a NUL-terminated text in the server's encoding.
    unsafe { direct_function_call_as_datum(pg_sys::jsonb_in, &[text.as_c_str().into_datum()]) }
}

/// jsonb has no NUL in its texts; records come from outside and may.
fn printable(json: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match json {
        Value::String(text) if text.contains('\0') => Value::String(text.replace('\0', "")),
        Value::Array(items) => Value::Array(items.into_iter().map(printable).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(k, v)| (k.replace('\0', ""), printable(v))).collect())
        }
        other => other,
    }
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
    crate::errors::raise(
        PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
        format!("a record of mmdb edition \"{edition}\" can't be read"),
        detail,
        "",
    )
}
