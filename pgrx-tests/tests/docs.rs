//! The pages stay true: every message that the source can print stands in docs/troubleshooting.md, word for word, with
//! `…` for variable parts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Calls whose first text is a message for people.
const CALLS: [&str; 14] = [
    "raise(",
    "bad_value(",
    "not_ready(",
    "warn(",
    "warning!(",
    "log!(",
    "notice!(",
    "#[error(",
    "transient(",
    "unsent(",
    "permanent(",
    "Refused(",
    "Failed(",
    "Err(",
];

/// Reasons that are never shown: values that are not an address are only counted.
const NEVER_SHOWN: [&str; 4] =
    ["a host name, not an address", "a network, not a host address", "not an address", "unknown address class"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").to_owned()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/troubleshooting.md")).expect("the page")
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs")
            && !path.ends_with("tests.rs")
            && !path.ends_with("fake.rs")
        {
            found.push(path);
        }
    }
}

/// The first string literal between the parentheses that `text` is inside of, unescaped; `None` where there is none.
fn first_literal(text: &str) -> Option<String> {
    let (mut depth, mut chars) = (1, text.chars());
    loop {
        match chars.next()? {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '"' => break,
            _ => {}
        }
        if depth == 0 {
            return None;
        }
    }
    let mut literal = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(literal),
            '\\' => match chars.next()? {
                // A continued line: the blanks of the next one are not part of the text.
                '\n' => {
                    let rest = chars.as_str().trim_start();
                    chars = rest.chars();
                }
                'n' => literal.push('\n'),
                other => literal.push(other),
            },
            other => literal.push(other),
        }
    }
}

/// A literal as the page has it: `…` for each thing that is filled in.
fn as_written(literal: &str) -> String {
    let (mut text, mut depth) = (String::new(), 0);
    for c in literal.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => {
                depth -= 1;
                text.push('…');
            }
            _ if depth == 0 => text.push(c),
            _ => {}
        }
    }
    text
}

/// Every message of a folder's sources, without tests.
fn messages(dir: &str) -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root().join(dir), &mut files);
    let mut found = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source");
        let text = text.split("#[cfg(test)]\nmod tests {").next().expect("a first part");
        for call in CALLS {
            for (at, _) in text.match_indices(call) {
                let line = text[..at].rsplit('\n').next().unwrap_or_default().trim_start();
                if line.starts_with("//") || line.contains("fn ") {
                    continue;
                }
                if let Some(literal) = first_literal(&text[at + call.len()..]) {
                    found.insert(as_written(&literal));
                }
            }
        }
    }
    // A message that is only another error's text has no own words.
    found.retain(|text| text.chars().any(char::is_alphabetic) && !NEVER_SHOWN.contains(&text.as_str()));
    found
}

fn missing(dir: &str, at_least: usize) {
    let (all, page) = (messages(dir), page());
    assert!(all.len() >= at_least, "the messages of {dir} are not found any more: {all:#?}");
    let missing: Vec<&String> = all.iter().filter(|message| !page.contains(message.as_str())).collect();
    assert!(missing.is_empty(), "not in docs/troubleshooting.md: {missing:#?}");
}

#[test]
fn every_message_of_the_extension_is_explained() {
    missing("src", 70);
}

#[test]
fn every_reason_of_the_crate_is_explained() {
    missing("enrich/src", 35);
}

/// `module::test` in a page about what is held, and tests whose module stands before them: each is there.
#[test]
fn every_test_that_a_page_names_exists() {
    let tests = root().join("pgrx-tests/tests");
    let has = |module: &str, test: &str| {
        let mut files = vec![tests.join(module).with_extension("rs")];
        if module.is_empty() {
            files.clear();
            sources(&tests, &mut files);
        }
        files.iter().any(|file| fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("fn {test}()"))))
    };
    let (mut named, mut wrong) = (0, Vec::new());
    for page in ["docs/security.md", "docs/reliability.md"] {
        let text = fs::read_to_string(root().join(page)).expect("the page");
        for code in text.split('`').skip(1).step_by(2) {
            let (module, test) = code.split_once("::").unwrap_or(("", code));
            let is_name = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            // A test's name is a sentence; shorter ones without a module are modules, columns, functions.
            if is_name(module) && is_name(test) && (!module.is_empty() || test.matches('_').count() > 3) {
                named += 1;
                if !has(module, test) {
                    wrong.push(format!("{page}: {code}"));
                }
            }
        }
    }
    assert!(named > 40, "only {named} tests were found in the pages");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The pages for people.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docker/README.md"].map(|page| root().join(page)).into();
    for dir in ["docs", "docs/monitoring"] {
        let entries = fs::read_dir(root().join(dir)).expect("the pages");
        pages.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    pages.retain(|page| page.extension().is_some_and(|end| end == "md"));
    pages
}

/// A command of a page is there to be copied.
#[test]
fn every_make_target_that_a_page_names_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("the Makefile");
    let has = |target: &str| makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
    let (mut named, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = fs::read_to_string(&page).expect("the page");
        // Each line of a block for a shell, and what stands between marks in a text.
        let code = text.split('`').flat_map(|code| match code.strip_prefix("sh\n") {
            Some(block) => block.lines().collect::<Vec<_>>(),
            None => code.lines().take(1).collect(),
        });
        for command in code.filter_map(|line| line.strip_prefix("make ")) {
            // Several, as in `make test-deb test-docker`; then settings or a comment.
            let is_target = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            for target in command.split(' ').take_while(is_target) {
                named += 1;
                if !has(target) {
                    wrong.push(format!("{}: make {target}", page.display()));
                }
            }
        }
    }
    assert!(named > 20, "only {named} targets were found in the pages");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `](path)`, without what stands behind `#`.
#[test]
fn every_file_that_a_page_links_to_exists() {
    let (mut named, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = fs::read_to_string(&page).expect("the page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.contains(char::is_whitespace) {
                continue;
            }
            named += 1;
            if !page.parent().expect("a directory").join(path).exists() {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(named > 50, "only {named} links were found in the pages");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Someone without Rust gets the version that this is built with.
#[test]
fn the_first_hour_installs_the_rust_that_this_is_built_with() {
    let text = |file: &str| fs::read_to_string(root().join(file)).expect("the file");
    let file = text("rust-toolchain.toml");
    let version = file.split("channel = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a version");
    assert!(text("docs/first-hour.md").contains(&format!("--default-toolchain {version}")), "{version}");
}

/// Whoever updates to this version finds the way to it first.
#[test]
fn the_page_of_operations_has_the_update_to_this_version() {
    let text = |page: &str| fs::read_to_string(root().join(page)).expect("the page");
    let version = env!("CARGO_PKG_VERSION");
    let operations = text("docs/operations.md");
    let section =
        operations.split("\n## Upgrade\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let first = section.trim_start().lines().next().expect("a line");
    assert!(first.starts_with("From ") && first.contains(&format!(" to {version},")), "{first}");
    assert!(section.contains(&format!("asn-inventory_{version}_amd64.deb")), "the package of {version}");
    let (before, _) = first["From ".len()..].split_once(' ').expect("a version");
    let script = format!("sql/upgrade/asn_inventory--{before}--{version}.sql");
    assert!(root().join(&script).exists(), "{script}");
    let said = format!("has version {before} of the extension, this image has {version}.");
    assert!(text("docker/README.md").contains(&said), "{said}");
}
