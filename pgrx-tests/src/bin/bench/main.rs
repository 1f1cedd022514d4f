//! `bench [--quick] [PART …]`: speed and memory, each figure beside its baseline, in the same run on the same machine.
//! A missed limit is shown and fails nothing: a busy machine misses limits too.
//!
//! Data are synthetic: files as large as MaxMind's with invented records, random addresses, invented events.

mod absorb;
mod apply;
mod backfill;
mod bare;
mod data;
mod ddl;
mod enrich;
mod import;
mod ingest;
mod lists;
mod lookup;
mod memory;
mod network;
mod queries;
mod report;
mod scale;
mod single;
mod stage;
mod stale;
mod status;
mod table;
mod walk;

use stage::{Outcome, Stage};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;
use table::Row;

type Part = fn(&Stage) -> Outcome<Vec<Row>>;

/// In the order in which they run: `enrich` finds what `backfill` left.
const PARTS: &[(&str, Part)] = &[
    ("lookup", lookup::run),
    ("memory", memory::run),
    ("backfill", backfill::run),
    ("enrich", enrich::run),
    ("walk", walk::run),
    ("stale", stale::run),
    ("ingest", ingest::run),
    ("absorb", absorb::run),
    ("single", single::run),
    ("apply", apply::run),
    ("ddl", ddl::run),
    ("network", network::run),
    ("queries", queries::run),
    ("report", report::run),
    ("status", status::run),
    ("lists", lists::run),
];
/// By its name alone.
const LONG: (&str, Part) = ("scale", scale::run);

fn main() -> ExitCode {
    let (options, chosen): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with('-'));
    let known = |name: &String| name == "import" || name == LONG.0 || PARTS.iter().any(|(part, _)| part == name);
    if options.iter().any(|option| option != "--quick") || !chosen.iter().all(known) {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        eprintln!(
            "usage: bench [--quick] [import|{}|{}] …; all parts but the last without a name; --quick: a tenth of everything",
            names.join("|"),
            LONG.0
        );
        return ExitCode::from(2);
    }
    let quick = !options.is_empty();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|part| part == name);

    let start = Instant::now();
    let (stage, mut rows) = match import::run(quick) {
        Ok(ready) => ready,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    if !wanted("import") {
        rows.clear();
    }
    let mut failed = false;
    let long = chosen.iter().any(|part| part == LONG.0).then_some(&LONG);
    for (name, part) in PARTS.iter().filter(|(name, _)| wanted(name)).chain(long) {
        let part_start = Instant::now();
        // The other parts' figures are worth having still.
        match catch_unwind(AssertUnwindSafe(|| part(&stage))) {
            Ok(Ok(more)) => rows.extend(more),
            Ok(Err(error)) => {
                failed = true;
                eprintln!("error: {name}: {error}");
            }
            Err(_) => failed = true,
        }
        eprintln!("==> {name} took {:.0} s", part_start.elapsed().as_secs_f64());
    }
    println!("\n{}", stage.machine());
    table::print(&rows);
    let missed = rows.iter().filter(|row| row.missed()).count();
    println!(
        "{} of {} limits missed; {:.0} s in all",
        missed,
        rows.iter().filter(|row| row.has_limit()).count(),
        start.elapsed().as_secs_f64()
    );
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
