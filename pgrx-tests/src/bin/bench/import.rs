//! From a file put in place to the first answer, the indexes alone, and their size; leaves the stage with both files
//! installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::stage::{ASN, CITY, Outcome, Stage, execute, megabytes, number};
use crate::table::Row;

/// Seconds for the indexes of both files.
const BUILT: f64 = 2.0;
/// All that the server keeps, to what came in.
const KEPT: f64 = 2.0;

/// Makes the stage.
pub fn run(quick: bool) -> Outcome<(Stage, Vec<Row>)> {
    eprintln!("==> starting a durable private cluster");
    let stage = Stage::new(quick)?;
    let mut rows = vec![first_answer(&stage, CITY, "ip_country")?, first_answer(&stage, ASN, "ip_asn")?];
    rows.extend(indexes(&stage)?);
    Ok((stage, rows))
}

/// Takes the indexes away from the installed files, and has only them built.
fn indexes(stage: &Stage) -> Outcome<[Row; 2]> {
    let root = stage.cluster.data_dir().join("asn_inventory");
    let mut client = stage.session("indexes");
    let import = "SELECT import_mmdb_files()";
    // The overlay of both, where the launcher has not made it yet.
    execute(&mut client, import)?;
    let kept = size(&root)?;
    for file in indexes_in(&root)? {
        fs::remove_file(file)?;
    }
    let start = Instant::now();
    execute(&mut client, import)?;
    let built = start.elapsed().as_secs_f64();
    let came_in = megabytes(&stage.files.join(CITY)) + megabytes(&stage.files.join(ASN));
    let kept = kept as f64 / 1e6;
    Ok([
        Row::new("building the indexes of both files", format!("{built:.2} s")).at_most(built, BUILT, " s"),
        Row::new("files that the server keeps", format!("{kept:.0} MB"))
            .against(format!("{came_in:.0} MB  that came in"))
            .ratio(kept / came_in)
            .at_most(kept / came_in, KEPT, " ×"),
    ])
}

fn indexes_in(path: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(indexes_in(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "idx") {
            found.push(path);
        }
    }
    Ok(found)
}

fn size(path: &Path) -> Outcome<u64> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut all = 0;
    for entry in fs::read_dir(path)? {
        all += size(&entry?.path())?;
    }
    Ok(all)
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
