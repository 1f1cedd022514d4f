//! The questions of `docs/queries.md` at a million addresses and three million events.

use asn_inventory_tests::queries;
use postgres::Client;
use std::time::{Duration, Instant};

use crate::stage::{Outcome, Stage, execute, median, timed, value};
use crate::table::{Row, thousands};

const ROUNDS: usize = 5;
/// Milliseconds of each of the ten questions.
const LIMIT: f64 = 100.0;
/// Times the same question, as far as it goes, of the events alone: for those that read all of them, or all addresses.
const LIMIT_OF_ALL: f64 = 1.2;
/// Such questions, by number and by how they begin, and what is asked of the events.
const OF_ALL: [(&str, &str, &str); 7] = [
    (
        "3.",
        "SELECT ip_address, count",
        "SELECT src_ip, count(DISTINCT sensor) AS sensors, count(*) AS observations FROM events
         GROUP BY src_ip HAVING count(DISTINCT sensor) > 1 ORDER BY sensors DESC, observations DESC LIMIT 20",
    ),
    (
        "3.",
        "SELECT s.ip_address, count(DISTINCT",
        "SELECT src_ip, count(DISTINCT sensor) AS sensors, count(*) AS observations FROM events
         GROUP BY src_ip HAVING count(DISTINCT sensor) > 1 ORDER BY sensors DESC, observations DESC LIMIT 20",
    ),
    (
        "5.",
        "SELECT kind, sum(n.observations)",
        "SELECT i.flags, count(*) AS attempts, count(DISTINCT i.asn_number) AS networks
         FROM events e LEFT JOIN ip_inventory i ON i.ip_address = e.src_ip WHERE e.at > now() - interval '30 days' GROUP BY 1",
    ),
    (
        "5.",
        "WITH u AS MATERIALIZED",
        "SELECT (e.at AT TIME ZONE 'UTC')::date AS day, count(*) AS attempts, count(*) FILTER (WHERE 'hosting' = ANY (i.flags)) AS hosting
         FROM events e LEFT JOIN ip_inventory i ON i.ip_address = e.src_ip WHERE e.at > now() - interval '30 days'
         GROUP BY 1 ORDER BY 1 DESC",
    ),
    (
        "8.",
        "SELECT s.ip_address",
        "SELECT src_ip, min(sensor), count(*) AS observations FROM events
         GROUP BY src_ip HAVING count(DISTINCT sensor) = 1 AND count(*) >= 3 ORDER BY observations DESC LIMIT 20",
    ),
    ("9.", "SELECT round(latitude)", "SELECT src_ip, count(*) FROM events GROUP BY src_ip"),
    (
        "10.",
        "SELECT i.ip_address FROM ip_inventory",
        "SELECT src_ip FROM events WHERE at > now() - interval '7 days' AND NOT EXISTS (SELECT FROM allowed n WHERE src_ip <<= n.network)
         GROUP BY src_ip HAVING count(*) >= 100 ORDER BY 1",
    ),
];

