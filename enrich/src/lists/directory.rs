//! The operator's directory: which files are lists, and of which names.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::maxmind::Edition;
use crate::maxmind::manifest::Signature;
use crate::text::clean;

/// Most lists.
pub const MOST_LISTS: usize = 1000;
/// Most entries of the directory that are looked at.
const MOST_FILES: usize = 10_000;
/// The ends of names that belong to files in the making, and to editors.
const IGNORED: [&str; 5] = ["~", ".tmp", ".part", ".swp", ".partial"];

/// The directory at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// By name of the list: the file's name, and its signature or the reason why it has none.
    pub lists: BTreeMap<String, (String, Result<Signature, String>)>,
    /// Files that cannot be a list, by their names, made fit to be shown: why.
    pub rejected: BTreeMap<String, String>,
}

/// Looks at a directory. Of two files for one list, the one that it came from so far is taken (`file_of`), or the first
/// one by name.
///
/// # Errors
/// Those of reading the directory.
pub fn scan<'a>(dir: &Path, file_of: impl Fn(&str) -> Option<&'a str>) -> io::Result<Scan> {
    let mut names: Vec<std::ffi::OsString> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b".") || IGNORED.iter().any(|end| bytes.ends_with(end.as_bytes())) {
            continue;
        }
        if names.len() == MOST_FILES {
            return Err(io::Error::other(format!("more than {MOST_FILES} files")));
        }
        names.push(name);
    }
    names.sort_unstable();
    let mut found = Scan::default();
    let mut by_list: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in names {
        if fs::metadata(dir.join(&name)).is_ok_and(|known| known.is_dir()) {
            continue;
        }
        match name.to_str().and_then(|file| Some((list_of(file)?, file))) {
            Some((list, file)) => by_list.entry(list.to_owned()).or_default().push(file.to_owned()),
            None => {
                let shown = clean(&name.to_string_lossy(), 100).into_owned();
                let reason = "the name of a list has letters, digits, '-', '_' and '.' only, 64 at most";
                found.rejected.insert(shown, reason.to_owned());
            }
        }
    }
    // Where there are too many, those that are lists already stay.
    let mut by_list: Vec<(String, Vec<String>)> = by_list.into_iter().collect();
    by_list.sort_by_key(|(list, _)| file_of(list).is_none());
    for (list, files) in by_list {
        let known = file_of(&list).and_then(|known| files.iter().position(|file| file == known)).unwrap_or(0);
        for file in files.iter().enumerate().filter(|(at, _)| *at != known).map(|(_, file)| file) {
            found
                .rejected
                .insert(file.clone(), format!("the list \"{list}\" comes from the file {} already", files[known]));
        }
        let file = files[known].clone();
        if found.lists.len() == MOST_LISTS {
            found.rejected.insert(file, format!("there are more than {MOST_LISTS} lists"));
            continue;
        }
        let signature = match Signature::of(&dir.join(&file)) {
            Ok(Some(signature)) => Ok(signature),
            Ok(None) => Err("its link leads to no file".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        found.lists.insert(list, (file, signature));
    }
    Ok(found)
}

/// The name of the list in a file: the file's without its last extension. `None`: it cannot be one.
pub fn list_of(file: &str) -> Option<&str> {
    let name = file.rsplit_once('.').map_or(file, |(name, _)| name);
    // The rules of editions hold for the extension as well: it is shown.
    let is_plain = file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (is_plain && file.len() <= 100 && Edition::new(name).is_ok()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_named_by_its_file() {
        for (file, list) in [
            ("tor-exits.txt", Some("tor-exits")),
            ("aws.json", Some("aws")),
            ("firehol_level1.netset", Some("firehol_level1")),
            ("spamhaus.drop.txt", Some("spamhaus.drop")),
            ("plain", Some("plain")),
            ("a b.txt", None),
            ("x.t\u{7}xt", None),
            ("äöü.txt", None),
        ] {
            assert_eq!(list_of(file), list, "{file}");
        }
        assert_eq!(list_of(&format!("{}.txt", "x".repeat(65))), None);
    }

    #[test]
    fn one_list_too_many_takes_no_others_place() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..MOST_LISTS {
            fs::write(dir.path().join(format!("l{number}.txt")), "1.1.1.1\n").unwrap();
        }
        fs::write(dir.path().join("a.txt"), "1.1.1.1\n").unwrap();
        let known = |list: &str| list.starts_with('l').then_some("known.txt");
        let found = scan(dir.path(), known).unwrap();
        assert_eq!(found.lists.len(), MOST_LISTS);
        assert_eq!(found.rejected.keys().collect::<Vec<_>>(), ["a.txt"]);
    }

    #[test]
    fn files_in_the_making_are_not_seen_and_a_second_file_of_a_name_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        for file in [".hidden", "a.txt~", "a.tmp", "a.part", "a.swp", "tor.json", "tor.txt", "b c.txt"] {
            fs::write(dir.path().join(file), "1.1.1.1\n").unwrap();
        }
        fs::create_dir(dir.path().join("sub")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe.txt"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let found = scan(dir.path(), |_| None).unwrap();
        assert_eq!(found.lists.keys().collect::<Vec<_>>(), ["pipe", "tor"]);
        assert_eq!(found.lists["tor"].0, "tor.json");
        assert_eq!(found.lists["pipe"].1, Err("not a regular file".to_owned()));
        assert_eq!(found.rejected.keys().collect::<Vec<_>>(), ["b c.txt", "tor.txt"]);
        assert_eq!(found.rejected["tor.txt"], "the list \"tor\" comes from the file tor.json already");
        let found = scan(dir.path(), |_| Some("tor.txt")).unwrap();
        assert_eq!(found.lists["tor"].0, "tor.txt");
    }
}
