//! The plan of the house: rooms name only rooms on lower floors, and no files name each other in a circle. Read from the
//! tokens of the sources, so that paths count wherever they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The rooms of `src/` and their floors. Two rooms on one floor do not name each other.
const FLOORS: [(&str, u32); 10] = [
    ("pg", 1),
    ("settings", 1),
    ("shared", 2),
    ("files", 3),
    ("inventory", 4),
    ("ingest", 5),
    ("network", 5),
    ("jobs", 6),
    ("functions", 7),
    ("worker", 7),
];

type Module = Vec<String>;

/// The modules of a crate, each with the modules that its file names.
fn imports(sources: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut files = Vec::new();
    find(sources, &mut files);
    let modules: BTreeMap<Module, PathBuf> = files.into_iter().map(|file| (module_of(sources, &file), file)).collect();
    let named_by = |module: &Module, file: &Path| {
        let text = fs::read_to_string(file).expect("a source");
        let text = text.split("#[cfg(test)]\nmod tests {").next().expect("a first part");
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut paths = Vec::new();
        read(tokens, &[], &mut paths);
        // `pub(super)` names nothing.
        paths.retain(|path| path.iter().any(|part| part != "super"));
        let mut named: BTreeSet<Module> =
            paths.iter().filter_map(|path| longest(&modules, &absolute(module, path))).collect();
        named.remove(module);
        named
    };
    modules.iter().map(|(module, file)| (module.clone(), named_by(module, file))).collect()
}

fn find(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs")
            && !path.ends_with("tests.rs")
            && !path.ends_with("fake.rs")
        {
            files.push(path);
        }
    }
}

fn module_of(sources: &Path, file: &Path) -> Module {
    let inside = file.strip_prefix(sources).expect("a file of the crate").with_extension("");
    let mut module: Module = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if ["mod", "lib", "main"].contains(&module.last().expect("a name").as_str()) {
        module.pop();
    }
    module
}

/// Every path that begins with `crate`, `super` or `self`, whether of a `use`, with its braces opened, or in the middle of
/// code. `before` is the path that the braces stand behind.
fn read(tokens: TokenStream, before: &[String], paths: &mut Vec<Module>) {
    let mut path: Option<Module> = (!before.is_empty()).then(|| before.to_vec());
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                let word = ident.to_string();
                match &mut path {
                    Some(open) if colons == 2 || open.len() == before.len() => open.push(word),
                    _ => {
                        paths.extend(path.take());
                        path = ["crate", "super", "self"].contains(&word.as_str()).then(|| vec![word]);
                    }
                }
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                let open = path.take();
                match (open, group.delimiter(), colons) {
                    (Some(open), Delimiter::Brace, 2) => read(group.stream(), &open, paths),
                    (open, ..) => {
                        paths.extend(open);
                        read(group.stream(), &[], paths);
                    }
                }
                colons = 0;
            }
            _ => {
                paths.extend(path.take());
                // The next item of a list in braces.
                path = (!before.is_empty()).then(|| before.to_vec());
                colons = 0;
            }
        }
    }
    paths.extend(path.filter(|path| path.len() > before.len()));
}

fn absolute(module: &Module, path: &[String]) -> Module {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let base = match path.first().map(String::as_str) {
        Some("crate") => &[][..],
        Some("self") => module,
        _ => &module[..module.len().saturating_sub(ups)],
    };
    base.iter().chain(path.iter().skip(ups.max(usize::from(ups == 0)))).cloned().collect()
}

/// The module that a path leads into. Names at the root of the crate belong to no room.
fn longest(modules: &BTreeMap<Module, PathBuf>, path: &[String]) -> Option<Module> {
    (1..=path.len()).rev().map(|length| path[..length].to_vec()).find(|prefix| modules.contains_key(prefix))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").to_owned()
}

#[test]
fn rooms_name_only_rooms_on_lower_floors() {
    let floor = |module: &Module| FLOORS.iter().find(|(room, _)| module.first().is_some_and(|first| first == room));
    let imports = imports(&root().join("src"));
    let mut seen = 0;
    let mut upward = Vec::new();
    for (module, named) in &imports {
        if module.is_empty() {
            continue;
        }
        let (room, from) = floor(module).unwrap_or_else(|| panic!("{module:?} stands in no room"));
        for other in named {
            let (other_room, to) = floor(other).expect("a room");
            seen += 1;
            if other_room != room && to >= from {
                upward.push(format!("{} names {}", module.join("::"), other.join("::")));
            }
        }
    }
    assert!(seen > 200, "only {seen} imports were found: the reader is broken");
    assert!(upward.is_empty(), "{upward:#?}");
}

#[test]
fn no_files_name_each_other_in_a_circle() {
    for sources in ["src", "enrich/src", "report/src", "pgrx-tests/src"] {
        let mut left = imports(&root().join(sources));
        // Take away what names nothing that is left, until nothing changes: what stays stands in a circle, or names one.
        loop {
            let free: Vec<Module> = left
                .iter()
                .filter(|(_, named)| named.iter().all(|other| !left.contains_key(other)))
                .map(|(module, _)| module.clone())
                .collect();
            if free.is_empty() {
                break;
            }
            for module in free {
                left.remove(&module);
            }
        }
        // And from the other end: files that no other one there names only lead to it.
        loop {
            let named: BTreeSet<Module> = left.values().flatten().cloned().collect();
            let before = left.len();
            left.retain(|module, _| named.contains(module));
            if left.len() == before {
                break;
            }
        }
        let circle: Vec<String> = left.keys().map(|module| module.join("::")).collect();
        assert!(circle.is_empty(), "{sources}: {circle:#?}");
    }
}

#[test]
fn the_reader_finds_paths_in_all_positions() {
    let text = "use crate::{a::{self, b}, c as d}; fn f() -> super::e::F { m!(crate::g::h(1)) } use self::i::*;";
    let mut paths = Vec::new();
    read(text.parse().expect("tokens"), &[], &mut paths);
    let paths: BTreeSet<String> = paths.iter().map(|path| path.join("::")).collect();
    for wanted in ["crate::a::self", "crate::a::b", "super::e::F", "crate::g::h", "self::i"] {
        assert!(paths.contains(wanted), "{wanted}: {paths:?}");
    }
    assert!(paths.iter().any(|path| path.starts_with("crate::c")), "{paths:?}");
}
