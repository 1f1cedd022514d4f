//! HTTPS for all requests: the trusted certificates, and the limits of an agent.
//!
//! Trusted are the system's certificates, plus those of `asn_inventory.tls_ca_file`. There is no switch that turns
//! verification off, and no built-in list that would still trust certificates that the system's owner removed.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::libc::{O_NOCTTY, O_NONBLOCK};
use rustls::RootCertStore;
use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::AgentScope;

use crate::failure::{Failure, FailureKind};
use crate::proxy::Proxy;
use crate::proxy::pace::Pace;
use crate::proxy::tunnel::{self, ProxyError};
use crate::text;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
mod words;

/// More than any system's whole list.
const MAX_PEM: u64 = 4 << 20;

/// How every agent begins: `https` only, verified against the system's certificates and those in `ca_files`, the whole
/// exchange within `timeout`, no redirects followed, and every status an answer, not an error. Callers may build on it,
/// and [`open`] it.
///
/// `ca_files` are the files of further certificates, each with the name of the setting that names it.
///
/// Reads files: make an agent once, not once a request. Name resolution runs on a thread of its own, which inherits the
/// signal mask of the caller.
///
/// # Errors
/// `Permanent` if one of `ca_files` cannot be read or holds no certificate, or if nothing is trusted at all.
pub fn agent(timeout: Duration, ca_files: &[(&str, &Path)]) -> Result<ConfigBuilder<AgentScope>, Failure> {
    let roots = RootCerts::new_with_certs(&trusted(system_roots(), ca_files)?);
    // Named here, because ureq's own default would bring a list of certificates along.
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ureq::Agent::config_builder()
        .tls_config(TlsConfig::builder().unversioned_rustls_crypto_provider(crypto).root_certs(roots).build())
        .https_only(true)
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        // The library's own: ours is in `open`.
        .proxy(None)
        .user_agent(concat!("asn_inventory/", env!("CARGO_PKG_VERSION"))))
}

/// The agent, which connects directly or through the proxy.
pub fn open(config: ConfigBuilder<AgentScope>, proxy: Option<&Proxy>) -> Agent {
    tunnel::agent(config.build(), proxy.cloned(), None)
}

/// The same, for answers that must not come slower than that: an error is a [`TooSlow`](crate::proxy::pace::TooSlow) then.
pub(crate) fn open_paced(config: ConfigBuilder<AgentScope>, proxy: Option<&Proxy>, pace: Pace) -> Agent {
    tunnel::agent(config.build(), proxy.cloned(), Some(pace))
}

/// As [`failure`], of a request to this URL: an error on the way through a proxy names it, since what speaks there may be
/// the proxy itself.
pub fn failure_at(error: &ureq::Error, uri: &Uri, proxy: Option<&Proxy>) -> Failure {
    let mut failure = failure(error);
    if !matches!(error, ureq::Error::Other(_))
        && let Some(proxy) = tunnel::through(proxy, uri)
    {
        failure.reason += &format!(" (through the proxy {proxy})");
    }
    failure
}

/// The meaning of an agent's error for its caller. `Permanent` is only an error that waiting cannot fix: a certificate
/// that fails today may be a captive portal's.
///
/// The reason contains no part of the request: a key may be in its headers or its URL.
pub fn failure(error: &ureq::Error) -> Failure {
    use ureq::Error::{BadUri, HostNotFound, Http, Io, Other, Protocol, RequireHttpsOnly, Rustls, Timeout};
    let (kind, reason) = match error {
        BadUri(_) | Http(_) | RequireHttpsOnly(_) => (FailureKind::Permanent, "the URL is not understood".to_owned()),
        HostNotFound => (FailureKind::Transient, "host not found".to_owned()),
        Timeout(phase) => (FailureKind::Transient, format!("timed out ({phase})")),
        Io(e) => match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => (FailureKind::Transient, words::of(tls)),
            None => (FailureKind::Transient, e.to_string()),
        },
        Rustls(e) => (FailureKind::Transient, words::of(e)),
        // Its text may hold a header of the answer, like a signed `Location`.
        Other(e) if e.is::<ProxyError>() => (FailureKind::Transient, e.to_string()),
        Protocol(_) => (FailureKind::Transient, "the answer is not HTTP".to_owned()),
        _ => (FailureKind::Transient, "the connection failed".to_owned()),
    };
    Failure { kind, reason: text::clean(&reason, text::MAX_TEXT).into_owned() }
}

/// The file of the setting, as [`agent`] takes it.
pub fn ca_file(path: Option<&Path>) -> Vec<(&'static str, &Path)> {
    path.map(|path| ("tls_ca_file", path)).into_iter().collect()
}

/// The files that [`agent`] uses, so that a caller can check them for changes: `ca_file`, and the places of the
/// system's trusted certificates.
pub fn files(ca_file: Option<&Path>) -> Vec<PathBuf> {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().filter_map(std::env::var_os).map(PathBuf::from);
    ca_file.map(Path::to_owned).into_iter().chain(named).chain(BUNDLES.iter().map(PathBuf::from)).collect()
}

/// Debian and Alpine, Fedora and its relatives, SUSE.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// The system's certificates, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, as for every other program.
/// Unreadable ones are omitted.
fn system_roots() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    found.certs.iter().map(|cert| Certificate::from_der(cert).to_owned()).collect()
}

fn trusted(
    mut roots: Vec<Certificate<'static>>,
    ca_files: &[(&str, &Path)],
) -> Result<Vec<Certificate<'static>>, Failure> {
    for (name, path) in ca_files {
        let further = read_pem(path).map_err(|why| permanent(format!("{name} {}: {why}", path.display())))?;
        roots.extend(further);
    }
    if roots.is_empty() {
        return Err(permanent(
            "no trusted certificates: install ca-certificates, or set asn_inventory.tls_ca_file".to_owned(),
        ));
    }
    Ok(roots)
}

/// The certificates in a PEM file: at least one, and each of them one that can be trusted. The TLS library itself skips
/// unreadable ones, and the operator would look for the reason elsewhere.
fn read_pem(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    // A FIFO or a device would keep us for good: the first of them when it is opened.
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path);
    let file = file.map_err(|e| e.to_string())?;
    if !file.metadata().map_err(|e| e.to_string())?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut pem = Vec::new();
    file.take(MAX_PEM + 1).read_to_end(&mut pem).map_err(|e| e.to_string())?;
    if pem.len() as u64 > MAX_PEM {
        return Err(format!("more than {} MB", MAX_PEM >> 20));
    }
    let mut store = RootCertStore::empty();
    let mut certs = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(cert) = item.map_err(|_| "not PEM".to_owned())? {
            let nth = certs.len() + 1;
            store.add(cert.der().to_vec().into()).map_err(|_| format!("certificate {nth} is not understood"))?;
            certs.push(cert);
        }
    }
    if certs.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(certs) }
}

fn permanent(reason: String) -> Failure {
    Failure { kind: FailureKind::Permanent, reason: text::clean(&reason, text::MAX_TEXT).into_owned() }
}
