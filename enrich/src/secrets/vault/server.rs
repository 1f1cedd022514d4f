//! The Vault server or agent, and a request to it.
//!
//! Its address, the token and the rest are in the environment, as for every other client of Vault, and may always be
//! read, independent of the rules for `env:`. The address is https, or an agent's listener on this machine. No redirect
//! is followed: the token would go to another host.

use std::path::PathBuf;

use ureq::Agent;
use ureq::http::Uri;
use zeroize::Zeroizing;

use super::super::error::Why;
use super::super::resolver::Resolver;
use super::super::{Secret, TIME_LIMIT, local, value};
use super::MAX_ANSWER;
use crate::proxy::Proxy;
use crate::tls;
use crate::url::is_loopback;

/// A Vault that can be asked.
pub(super) struct Server {
    agent: Agent,
    address: String,
    token: Option<Secret>,
    /// Where the token stands, for messages.
    token_at: &'static str,
    namespace: Option<String>,
    proxy: Option<Proxy>,
}

/// Its answer to one question.
pub(super) enum Answer {
    Found(Zeroizing<Vec<u8>>),
    /// 401 or 403.
    Refused,
    /// 404.
    Absent,
}

impl Answer {
    /// What it means where a secret was wanted.
    pub(super) fn why(&self, server: &Server) -> Why {
        match self {
            Answer::Refused if server.token.is_none() => {
                Why::Refused("the Vault agent has no token for this path".to_owned())
            }
            Answer::Refused => Why::Refused(format!("Vault does not accept {} for this path", server.token_at)),
            Answer::Found(_) | Answer::Absent => Why::Refused("Vault has no such secret".to_owned()),
        }
    }
}

impl Server {
    /// As the environment says.
    pub(super) fn of(resolver: &Resolver) -> Result<Server, Why> {
        let variable = |name: &str| trimmed(resolver, name);
        let agents = variable("VAULT_AGENT_ADDR");
        let through_agent = agents.is_some();
        let address = agents.or_else(|| variable("VAULT_ADDR"));
        let address =
            address.ok_or_else(|| Why::Refused("VAULT_ADDR is not set in the server's environment".to_owned()))?;
        let (address, plain) = checked(&address)?;
        // An agent has a token of its own.
        let (token, token_at) = token(resolver, through_agent || plain)?;
        let own = variable("VAULT_CACERT").map(PathBuf::from);
        let mut ca_files = tls::ca_file(resolver.ca_file.as_deref());
        ca_files.extend(own.as_deref().map(|path| ("VAULT_CACERT", path)));
        let namespace = variable("VAULT_NAMESPACE");
        if namespace.as_ref().is_some_and(|name| !name.bytes().all(|b| b.is_ascii_graphic() || b == b' ')) {
            return Err(Why::Refused("VAULT_NAMESPACE has invalid characters".to_owned()));
        }
        let proxy = resolver.proxy().map_err(Why::Failed)?;
        let config = tls::agent(TIME_LIMIT, &ca_files).map_err(|e| Why::Refused(e.reason))?.https_only(!plain);
        Ok(Server { agent: tls::open(config, proxy.as_ref()), address, token, token_at, namespace, proxy })
    }

    /// One question.
    ///
    /// # Errors
    /// Whatever is neither a secret nor a plain no.
    pub(super) fn get(&self, path: &str) -> Result<Answer, Why> {
        let url: Uri = format!("{}/v1/{path}", self.address).parse().map_err(|_| not_an_address())?;
        let lost = |error: &ureq::Error| {
            let reason = tls::failure_at(error, &url, self.proxy.as_ref()).reason;
            Why::Failed(format!("Vault does not answer: {reason}"))
        };
        let mut request = self.agent.get(&url).header("X-Vault-Request", "true");
        if let Some(token) = &self.token {
            request = request.header("X-Vault-Token", token.expose());
        }
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        let mut response = request.call().map_err(|e| lost(&e))?;
        let is_page = response.body().mime_type().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        match response.status().as_u16() {
            // Vault itself speaks only JSON: this page is from a system in between.
            status if is_page => Err(Why::Failed(format!("status {status} with a web page, which is not from Vault"))),
            200 => {
                let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
                Ok(Answer::Found(Zeroizing::new(body.map_err(|e| lost(&e))?)))
            }
            401 | 403 => Ok(Answer::Refused),
            404 => Ok(Answer::Absent),
            status @ 300..=399 => {
                Err(Why::Refused(format!("Vault redirects ({status}): set VAULT_ADDR to the new address")))
            }
            // Those pass: a request that took too long, a standby that has not caught up (412), one that came too early, too
            // many of them.
            status @ (408 | 412 | 425 | 429) => Err(Why::Failed(format!("Vault answers {status}"))),
            status @ 400..=499 => Err(Why::Refused(format!("Vault answers {status}"))),
            status => Err(Why::Failed(format!("Vault answers {status}"))),
        }
    }
}

