//! The finding of a check, and its query.

use pgrx::{IntoDatum, pg_sys};

use crate::pg::argument::Argument;
use crate::pg::catalog::{Schema, quote_identifier};
use crate::pg::sql::Sql;

/// The finding of a check.
pub struct Finding {
    /// Its name.
    pub check: String,
    /// ok, warning or error.
    pub level: String,
    /// The problem, in figures.
    pub detail: Option<String>,
    /// The command that mends it.
    pub remedy: Option<String>,
}

impl Finding {
    /// One.
    pub fn new(check: &str, level: &str, detail: impl Into<String>, remedy: impl Into<Option<String>>) -> Finding {
        Finding { check: check.into(), level: level.into(), detail: Some(detail.into()), remedy: remedy.into() }
    }
}

/// Queries the catalogs and the extension's views: each row of the result is a finding.
pub fn ask(schema: &Schema, text: &str, arguments: &[Argument]) -> Vec<Finding> {
    let sql = Sql::as_caller();
    let own = if has_own_names(&sql, schema, text) { "@extschema@._" } else { "@extschema@." };
    let text = in_schema(&text.replace("@extschema@._", own), schema);
    let found = sql.query(&text, arguments);
    (0..found.len())
        .map(|row| Finding {
            check: found.text(row, 1).unwrap_or_default(),
            level: found.text(row, 2).unwrap_or_default(),
            detail: found.text(row, 3),
            remedy: found.text(row, 4),
        })
        .collect()
}

/// `text` with the extension's schema in place of `@extschema@`, which may stand in a string as well: after ALTER SCHEMA …
/// RENAME a name may hold quotes.
fn in_schema(text: &str, schema: &Schema) -> String {
    let in_string = schema.name.replace('\'', "''");
    let mut whole = String::with_capacity(text.len());
    let mut is_string = false;
    // A comment may hold an apostrophe.
    for line in text.lines().filter(|line| !line.trim_start().starts_with("--")) {
        for (n, part) in line.split("@extschema@").enumerate() {
            if n > 0 {
                whole.push_str(if is_string { &in_string } else { &schema.name });
            }
            whole.push_str(part);
            is_string ^= part.matches('\'').count() % 2 == 1;
        }
        whole.push('\n');
    }
    whole
}

/// Whether the extension's own functions have a leading underscore here: before the update from 0.1.0 they do not.
/// True where `text` calls none of them.
fn has_own_names(sql: &Sql, schema: &Schema, text: &str) -> bool {
    // Of the extension's: who may make functions in its schema may make one of that name.
    const FOUND: &str = "
        SELECT FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_catalog.pg_extension e ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND e.oid = d.refobjid
        WHERE p.pronamespace = $1 AND p.proname = '_worker_status' AND e.extname = 'asn_inventory'";
    !text.contains("@extschema@._") || sql.query(FOUND, &[(pg_sys::OIDOID, schema.oid.into_datum())]).len() > 0
}

/// A call of one of the extension's functions, as a statement.
pub fn select(schema: &Schema, function: &str, arguments: &str) -> String {
    format!("SELECT {}.{}({arguments});", schema.name, quote_identifier(function))
}

/// A remedy whose comment ends with its line: names of tables and columns may contain line breaks, and the text after
/// one would be run when a user pastes the command.
pub fn without_broken_comment(remedy: &str) -> &str {
    let mut quote = None;
    let bytes = remedy.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (None, b'\'' | b'"') => quote = Some(*byte),
            (Some(open), close) if open == *close => quote = None,
            (None, b'-') if bytes[at..].starts_with(b"--") => {
                let comment = &remedy[at..];
                return if comment.contains(['\n', '\r']) { remedy[..at].trim_end() } else { remedy };
            }
            _ => {}
        }
    }
    remedy
}
