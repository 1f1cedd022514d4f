//! An outgoing proxy: HTTPS through a tunnel (CONNECT), for downloads, GreyNoise and Vault.
//!
//! Data passes settings and the server's environment → [`Plan`] → [`Proxy`] → [`tunnel`]. TLS is spoken with the target
//! through the tunnel, so the proxy sees names and not contents. Loopback targets are always asked directly.
//!
//! | file | what |
//! |---|---|
//! | `exempt` | `no_proxy`: the hosts that are asked directly |
//! | [`pace`] | the end of a connection that is too slow |
//! | [`sent`] | whether a request left this server |
//! | [`tunnel`] | the connection to the proxy, within limits |

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::secrets::{Environment, Reference, Secret, SecretError};
use crate::url;

mod exempt;
pub(crate) mod pace;
pub(crate) mod sent;
pub(crate) mod tunnel;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use exempt::Exempt;

/// Which proxy is wanted, as the settings say; what they leave empty is in the server's environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// `http://host:port`; empty: `https_proxy` or `HTTPS_PROXY` of the environment.
    pub https_proxy: String,
    /// Hosts, `.domain`, networks, `*`; empty: `no_proxy` or `NO_PROXY` of the environment.
    pub no_proxy: String,
    /// A reference to `user:password`; empty: none, or those in the environment's URL.
    pub credentials: String,
}

/// A proxy, and who is asked through it. `{:?}` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    authorization: Option<Authorization>,
    exempt: Exempt,
}

/// A header's value, wiped when it is dropped; and where the credentials are named.
#[derive(Clone, PartialEq, Eq)]
struct Authorization(Zeroizing<String>, Place);

/// Where a proxy or its credentials are named, in the words of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One of our settings.
    Setting(&'static str),
    /// A variable of the server's environment.
    Variable(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Setting(name) => write!(f, "asn_inventory.{name}"),
            Place::Variable(name) => write!(f, "{name} in the server's environment"),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("at", &self.name()).finish_non_exhaustive()
    }
}

/// A proxy's address, and the place that names it.
struct Named {
    host: String,
    port: u16,
    /// Credentials that stand in the environment's URL.
    inside: Option<Secret>,
    from: Place,
}

const CREDENTIALS: Place = Place::Setting("https_proxy_credentials");

impl Plan {
    /// The proxy; `None`: none is wanted. `secret` looks the reference up, which may take as long as every look does.
    ///
    /// # Errors
    /// The setting or the variable, and its error as a sentence. It holds no part of a password.
    pub fn proxy(
        &self,
        environment: &Environment,
        secret: impl FnOnce(&Reference) -> Result<Secret, SecretError>,
    ) -> Result<Option<Proxy>, String> {
        let Some(Named { host, port, inside, from }) = self.address(environment)? else { return Ok(None) };
        let credentials = match self.credentials.trim() {
            "" => inside.map(|pair| (pair, from)),
            text => {
                let reference = Reference::parse(text).map_err(|e| format!("{CREDENTIALS}: {e}"))?;
                let pair = secret(&reference).map_err(|e| format!("{CREDENTIALS} cannot be resolved: {e}"))?;
                Some((pair, CREDENTIALS))
            }
        };
        let header = |(pair, place): (Secret, Place)| basic(&pair, place).map_err(|why| format!("{place}: {why}"));
        let authorization = credentials.map(header).transpose()?;
        Ok(Some(Proxy { host, port, authorization, exempt: self.exempt(environment)? }))
    }

    /// Whether the settings and the environment can be read, without looking up any reference: the proxy's name, and the
    /// place that names it.
    ///
    /// # Errors
    /// As [`Plan::proxy`].
    pub fn named(&self, environment: &Environment) -> Result<Option<(String, Place)>, String> {
        let Some(Named { host, port, from, .. }) = self.address(environment)? else { return Ok(None) };
        self.exempt(environment)?;
        Ok(Some((format!("{host}:{port}"), from)))
    }

    fn address(&self, environment: &Environment) -> Result<Option<Named>, String> {
        if !self.https_proxy.trim().is_empty() {
            let from = Place::Setting("https_proxy");
            let (host, port) = address(&self.https_proxy).map_err(|why| format!("{from}: {why}"))?;
            return Ok(Some(Named { host, port, inside: None, from }));
        }
        let found = ["https_proxy", "HTTPS_PROXY"].into_iter().find_map(|name| Some((name, environment.get(name)?)));
        let Some((name, text)) = found.map(|(name, text)| (name, Zeroizing::new(text))) else { return Ok(None) };
        let from = Place::Variable(name);
        // There, and only there, a password may stand in it: the environment is one of the places for secrets.
        let (plain, inside) = split_user(&text);
        let inside =
            inside.map(|user| Secret::new(percent_encoding::percent_decode_str(user).decode_utf8_lossy().into()));
        let (host, port) = address(&plain).map_err(|why| format!("{from}: {why}"))?;
        Ok(Some(Named { host, port, inside, from }))
    }

    fn exempt(&self, environment: &Environment) -> Result<Exempt, String> {
        if !self.no_proxy.trim().is_empty() {
            return Exempt::parse(&self.no_proxy).map_err(|why| format!("{}: {why}", Place::Setting("no_proxy")));
        }
        let found = ["no_proxy", "NO_PROXY"].into_iter().find_map(|name| environment.get(name));
        // Other programs read it as well, and in other spellings: what we do not understand is not meant for us.
        Ok(found.map(|text| Exempt::parse_leniently(&text)).unwrap_or_default())
    }
}

/// The address of a proxy, for the check of a setting: `http://host:port`, or without its scheme.
///
/// # Errors
/// Its error, as a sentence, which does not repeat the text.
pub fn address(text: &str) -> Result<(String, u16), &'static str> {
    let text = text.trim().trim_end_matches('/');
    let rest = match text.split_once("://") {
        None => text,
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some(_) => {
            return Err(
                "It must begin with http://: the way to the proxy itself is plain, and TLS is spoken through it.",
            );
        }
    };
    if rest.contains('@') {
        return Err(
            "It must not contain a user or password: asn_inventory.https_proxy_credentials names the place where they stand.",
        );
    }
    match url::host_port(rest) {
        Ok((host, port)) => Ok((host.to_owned(), port)),
        Err(_) => Err("It must name a host and a port: http://proxy:3128."),
    }
}

/// The hosts that are asked directly, for the check of a setting.
///
/// # Errors
/// Its error, as a sentence.
pub fn check_no_proxy(text: &str) -> Result<(), &'static str> {
    Exempt::parse(text).map(drop)
}

/// The address without its user, and the user.
fn split_user(text: &str) -> (String, Option<&str>) {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    match rest.rsplit_once('@') {
        Some((user, host)) if scheme.is_empty() => (host.to_owned(), Some(user)),
        Some((user, host)) => (format!("{scheme}://{host}"), Some(user)),
        None => (text.to_owned(), None),
    }
}

fn basic(pair: &Secret, place: Place) -> Result<Authorization, &'static str> {
    let pair = pair.expose();
    if !pair.contains(':') || pair.chars().any(char::is_control) {
        return Err("The credentials must be user:password.");
    }
    let mut out = Zeroizing::new(String::with_capacity(6 + pair.len().div_ceil(3) * 4));
    out.push_str("Basic ");
    STANDARD.encode_string(pair, &mut out);
    Ok(Authorization(out, place))
}

impl Proxy {
    /// Host and port, for messages.
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether this host is asked through it.
    pub fn is_for(&self, host: &str, port: u16) -> bool {
        !url::is_loopback(host) && !self.exempt.covers(host, port)
    }
}