fn not_an_address() -> Why {
    Why::Refused("VAULT_ADDR is not an https:// address, nor an http:// address of this machine".to_owned())
}

/// `https://host:port[/prefix]`, or `http://` of this machine, without a slash at its end; and whether it is plain.
fn checked(address: &str) -> Result<(String, bool), Why> {
    let address = address.trim().trim_end_matches('/');
    let base: Uri = address.parse().map_err(|_| not_an_address())?;
    let sound = base.authority().is_some_and(|a| !a.as_str().contains('@')) && base.query().is_none();
    match base.scheme_str() {
        Some("https") if sound => Ok((address.to_owned(), false)),
        Some("http") if sound && base.host().is_some_and(is_loopback) => Ok((address.to_owned(), true)),
        _ => Err(not_an_address()),
    }
}

/// The token and its place, read anew each time: `VAULT_TOKEN`, the file of `VAULT_TOKEN_FILE`, or the one that `vault
/// login` leaves. With an agent there may be none, and the file of a user is not meant for it.
fn token(resolver: &Resolver, agent: bool) -> Result<(Option<Secret>, &'static str), Why> {
    let variable = |name: &str| trimmed(resolver, name);
    if let Some(token) = variable("VAULT_TOKEN") {
        let token = value::text(Zeroizing::new(token.into_bytes()));
        return Ok((Some(sendable("VAULT_TOKEN", token)?), "VAULT_TOKEN"));
    }
    if let Some(path) = variable("VAULT_TOKEN_FILE") {
        let token = local::file(path.as_ref(), &resolver.owners);
        return Ok((Some(sendable("VAULT_TOKEN_FILE", token)?), "the token in VAULT_TOKEN_FILE"));
    }
    if agent {
        return Ok((None, ""));
    }
    let home = variable("HOME").map(|home| PathBuf::from(home).join(".vault-token"));
    match home.map(|path| local::file(&path, &resolver.owners)) {
        Some(Err(Why::Unset(_))) | None => Err(Why::Refused(
            "VAULT_TOKEN is not set in the server's environment, and there is no token file".to_owned(),
        )),
        Some(token) => Ok((Some(sendable("~/.vault-token", token)?), "the token in ~/.vault-token")),
    }
}

/// A variable without the blanks and the line end that a file of the environment may leave around it.
fn trimmed(resolver: &Resolver, name: &str) -> Option<String> {
    let value = Zeroizing::new(resolver.environment.get(name)?);
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// A token that a header can carry.
fn sendable(name: &str, token: Result<Secret, Why>) -> Result<Secret, Why> {
    let token = token.map_err(|why| in_place(name, why))?;
    match value::not_a_key(token.expose()) {
        None => Ok(token),
        Some(why) => Err(in_place(name, Why::Refused(why.to_owned()))),
    }
}

/// A token that is not there yet may come: an agent writes it.
fn in_place(name: &str, why: Why) -> Why {
    match why {
        Why::Unset(why) => Why::Failed(format!("{name}: {why}")),
        Why::Refused(why) => Why::Refused(format!("{name}: {why}")),
        Why::Failed(why) => Why::Failed(format!("{name}: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn only_https_is_asked_or_this_machine() {
        let of = |address: &str| checked(address).ok();
        assert_eq!(of("https://vault:8200/"), Some(("https://vault:8200".to_owned(), false)));
        assert_eq!(of("https://x.example/vault"), Some(("https://x.example/vault".to_owned(), false)));
        assert_eq!(of("http://127.0.0.1:8100"), Some(("http://127.0.0.1:8100".to_owned(), true)));
        assert_eq!(of("http://[::1]:8100/"), Some(("http://[::1]:8100".to_owned(), true)));
        assert!(of("http://localhost:8100").is_some());
        for address in [
            "http://vault:8200",
            "http://127.0.0.1.example:8200",
            "vault:8200",
            "https://u:p@vault",
            "http://u:p@127.0.0.1",
            "https://vault/?a",
            "",
            "https://",
        ] {
            assert!(of(address).is_none(), "{address}");
        }
    }
}
