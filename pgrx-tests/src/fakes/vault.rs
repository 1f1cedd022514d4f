//! HashiCorp Vault (KV versions 1 and 2) and an agent of it, within the test's own process: secrets by path, for clients
//! with the token.

use super::http::{Request, Response};
use super::pair::Pair;
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

/// The token.
pub const TOKEN: &str = "hvs.fake-vault-token";

#[derive(Default)]
struct State {
    /// By path (`secret/data/maxmind`) and field.
    secrets: HashMap<String, (String, String)>,
    /// A mount of version 1.
    first_version: Option<String>,
    /// For everything, until it is cleared.
    status: Option<u16>,
    asked: Vec<String>,
}

/// The server, which ends with this handle.
pub struct Vault(Pair<State>);

impl Vault {
    /// Starts it, with its certificate in `dir`. It holds nothing yet.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(dir: &Path) -> Vault {
        Vault(Pair::start(dir.join("vault-ca.pem"), answer))
    }

    /// The environment of a server that may ask it.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 2] {
        [("VAULT_ADDR", format!("https://localhost:{}", self.0.secure.port())), ("VAULT_TOKEN", TOKEN.to_owned())]
    }

    /// The listener of an agent on this machine: plain, and with a token of its own.
    #[must_use]
    pub fn agent_url(&self) -> String {
        format!("http://{}", self.0.plain)
    }

    /// The file with its certificate.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.0.ca_file
    }

    /// From now on this mount is of version 1, and whatever is asked for in the form of version 2 is forbidden.
    pub fn first_version(&self, mount: &str) {
        self.state().first_version = Some(mount.to_owned());
    }

    /// Trusts this server as well as those of `other`: a file with both certificates.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn trusted_beside(&self, other: &Path) -> PathBuf {
        let both = self.0.ca_file.with_file_name("vault-and-others.pem");
        let text = [&self.0.ca_file, &other.to_path_buf()].map(|file| fs::read_to_string(file).expect("a certificate"));
        fs::write(&both, text.concat()).expect("a certificate's file");
        both
    }

    /// Holds a secret from now on: `secret/data/maxmind`, field and value.
    pub fn hold(&self, path: &str, field: &str, value: &str) {
        self.state().secrets.insert(path.to_owned(), (field.to_owned(), value.to_owned()));
    }

    /// Answers with this status from now on; `None`: as it should.
    pub fn status(&self, status: Option<u16>) {
        self.state().status = status;
    }

    /// Paths that were asked for.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

fn answer(state: &mut State, request: &Request, agent: bool) -> Vec<u8> {
    respond(state, request, agent).bytes(true)
}

fn respond(state: &mut State, request: &Request, agent: bool) -> Response {
    let path = request.path.trim_start_matches("/v1/").to_owned();
    state.asked.push(path.clone());
    if let Some(status) = state.status {
        return Response::json(status, &json!({ "errors": ["no"] }));
    }
    if request.header("x-vault-token") != (!agent).then_some(TOKEN) {
        return Response::json(403, &json!({ "errors": ["permission denied"] }));
    }
    if let Some(mount) = &state.first_version {
        if path.starts_with("sys/internal/ui/mounts/") {
            return Response::json(
                200,
                &json!({ "data": { "path": format!("{mount}/"), "options": { "version": "1" } } }),
            );
        }
        return match state.secrets.get(&path) {
            Some((field, value)) => Response::json(200, &json!({ "data": { field: value } })),
            None => Response::json(403, &json!({ "errors": ["permission denied"] })),
        };
    }
    match state.secrets.get(&path) {
        None => Response::json(404, &json!({ "errors": [] })),
        Some((field, value)) => {
            Response::json(200, &json!({ "data": { "data": { field: value }, "metadata": { "version": 1 } } }))
        }
    }
}
