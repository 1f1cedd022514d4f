//! `vault://`: HashiCorp Vault, KV versions 1 and 2.
//!
//! A reference is asked for as version 2 has it. Where that is refused or absent, the mount is asked for its version and
//! its path, as Vault's own program does, and the secret once more by that: a mount of version 1, or one of several
//! segments. The server, the token and the rest of the way stand in [`server`].

use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::error::Why;
use super::resolver::Resolver;
use super::{MAX_SECRET, Secret, value};
use crate::url::UNRESERVED;

mod server;

use server::{Answer, Server};

pub(super) fn read(resolver: &Resolver, path: &str, field: &str) -> Result<Secret, Why> {
    let server = Server::of(resolver)?;
    let first = server.get(&escaped(path))?;
    if let Answer::Found(body) = &first {
        return found(body, field);
    }
    // A version-1 mount knows nothing of `data/`: its policies refuse the path, or there is nothing under it.
    match by_mount(&server, path) {
        Some(other) if other != path => match server.get(&escaped(&other))? {
            Answer::Found(body) => found(&body, field),
            refused => Err(refused.why(&server)),
        },
        _ => Err(first.why(&server)),
    }
}

/// The path of the API, by what the mount says of itself; `None` where it says nothing.
fn by_mount(server: &Server, path: &str) -> Option<String> {
    let short = without_data(path);
    // Every token with any right in the mount may ask; what else it answers is not worth a message of its own.
    let Ok(Answer::Found(body)) = server.get(&format!("sys/internal/ui/mounts/{}", escaped(&short))) else {
        return None;
    };
    let mount = serde_json::from_slice::<Told>(&body).ok()?.data;
    let version = mount.options.and_then(|options| options.version).unwrap_or_default();
    let inside = short.strip_prefix(mount.path.trim_end_matches('/'))?.strip_prefix('/')?;
    let mount = mount.path.trim_end_matches('/');
    match version.as_str() {
        "2" => Some(format!("{mount}/data/{inside}")),
        _ => Some(format!("{mount}/{inside}")),
    }
}

/// What Vault says of a mount.
#[derive(Deserialize)]
struct Told {
    data: Mount,
}

#[derive(Deserialize)]
struct Mount {
    path: String,
    options: Option<Options>,
}

#[derive(Deserialize)]
struct Options {
    version: Option<String>,
}

/// As users write it: without the first `data` behind the first segment.
fn without_data(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').collect();
    let at = (1..segments.len().saturating_sub(1)).find(|at| segments[*at] == "data");
    let kept = segments.iter().enumerate().filter(|(index, _)| Some(*index) != at).map(|(_, segment)| *segment);
    kept.collect::<Vec<_>>().join("/")
}

/// Every segment of the path escaped.
fn escaped(path: &str) -> String {
    let segments = path.split('/').map(|segment| utf8_percent_encode(segment, UNRESERVED).to_string());
    segments.collect::<Vec<_>>().join("/")
}

/// The field, in the shape of the version that answered: version 2 has the fields one level further in, with the
/// secret's metadata beside them.
fn found(body: &Zeroizing<Vec<u8>>, field: &str) -> Result<Secret, Why> {
    #[derive(Deserialize)]
    struct Shape {
        data: Option<Outer>,
    }
    #[derive(Deserialize)]
    struct Outer {
        metadata: Option<serde::de::IgnoredAny>,
        data: Option<serde::de::IgnoredAny>,
    }
    let shape = serde_json::from_slice::<Shape>(body).ok().and_then(|shape| shape.data);
    let second = shape.is_some_and(|outer| outer.metadata.is_some() && outer.data.is_some());
    if second { value::in_json(body, ["data", "data", field]) } else { value::in_json(body, ["data", field]) }
}

/// A value of the largest size may be escaped, and has versions and metadata around it.
const MAX_ANSWER: u64 = 8 * MAX_SECRET as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_a_path() {
        assert_eq!(escaped("kv/data/a b?c"), "kv/data/a%20b%3Fc");
        for (api, short) in [
            ("secret/data/maxmind", "secret/maxmind"),
            ("team/kv/data/a/b", "team/kv/a/b"),
            ("secret/data/data", "secret/data"),
            ("secret/maxmind", "secret/maxmind"),
        ] {
            assert_eq!(without_data(api), short);
        }
    }
}
