//! From a file put in place to the first answer; leaves the stage with both files installed.

use std::time::{Duration, Instant};

use crate::stage::{ASN, CITY, Outcome, Stage, megabytes, number};
use crate::table::Row;

/// Makes the stage. The rows are for information: no limit stands on them.
pub fn run(quick: bool) -> Outcome<(Stage, Vec<Row>)> {
    eprintln!("==> starting a durable private cluster");
    let stage = Stage::new(quick)?;
    let rows = vec![first_answer(&stage, CITY, "ip_country")?, first_answer(&stage, ASN, "ip_asn")?];
    Ok((stage, rows))
}

fn first_answer(stage: &Stage, file: &str, function: &str) -> Outcome<Row> {
    let mut client = stage.session("import");
    let source = stage.files.join(file);
    stage.cluster.install_mmdb_as(&source, file);
    let start = Instant::now();
    // Not every address has a record.
    let probe = format!("SELECT count({function}(ip)) FROM (SELECT ip FROM addresses LIMIT 1000) a");
    while number(&mut client, &probe)? == 0.0 {
        if start.elapsed() > Duration::from_secs(120) {
            return Err(format!("{file} does not answer; the server's log ends\n{}", stage.cluster.log_tail()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let what = format!("import of {file} ({:.0} MB): to the first answer", megabytes(&source));
    Ok(Row::new(what, format!("{:.2} s", start.elapsed().as_secs_f64())))
}
