//! The questions of `docs/queries.md` at a million addresses and three million events.

use asn_inventory_tests::queries;
use postgres::Client;
use std::time::{Duration, Instant};

use crate::stage::{Outcome, Stage, execute, median, timed, value};
use crate::table::{Row, thousands};

const ROUNDS: usize = 5;
/// Milliseconds of each of the ten questions.
const LIMIT: f64 = 100.0;

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let mut client = stage.session("queries");
    execute(
        &mut client,
        "TRUNCATE ip_inventory, ip_observation, ip_sighting, ip_sighting_source, ip_activity, ip_activity_count",
    )?;
    let all = queries::all();
    let (made, asked): (Vec<_>, Vec<_>) = all.iter().partition(|query| {
        query.sql.starts_with("CREATE TABLE") || query.sql.starts_with("SET ") || query.sql.contains("attach_ip_source")
    });
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
    let counting = counted(&mut client)?;
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
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let (time, ()) = timed(|| execute(&mut client, &query.sql))?;
            took.push(time.as_secs_f64() * 1000.0);
        }
        let milliseconds = median(&took);
        let beginning: String = query.sql.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(40).collect();
        let row = Row::new(format!("  {}: {beginning}…", query.heading), format!("{milliseconds:.1} ms"));
        let is_one_of_ten = query.heading.starts_with(|c: char| c.is_ascii_digit());
        rows.push(if is_one_of_ten { row.at_most(milliseconds, LIMIT, " ms") } else { row });
    }
    for index in ["(asn_number)", "(country_code)", "(first_seen_at)", "USING gist (ip_address inet_ops)"] {
        execute(&mut client, &format!("CREATE INDEX bench_index ON ip_inventory {index}"))?;
        let size = value(&mut client, "SELECT pg_size_pretty(pg_relation_size('bench_index'))")?;
        rows.push(Row::new(format!("  index {index}"), size));
        execute(&mut client, "DROP INDEX bench_index")?;
    }
    execute(
        &mut client,
        "DROP TABLE events, allowed; TRUNCATE ip_inventory, ip_observation, ip_sighting, ip_sighting_source, ip_activity, ip_activity_count",
    )?;
    Ok(rows)
}

/// Waits until all hours and days are counted; how many seconds that took.
fn counted(client: &mut Client) -> Outcome<f64> {
    const LEFT: &str = "SELECT EXISTS (SELECT FROM ip_activity WHERE NOT counted AND source_id <> -1)
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