const EXPORT_INDEX: &str =
    "CREATE INDEX bench_export ON ip_inventory (scanner_classification) WHERE scanner_classification IS NOT NULL";

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let mut client = stage.session("queries");
    execute(
        &mut client,
        "TRUNCATE ip_inventory, ip_observation, ip_sighting, ip_sighting_source, ip_activity, ip_activity_count",
    )?;
    let all = queries::all();
    let (made, asked): (Vec<_>, Vec<_>) = all.iter().partition(|query| query.is_setup());
    for query in made {
        execute(&mut client, &query.sql)?;
    }
    // Each address three times, in the last thirty days, at one sensor of twenty, one in ten at several.
    execute(
        &mut client,
        "INSERT INTO events SELECT now() - (n * 7919 % 2592000) * interval '1 sec', ip, 'hp-' || CASE WHEN n % 10 = 0 THEN r ELSE n % 20 END,
             CASE WHEN n % 3 = 0 THEN 'login.failed' ELSE 'connect' END, jsonb_build_object('src_ip', host(ip), 'port', n % 65536)
         FROM (SELECT ip, row_number() OVER () AS n FROM addresses) a, generate_series(1, 3) r",
    )?;
    execute(
        &mut client,
        "INSERT INTO allowed SELECT set_masklen(ip, 24)::cidr, 'net ' || ip FROM addresses LIMIT 1000",
    )?;
    stage.drained(&mut client)?;
    for table in ["ip_sighting", "ip_activity"] {
        if value(&mut client, &format!("SELECT EXISTS (SELECT FROM {table})"))? != "t" {
            return Err(format!("{table} is empty: the questions would be asked of nothing").into());
        }
    }
    let counting = counted(&mut client)?;
    // As the page says of exports.
    execute(&mut client, EXPORT_INDEX)?;
    execute(&mut client, "VACUUM ANALYZE")?;
    let count = value(&mut client, "SELECT count(*) FROM events")?.parse().unwrap_or(0);
    let mut rows = vec![
        Row::new(
            format!("docs/queries.md: {} addresses, {} events, warm", thousands(stage.count()), thousands(count)),
            "",
        ),
        Row::new("  counting thirty days of them, by the hour, in the background", format!("{counting:.0} s")),
    ];
    for query in asked.iter().filter(|query| !query.sql.starts_with("CREATE INDEX")) {
        let of_all = OF_ALL
            .iter()
            .find(|(number, beginning, _)| query.heading.starts_with(number) && query.sql.starts_with(beginning));
        let (mut took, mut of_events) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (time, ()) = timed(|| execute(&mut client, &query.sql))?;
            took.push(time.as_secs_f64() * 1000.0);
            if let Some((.., sql)) = of_all {
                let (time, ()) = timed(|| execute(&mut client, sql))?;
                of_events.push(time.as_secs_f64() * 1000.0);
            }
        }
        let milliseconds = median(&took);
        let beginning: String = query.sql.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(40).collect();
        let row = Row::new(format!("  {}: {beginning}…", query.heading), format!("{milliseconds:.1} ms"));
        let is_one_of_ten = query.heading.starts_with(|c: char| c.is_ascii_digit());
        rows.push(match (of_all, is_one_of_ten) {
            (Some(_), _) if milliseconds > LIMIT => {
                let other = median(&of_events);
                let ratio = milliseconds / other;
                row.against(format!("{other:.1} ms  the same of the events alone")).ratio(ratio).at_most(
                    ratio,
                    LIMIT_OF_ALL,
                    " ×",
                )
            }
            (_, true) => row.at_most(milliseconds, LIMIT, " ms"),
            _ => row,
        });
    }
    for index in ["(asn_number)", "(country_code)", "(first_seen_at)", "USING gist (ip_address inet_ops)"] {
        execute(&mut client, &format!("CREATE INDEX bench_index ON ip_inventory {index}"))?;
        let size = value(&mut client, "SELECT pg_size_pretty(pg_relation_size('bench_index'))")?;
        rows.push(Row::new(format!("  index {index}"), size));
        execute(&mut client, "DROP INDEX bench_index")?;
    }
    execute(
        &mut client,
        "DROP SCHEMA mart CASCADE; DROP TABLE events, allowed; DROP INDEX bench_export; TRUNCATE ip_inventory, ip_observation, ip_sighting, ip_sighting_source, ip_activity, ip_activity_count",
    )?;
    Ok(rows)
}

/// Waits until all hours and days are counted; how many seconds that took.
fn counted(client: &mut Client) -> Outcome<f64> {
    const LEFT: &str = "SELECT EXISTS (SELECT FROM ip_activity WHERE NOT counted AND source_id >= 0)
        OR NOT EXISTS (SELECT FROM asn_inventory WHERE ip_count > 0)";
    let start = Instant::now();
    while value(client, LEFT)? == "t" {
        if start.elapsed() > Duration::from_secs(1200) {
            return Err("the hours are not counted after 1200 s".into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(start.elapsed().as_secs_f64())
}
