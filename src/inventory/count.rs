//! Counting the inventory of a cluster, on its coordinator. Citus takes no statement that reads a distributed table and
//! writes two reference tables: so it is read first, an AS and a set of flags a row, and what changed is written afterwards.

use std::collections::{BTreeMap, HashMap};

use pgrx::{IntoDatum, pg_sys};

use super::{asn, due, uncounted};
use crate::pg::argument;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::pg::citus::Where;
use crate::pg::sql::Sql;
use crate::pg::time;
use crate::pg::tx::Settings;
use enrich::source::Source;

/// What is counted of an AS, or of the addresses without one.
#[derive(Clone, Debug, Default)]
struct Counted {
    of_files: Option<String>,
    of_others: Option<String>,
    addresses: i64,
    observations: i64,
    first: Option<i64>,
    last: Option<i64>,
    /// Addresses about which the files were asked, and those of them that have a flag.
    answered: i64,
    flagged: BTreeMap<String, i64>,
}

impl Counted {
    /// Its name: one in the files goes before those of other answers.
    fn org(&self) -> Option<&String> {
        self.of_files.as_ref().or(self.of_others.as_ref())
    }

    /// The flags of at least half of these addresses.
    fn flags(&self) -> Option<Vec<String>> {
        let held = self.flagged.iter().filter(|(_, held)| **held > 0 && held.saturating_mul(2) >= self.answered);
        let flags: Vec<String> = held.map(|(flag, _)| flag.clone()).collect();
        (!flags.is_empty()).then_some(flags)
    }
}

/// What [`super::asn::changes`] is on a plain server, summed up over the shards of all nodes. `None`: a node does not answer.
pub fn changes(schema: &Schema) -> Option<i64> {
    let inventory = schema.regclass("ip_inventory");
    // With the worker's rights, and in a session with the database's own search_path: see [`citus::run_on`].
    let written = ["inserted", "updated", "deleted"]
        .map(|how| format!("pg_catalog.pg_stat_get_tuples_{how}(t::pg_catalog.oid) OPERATOR(pg_catalog.+) "))
        .concat();
    let command = format!(
        "SELECT coalesce(pg_catalog.sum({written}pg_catalog.pg_relation_filenode(t)::bigint), 0)
         FROM (SELECT pg_catalog.to_regclass(pg_catalog.format('%I.%I', n.nspname, pg_catalog.format('%s_%s', c.relname, s.shardid))) AS t
               FROM pg_catalog.pg_dist_shard s
                   JOIN pg_catalog.pg_dist_placement p ON p.shardid OPERATOR(pg_catalog.=) s.shardid
                   JOIN pg_catalog.pg_dist_local_group l ON l.groupid OPERATOR(pg_catalog.=) p.groupid
                   JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) s.logicalrelid::pg_catalog.oid
                   JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
               WHERE s.logicalrelid::pg_catalog.oid OPERATOR(pg_catalog.=) {inventory}::pg_catalog.oid) shard WHERE t IS NOT NULL"
    );
    let mut sum = uncounted::last();
    for reply in citus::run_on(Where::Everywhere, &command) {
        sum = sum.wrapping_add(reply.result.ok()??.parse::<i64>().ok()?);
    }
    Some(sum)
}

