//! `fake-sources --dir DIR [--data FILE.json] [--stay]`: Team Cymru's DNS and bulk whois and GreyNoise's HTTPS
//! as test doubles on loopback ports. Writes `DIR/ca.pem` and, when all are ready, `DIR/fake-sources.json`; ends
//! with its standard input or by SIGTERM. With `--stay` it ends when that file is gone.

use asn_inventory_tests::fakes::serve::{Options, run};
use lexopt::prelude::*;
use std::process::ExitCode;

const USAGE: &str = "usage: fake-sources --dir DIR [--data FILE.json] [--stay]";

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, lexopt::Error> {
    let (mut dir, mut data, mut stay) = (None, None, false);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("dir") => dir = Some(args.value()?.into()),
            Long("data") => data = Some(args.value()?.into()),
            Long("stay") => stay = true,
            _ => return Err(arg.unexpected()),
        }
    }
    let dir = dir.ok_or("--dir is missing")?;
    Ok(Options { dir, data, stay })
}
