//! `vault://`: HashiCorp Vault, KV version 2.
//!
//! The server's address and the token are in the environment, as for every other client of Vault: `VAULT_ADDR` (https
//! only), `VAULT_TOKEN`, and `VAULT_NAMESPACE` where there is one. These three may always be read, independent of the
//! rules for `env:`. No redirect is followed: the token would go to another host.

use percent_encoding::utf8_percent_encode;
use ureq::Agent;
use ureq::http::Uri;
use zeroize::Zeroizing;

use super::error::Why;
use super::resolver::Resolver;
use super::{MAX_SECRET, Secret, TIME_LIMIT, value};
use crate::tls;
use crate::url::UNRESERVED;

pub(super) fn read(resolver: &Resolver, path: &str, field: &str) -> Result<Secret, Why> {
    let variable = |name: &str| {
        resolver
            .environment
            .get(name)
            .ok_or_else(|| Why::Refused(format!("{name} is not set in the server's environment")))
    };
    let url = url(&variable("VAULT_ADDR")?, path)?;
    let token = Zeroizing::new(variable("VAULT_TOKEN")?);
    let agent: Agent =
        tls::agent(TIME_LIMIT, resolver.ca_file.as_deref()).map_err(|e| Why::Refused(e.reason))?.build().into();
    let mut request = agent.get(url).header("X-Vault-Request", "true").header("X-Vault-Token", token.as_str());
    if let Some(namespace) = resolver.environment.get("VAULT_NAMESPACE") {
        request = request.header("X-Vault-Namespace", namespace);
    }
    let mut response = request.call().map_err(|e| lost(&e))?;
    let is_page = response.body().mime_type().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
    match response.status().as_u16() {
        // Vault itself speaks only JSON: this page is from a system in between.
        status if is_page => {
            return Err(Why::Failed(format!("status {status} with a web page, which is not from Vault")));
        }
        200 => {}
        401 | 403 => return Err(Why::Refused("Vault does not accept VAULT_TOKEN for this path".to_owned())),
        404 => return Err(Why::Refused("Vault has no such secret".to_owned())),
        status @ 300..=399 => {
            return Err(Why::Refused(format!("Vault redirects ({status}): set VAULT_ADDR to the new address")));
        }
        status @ (400..=428 | 430..=499) => return Err(Why::Refused(format!("Vault answers {status}"))),
        status => return Err(Why::Failed(format!("Vault answers {status}"))),
    }
    // A value of the largest size may be escaped, and has versions and metadata around it.
    let body = response.body_mut().with_config().limit(8 * MAX_SECRET as u64).read_to_vec();
    let body = Zeroizing::new(body.map_err(|e| lost(&e))?);
    value::in_json(&body, ["data", "data", field])
}

/// `https://host:port[/prefix]/v1/…` with every segment of the path escaped.
fn url(address: &str, path: &str) -> Result<Uri, Why> {
    let refused = || Why::Refused("VAULT_ADDR is not an https:// address".to_owned());
    let address = address.trim().trim_end_matches('/');
    let base: Uri = address.parse().map_err(|_| refused())?;
    let plain = base.scheme_str() == Some("https")
        && base.authority().is_some_and(|a| !a.as_str().contains('@'))
        && base.query().is_none();
    if !plain {
        return Err(refused());
    }
    let mut url = format!("{address}/v1");
    for segment in path.split('/') {
        url.push('/');
        url.extend(utf8_percent_encode(segment, UNRESERVED));
    }
    url.parse().map_err(|_| refused())
}

fn lost(error: &ureq::Error) -> Why {
    Why::Failed(format!("Vault does not answer: {}", tls::failure(error).reason))
}

#[cfg(test)]
mod tests {
    use super::url;

    #[test]
    fn only_https_is_asked_and_a_path_stays_a_path() {
        assert_eq!(url("https://vault:8200/", "kv/data/a b?c").unwrap(), "https://vault:8200/v1/kv/data/a%20b%3Fc");
        assert_eq!(url("https://x.example/vault", "kv/data/a").unwrap(), "https://x.example/vault/v1/kv/data/a");
        for address in ["http://vault:8200", "vault:8200", "https://u:p@vault", "https://vault/?a", "", "https://"] {
            assert!(url(address, "kv/data/a").is_err(), "{address}");
        }
    }
}