/// Counts anew; how many AS were written.
pub fn recount(schema: &Schema) -> u64 {
    let changes = changes(schema);
    crate::pg::tx::read_everything();
    let s = &schema.name;
    let sql = Sql::on_all(schema, &[c"inventory_count", c"asn_inventory", c"ip_inventory"]);
    let mut counted: HashMap<i64, Counted> = HashMap::new();
    // Sums over all: addresses, observations, public, enriched, answered by each source, scanners, due at each; and the
    // public ones without an ASN.
    let mut sums = [0i64; 11];
    {
        let mut cursor = sql.cursor(
            &asn::by_flags(
                schema,
                &format!(
                    ", count(*) FILTER (WHERE {}), count(*) FILTER (WHERE {})",
                    due::waiting(Source::Cymru),
                    due::waiting(Source::GreyNoise)
                ),
            ),
            &[],
        );
        loop {
            let found = cursor.fetch(10_000);
            if found.len() == 0 {
                break;
            }
            for row in 0..found.len() {
                let number = |column| found.get::<i64>(row, column).unwrap_or(0);
                let (addresses, observations) = (number(5), number(6));
                let asn = found.get::<i64>(row, 1);
                let missing = if asn.is_none() { number(9) } else { 0 };
                let values = [addresses, observations].into_iter().chain((9..17).map(number)).chain([missing]);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = sum.saturating_add(value);
                }
                if let Some(asn) = asn {
                    // One row for each set of flags.
                    let sum = counted.entry(asn).or_default();
                    sum.of_files = sum.of_files.take().max(found.text(row, 3));
                    sum.of_others = sum.of_others.take().max(found.text(row, 4));
                    sum.addresses += addresses;
                    sum.observations = sum.observations.saturating_add(observations);
                    sum.first = sum.first.into_iter().chain(found.moment(row, 7)).min();
                    sum.last = sum.last.max(found.moment(row, 8));
                    sum.answered += number(11);
                    for flag in found.texts(row, 2).unwrap_or_default() {
                        *sum.flagged.entry(flag).or_default() += number(11);
                    }
                }
            }
        }
    }
    // Citus lets one transaction at a time change a reference table. All is read anew where the wait for another was in vain.
    citus::bound_waits(&Settings::begin(), c"10s");
    sql.run(&format!("DELETE FROM {s}.inventory_count"), &[]);
    sql.run(
        &format!(
            "INSERT INTO {s}.inventory_count
                 (counted_at, addresses, observations, public_addresses, enriched, maxmind_answered, cymru_answered,
                  greynoise_answered, scanners, cymru_due, greynoise_due, missing_asn, changes)
             SELECT now(), $1[1], $1[2], $1[3], $1[4], $1[5], $1[6], $1[7], $1[8], $1[9], $1[10], $1[11], $2"
        ),
        &[argument::bigints(sums.to_vec()), (pg_sys::INT8OID, changes.and_then(IntoDatum::into_datum))],
    );
    let mut gone = Vec::new();
    let [flags, flags_gone] = if asn::has_flags(schema) { ["a.flags", ", flags = NULL"] } else { ["NULL::text[]", ""] };
    {
        let known = sql.returning(
            &format!(
                "SELECT a.asn_number, a.ip_count, a.observation_count, a.first_seen_at, a.last_seen_at, a.asn_org,
                     a.details_ts IS NOT NULL, {flags}
                 FROM {s}.asn_inventory a"
            ),
            &[],
        );
        for row in 0..known.len() {
            let Some(asn) = known.get::<i64>(row, 1) else { continue };
            let number = |column| known.get::<i64>(row, column).unwrap_or(0);
            match counted.get(&asn) {
                None if number(2) > 0 => gone.push(asn),
                Some(now) => {
                    let earlier = now.first.is_some_and(|at| known.moment(row, 4).is_none_or(|known| at < known));
                    let later = now.last.is_some_and(|at| known.moment(row, 5).is_none_or(|known| at > known));
                    // Where Team Cymru was asked about the AS, its name stays, or none.
                    let (name, was_asked) = (known.text(row, 6), known.get::<bool>(row, 7) == Some(true));
                    let renamed = now.org().is_some() && name.as_ref() != now.org() && !was_asked;
                    let same = (number(2), number(3)) == (now.addresses, now.observations);
                    if same && !earlier && !later && !renamed && known.texts(row, 8) == now.flags() {
                        counted.remove(&asn);
                    }
                }
                None => {}
            }
        }
    }
    if !gone.is_empty() {
        sql.run(
            &format!(
                "UPDATE {s}.asn_inventory SET ip_count = 0, observation_count = 0, counted_at = now(){flags_gone} WHERE asn_number = ANY ($1)"
            ),
            &[argument::bigints(gone)],
        );
    }
    write(&sql, schema, counted)
}

fn write(sql: &Sql, schema: &Schema, counted: HashMap<i64, Counted>) -> u64 {
    // Flags as one text: an array of arrays would come apart as a whole.
    let [columns, values, merged] = asn::counts_merged(schema, "$8", "string_to_array(nullif(c.flags, ''), chr(31))");
    // The rows are read.
    let now = time::now();
    let mut rows: Vec<(i64, Counted)> = counted.into_iter().collect();
    rows.sort_unstable_by_key(|(asn, _)| *asn);
    let mut written = 0;
    for rows in rows.chunks(10_000) {
        let numbers = |value: fn(&(i64, Counted)) -> i64| argument::bigints(rows.iter().map(value).collect());
        let moments = |value: fn(&Counted) -> Option<i64>| {
            let moments: Vec<Option<pgrx::datum::TimestampWithTimeZone>> =
                rows.iter().map(|(_, counted)| value(counted).and_then(|at| at.try_into().ok())).collect();
            (pg_sys::TIMESTAMPTZARRAYOID, moments.into_datum())
        };
        let names: Vec<String> = rows.iter().map(|(_, counted)| counted.org().cloned().unwrap_or_default()).collect();
        let flags: Vec<String> =
            rows.iter().map(|(_, counted)| counted.flags().unwrap_or_default().join("\u{1f}")).collect();
        written += sql.run(
            &format!(
                "INSERT INTO {}.asn_inventory AS a ({columns})
                 SELECT c.asn, nullif(c.org, ''), c.first, c.last, c.ips, c.seen, now(){values}
                 FROM ROWS FROM (unnest($1), unnest($2), unnest($3), unnest($4), unnest($5), unnest($6), unnest($7)) AS c(asn, org, first, last, ips, seen, flags)
                 {merged}",
                schema.name
            ),
            &[
                numbers(|(asn, _)| *asn),
                argument::texts(&names),
                moments(|counted| counted.first),
                moments(|counted| counted.last),
                numbers(|(_, counted)| counted.addresses),
                numbers(|(_, counted)| counted.observations),
                argument::texts(&flags),
                argument::moment(now),
            ],
        );
    }
    written
}
