//! Writes full-size synthetic files: `mmdbgen DIR [SEED [DIVISOR]]` makes `GeoLite2-City.mmdb` (53 MB) and
//! `GeoLite2-ASN.mmdb` (8 MB) in `DIR`, or files `DIVISOR` times smaller. Build it with `--release`.

use asn_inventory_tests::mmdb::fixtures::days_ago;
use asn_inventory_tests::mmdb::synthetic::Plan;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| args.get(at).map_or(Ok(default), |text| text.parse());
    let (Some(dir), Ok(seed), Ok(divisor)) = (
        args.first().map(PathBuf::from),
        number(1, 1),
        number(2, 1).map(|divisor| u32::try_from(divisor).unwrap_or(1).max(1)),
    ) else {
        eprintln!("usage: mmdbgen DIR [SEED [DIVISOR]]");
        return ExitCode::from(2);
    };
    if let Err(error) = std::fs::create_dir_all(&dir) {
        eprintln!("{}: {error}", dir.display());
        return ExitCode::FAILURE;
    }
    let plans = [
        ("GeoLite2-City.mmdb", Plan::full_city(seed, days_ago(1))),
        ("GeoLite2-ASN.mmdb", Plan::full_asn(seed, days_ago(1))),
    ];
    for (file, plan) in plans {
        let start = Instant::now();
        let path = dir.join(file);
        match plan.smaller(divisor).write(&path) {
            Ok(made) => println!(
                "{}: {} IPv4 and {} IPv6 networks, {} nodes, {:.1} MB, {:.1} s",
                path.display(),
                made.ipv4,
                made.ipv6,
                made.nodes,
                std::fs::metadata(&path).map_or(0.0, |file| file.len() as f64 / 1e6),
                start.elapsed().as_secs_f64()
            ),
            Err(error) => {
                eprintln!("{}: {error}", path.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
