//! Lists of networks: from 1,000,000 entries in 20 files to the answer, and a look-up against an empty call.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime};

use crate::stage::{Outcome, Stage, execute, least, number, timed, value};
use crate::table::{Row, thousands};

const LISTS: u32 = 20;
const ROUNDS: usize = 5;
/// The limits of the import and of a look-up above an empty call.
const IMPORT: f64 = 2.0;
const LOOKUP: f64 = 0.3;

/// The networks of one list: of all lengths from /20 on, in no order, and a tenth of them IPv6.
fn list(number: u32, entries: u32) -> String {
    let mut state = u64::from(number + 1) * 0x9e37_79b9_7f4a_7c15;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u32
    };
    let mut text = String::new();
    for _ in 0..entries {
        let (ip, bits) = (random(), 20 + random() % 13);
        let _ = match random() % 10 {
            0 => writeln!(text, "2{:03x}:{:x}:{:x}::/48", ip >> 20, ip >> 4 & 0xffff, random() >> 16),
            _ => writeln!(text, "{}/{bits}", Ipv4Addr::from(ip & u32::MAX << (32 - bits))),
        };
    }
    text
}

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let entries = if stage.quick { 100_000 } else { 1_000_000 };
    let dir = stage.cluster.data_dir().join("asn_inventory/lists");
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    // All in one look of the launcher.
    let aside = dir.with_file_name("lists.aside");
    fs::create_dir_all(&aside)?;
    for number in 0..LISTS {
        let path = aside.join(format!("list{number:02}.netset"));
        fs::write(&path, list(number, entries / LISTS))?;
        File::options().append(true).open(&path)?.set_modified(long_ago)?;
    }
    let mut client = stage.session("lists");
    fs::remove_dir(&dir)?;
    fs::rename(&aside, &dir)?;
    let start = Instant::now();
    while number(&mut client, "SELECT count(installed_at) FROM network_lists()")? < f64::from(LISTS) {
        if start.elapsed() > Duration::from_secs(120) {
            return Err(format!("the lists are not installed:\n{}", stage.cluster.log_tail()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // The launcher looks once a second.
    let import = start.elapsed().as_secs_f64();
    let mut rows = vec![
        Row::new(
            format!("import of {} entries in {LISTS} lists: to the first answer", thousands(entries.into())),
            format!("{import:.2} s"),
        )
        .against("at most 1 s until the look".to_owned())
        .at_most(import - 1.0, IMPORT, " s"),
    ];
    execute(&mut client, "SET max_parallel_workers_per_gather = 0")?;
    let count = stage.count() as f64;
    let v6 = "(SELECT ('2' || substr(md5(host(ip)), 1, 3) || ':' || substr(md5(host(ip)), 5, 4) || '::1')::inet AS ip FROM addresses OFFSET 0) a";
    execute(&mut client, &format!("CREATE TEMP TABLE addresses_v6 AS SELECT ip FROM {v6}; ANALYZE addresses_v6"))?;
    for (family, table) in [("IPv4", "addresses"), ("IPv6", "addresses_v6")] {
        let (mut floor, mut own) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let (empty, _) = timed(|| number(&mut client, &format!("SELECT count(masklen(ip)) FROM {table}")))?;
            let (took, _) = timed(|| number(&mut client, &format!("SELECT count(ip_lists(ip)) FROM {table}")))?;
            if round > 0 {
                floor.push(empty.as_secs_f64() * 1e6 / count);
                own.push(took.as_secs_f64() * 1e6 / count);
            }
        }
        let (floor, own) = (least(&floor), least(&own));
        let held = value(&mut client, &format!("SELECT count(*) FROM {table} WHERE ip_lists(ip) <> '{{}}'"))?;
        rows.push(
            Row::new(format!("count(ip_lists(ip)), {family}, {held} in a list"), format!("{own:.3} µs"))
                .against(format!("{floor:.3} µs  an empty call, count(masklen(ip))"))
                .at_most(own - floor, LOOKUP, " µs more"),
        );
    }
    Ok(rows)
}
