//! Prometheus's own checker, and a page of metrics taken apart.
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use asn_inventory_tests::prelude::*;

/// The checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").to_owned()
}

/// Where promtool is. The script fetches it where there is none, and its reason is the test's where it cannot.
pub fn promtool() -> Command {
    static FOUND: OnceLock<String> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let script = root().join("scripts/setup-promtool.sh");
        let output = Command::new(script).stderr(Stdio::inherit()).output().expect("the script runs");
        assert!(output.status.success(), "scripts/setup-promtool.sh failed, see above");
        String::from_utf8(output.stdout).expect("a path").trim().to_owned()
    });
    Command::new(found)
}

/// Runs promtool with arguments; returns its output.
///
/// # Panics
/// When it fails.
pub fn check(arguments: &[&str], dir: &Path) -> String {
    let output = promtool().args(arguments).current_dir(dir).output().expect("promtool runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {}: {said}", arguments.join(" "));
    said
}

/// The parser and the linter take a page without a word.
///
/// # Panics
/// When they object to anything.
pub fn accepted(text: &str) {
    let mut child = promtool()
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim().is_empty(), "promtool check metrics: {said}\nof {text}");
}

/// One line of a page.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A page that promtool accepted.
#[derive(Debug)]
pub struct Page {
    pub samples: Vec<Sample>,
}

impl Page {
    /// The page of a database, by a session that knows it under any name.
    pub fn of(cluster: &Cluster, db: &str) -> Page {
        Page::read(&cluster.value(db, "SELECT prometheus_metrics()"))
    }

    pub fn read(text: &str) -> Page {
        accepted(text);
        assert!(text.lines().next().is_some_and(|line| line.starts_with("# HELP ")), "{text}");
        Page { samples: text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(sample).collect() }
    }

    /// The value of `asn_inventory_…` with these labels beside the database; `None` where there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let name = format!("asn_inventory_{name}");
        let mut found = self.samples.iter().filter(|sample| {
            sample.name == name
                && sample.labels.len() == labels.len() + 1
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
        });
        let value = found.next().map(|sample| sample.value);
        assert!(found.next().is_none(), "{name} {labels:?} stands there twice");
        value
    }

    /// In how many states a source is.
    pub fn states(&self, source: &str) -> f64 {
        let states = self.samples.iter().filter(|sample| sample.name == "asn_inventory_source_state");
        states.filter(|sample| sample.labels["source"] == source).map(|sample| sample.value).sum()
    }

    /// A histogram's bounds, and how many took no longer.
    pub fn buckets(&self, name: &str, source: &str) -> Vec<(f64, f64)> {
        let name = format!("asn_inventory_{name}_bucket");
        let all = self.samples.iter().filter(|sample| sample.name == name && sample.labels["source"] == source);
        all.map(|sample| (sample.labels["le"].parse().expect("a bound"), sample.value)).collect()
    }

    /// The names of all families.
    pub fn names(&self) -> BTreeSet<String> {
        self.samples.iter().map(|sample| family(&sample.name)).collect()
    }
}

/// The family that a name belongs to: a histogram has three names.
pub fn family(name: &str) -> String {
    let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    histogram.filter(|name| name.ends_with("_duration_seconds")).unwrap_or(name).to_owned()
}

/// A line that promtool accepted.
fn sample(line: &str) -> Sample {
    let (name, rest) = line.split_once('{').unwrap_or_else(|| panic!("no labels in {line}"));
    let mut labels = BTreeMap::new();
    let mut chars = rest.chars();
    loop {
        let label: String = chars.by_ref().take_while(|c| *c != '=').collect();
        assert_eq!(chars.next(), Some('"'), "{line}");
        let mut value = String::new();
        loop {
            match chars.next().unwrap_or_else(|| panic!("{line}")) {
                '"' => break,
                '\\' => value.push(match chars.next() {
                    Some('n') => '\n',
                    Some(other) => other,
                    None => panic!("{line}"),
                }),
                other => value.push(other),
            }
        }
        labels.insert(label, value);
        match chars.next() {
            Some(',') => {}
            Some('}') => break,
            other => panic!("{other:?} in {line}"),
        }
    }
    let value = chars.as_str().trim();
    Sample { name: name.to_owned(), labels, value: value.parse().unwrap_or_else(|_| panic!("{value:?} in {line}")) }
}
