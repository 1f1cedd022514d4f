//! Sources of anybody, over real sockets.

mod content;
mod secrets;
mod settings;
mod sums;
mod turns;
mod ways;

use std::fs;
use std::io::Write;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::Mutex;

use super::*;
use crate::secrets::fake::{Directory, Fake, Reply};
use crate::secrets::{Environment, Patterns};
use crate::time::DAY;

const NOON: Micros = 20_500 * DAY + DAY / 2;
const HOUR: Micros = DAY / 24;

/// What the check of a file wants to see at its end.
fn database(content: &str) -> Vec<u8> {
    [content.as_bytes(), b"\xab\xcd\xefMaxMind.com", b"metadata"].concat()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

/// A list of sources, and the place of their files.
struct Bench {
    directory: Directory,
    resolver: Resolver,
    ca_file: PathBuf,
}

impl Bench {
    fn new(fake: &Fake) -> Bench {
        Bench::with(fake, &[])
    }

    fn with(fake: &Fake, variables: &[(&str, &str)]) -> Bench {
        let variables = variables.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let resolver = Resolver {
            env_allow: Patterns::parse("*").unwrap(),
            environment: Environment::Fixed(variables),
            ..Resolver::default()
        };
        Bench { directory: Directory::new(), resolver, ca_file: fake.ca_file() }
    }

    fn update(&self, sites: &str) -> Update {
        let sites = Site::list(sites).unwrap();
        let (databases, lists): (Vec<Site>, Vec<Site>) =
            sites.into_iter().partition(|site| site.kind() == Kind::Database);
        Update {
            maxmind: MaxMind::Unwanted,
            editions: databases.iter().map(|site| (site.name().clone(), None)).collect(),
            sites: databases.iter().chain(&lists).cloned().collect(),
            lists,
            lists_dir: self.directory.path().to_owned(),
            resolver: self.resolver.clone(),
            ca_file: Some(self.ca_file.clone()),
            to_dir: self.directory.path().to_owned(),
            state_dir: self.directory.path().join("state"),
            forced: false,
            scheduled: false,
            corrected: false,
            cancel: Default::default(),
        }
    }

    /// The result of each, in a word.
    fn told(&self, update: &Update, now: Micros) -> String {
        let word = |done: &Done| match done {
            Done::Failed(error, again) => format!("{error}; {:?}", again.map(|at| (at - now) / 60_000_000)),
            Done::Waits(wait) => format!("{:?}", wait.why),
            other => format!("{other:?}"),
        };
        let told: Vec<String> = update.run(|| now).unwrap().iter().map(|told| word(&told.done)).collect();
        let names = self.directory.names();
        assert!(
            names.iter().all(|name| name.ends_with(".mmdb") || name.ends_with(".list") || name == "state"),
            "litter: {names:?}"
        );
        told.join(" | ")
    }

    fn run(&self, sites: &str, now: Micros) -> String {
        self.told(&self.update(sites), now)
    }

    fn file(&self, edition: &str) -> Option<Vec<u8>> {
        fs::read(self.directory.path().join(format!("{edition}.mmdb"))).ok()
    }

    fn ledger(&self) -> String {
        fs::read_to_string(self.directory.path().join("state/downloads.json")).unwrap()
    }
}
