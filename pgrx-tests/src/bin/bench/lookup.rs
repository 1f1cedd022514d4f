//! Look-ups in one backend against the bare crate in this process, on the same addresses, in turns; the
//! best of several rounds on either side.

use std::net::Ipv4Addr;

use crate::bare::Bare;
use crate::stage::{Outcome, Stage, execute, least, number, timed};
use crate::table::{Row, thousands};

const ROUNDS: usize = 7;

type Reference = fn(&mut Bare, &[Ipv4Addr]) -> Outcome<u64>;

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let functions: [(&str, Reference, f64); 3] =
        [("lookup_ip", Bare::both, 0.8), ("ip_asn", Bare::asns, 1.1), ("ip_country", Bare::countries, 0.7)];
    let mut bare = Bare::open(&stage.files)?;
    let mut client = stage.session("lookup");
    execute(&mut client, "SET max_parallel_workers_per_gather = 0")?;
    let count = stage.count();
    let per_row = |seconds: f64| seconds * 1e6 / count as f64;

    let mut times = vec![(Vec::new(), Vec::new()); functions.len()];
    let mut floor = Vec::new();
    // The first round fills caches and is not counted.
    for round in 0..=ROUNDS {
        let (took, _) = timed(|| number(&mut client, "SELECT count(ip) FROM addresses"))?;
        if round > 0 {
            floor.push(per_row(took.as_secs_f64()));
        }
        for ((name, reference, _), (own, other)) in functions.iter().zip(&mut times) {
            let (alone, wanted) = timed(|| reference(&mut bare, &stage.addresses))?;
            let sql = format!("SELECT count({name}(ip)) FROM addresses");
            let (took, answered) = timed(|| number(&mut client, &sql))?;
            if answered as u64 != wanted {
                return Err(format!("{name} answered {answered} addresses, the bare crate {wanted}").into());
            }
            if round > 0 {
                own.push(per_row(took.as_secs_f64()));
                other.push(per_row(alone.as_secs_f64()));
            }
        }
    }
    let mut rows =
        vec![Row::new(format!("floor: count(ip), {} addresses", thousands(count)), format!("{:.3} µs", least(&floor)))];
    for ((name, _, limit), (own, other)) in functions.iter().zip(&times) {
        let (own, other) = (least(own), least(other));
        let walks = if *name == "lookup_ip" { "two walks" } else { "one walk" };
        rows.push(
            Row::new(format!("count({name}(ip)), floor included"), format!("{own:.3} µs"))
                .against(format!("{other:.3} µs  bare maxminddb, {walks}"))
                .ratio(own / other)
                .at_most(own / other, *limit, " ×"),
        );
    }
    Ok(rows)
}
