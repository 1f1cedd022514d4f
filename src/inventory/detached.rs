//! The places of tables that were detached, by which their share can still be taken back. Not those of a cluster, where tables have
//! other numbers on each node.

use pgrx::{IntoDatum, pg_sys};

use super::places::{are_everywhere, is_there};
use crate::pg::argument;
use crate::pg::catalog::{Schema, relation_name};
use crate::pg::sql::Sql;
use crate::settings;

/// Whether all that an attached table has added stands in its sightings. Counts that still wait for the table's own row are there
/// already. Reads all sightings.
pub fn is_whole(schema: &Schema, table: pg_sys::Oid) -> bool {
    // Switched off, what is still to come would be in none.
    if !is_there(schema) || are_everywhere(schema) || settings::sightings_max_size() == 0 {
        return false;
    }
    let sql = Sql::on_all(schema, &[c"ip_sighting", c"ip_sighting_source", c"ip_source"]);
    // In one statement: a round of the worker adds to both.
    let found = sql.returning(
        &format!(
            "SELECT coalesce(sum(s.observation_count), 0) >= (SELECT a.observations FROM {0}.ip_source a WHERE a.tbl = $1)
                    AND NOT EXISTS (SELECT FROM {0}.ip_sighting_source l WHERE l.tbl = $1 AND l.left_out > 0)
             FROM {0}.ip_sighting s WHERE s.source_id IN (SELECT l.id FROM {0}.ip_sighting_source l WHERE l.tbl = $1)",
            schema.name
        ),
        &[(pg_sys::REGCLASSOID, table.into_datum())],
    );
    found.get::<bool>(0, 1) == Some(true)
}

/// The numbers of the places that a table had each time before it was detached, as far as they can be taken back. Its name is
/// asked for as well: in a restored dump, another table may have its number.
pub fn numbers_of(schema: &Schema, table: pg_sys::Oid) -> Vec<i32> {
    if !is_there(schema) {
        return Vec::new();
    }
    let sql = Sql::on(schema, c"ip_sighting_source");
    let query = format!(
        "SELECT id FROM {}.ip_sighting_source WHERE detached_tbl = $1 AND name = $2 AND NOT attached ORDER BY 1",
        schema.name
    );
    let found = sql.returning(&query, &[argument::oid(table), argument::maybe_text(relation_name(table).as_deref())]);
    (0..found.len()).filter_map(|row| found.get::<i32>(row, 1)).collect()
}

/// Whether some places lack observations, given by their numbers.
pub fn have_left_out(schema: &Schema, places: &[i32]) -> bool {
    is_any(schema, "id = ANY ($1) AND left_out > 0", argument::integers(places.to_vec()))
}

/// Whether a table of this name was attached before.
pub fn was_attached(schema: &Schema, table: pg_sys::Oid) -> bool {
    is_there(schema)
        && is_any(schema, "name = $1 AND NOT attached", argument::maybe_text(relation_name(table).as_deref()))
}

fn is_any(schema: &Schema, which: &str, argument: argument::Argument) -> bool {
    let sql = Sql::on(schema, c"ip_sighting_source");
    let query = format!("SELECT 1 FROM {}.ip_sighting_source WHERE {which} LIMIT 1", schema.name);
    sql.returning(&query, &[argument]).len() > 0
}
