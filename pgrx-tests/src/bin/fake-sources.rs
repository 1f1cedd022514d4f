//! `fake-sources --dir DIR [--data FILE.json] [--stay]`: Team Cymru and GreyNoise on loopback ports, for
//! tests and the demo.
//!
//! Writes `DIR/ca.pem`, `DIR/greynoise.key` and, last, `DIR/fake-sources.json` (ports and process id), and
//! prints one line. Ends with its standard input or by SIGTERM; with `--stay`, by SIGTERM only.

use asn_inventory_tests::fakes::server::{Config, run};
use std::process::ExitCode;

const USAGE: &str = "usage: fake-sources --dir DIR [--data FILE.json] [--stay]";

fn main() -> ExitCode {
    let config = match arguments() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Config, lexopt::Error> {
    use lexopt::prelude::*;

    let (mut dir, mut data, mut stay) = (None, None, false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("dir") => dir = Some(parser.value()?.into()),
            Long("data") => data = Some(parser.value()?.into()),
            Long("stay") => stay = true,
            Long("help") | Short('h') => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Config { dir: dir.ok_or("--dir is missing")?, data, stay })
}
