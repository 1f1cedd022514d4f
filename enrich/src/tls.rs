//! HTTPS for everything that asks over it. A stand-in: the module of this name with these two functions replaces it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::AgentScope;

/// Why nobody could be asked. Holds no part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Short, for logs and status views.
    pub reason: String,
}

/// How every agent begins: `https` only, verified against the system's certificates and those in `ca_file` (PEM), the
/// whole exchange within `timeout`, no redirects followed, no proxy, and every status an answer.
///
/// # Errors
/// When the file is unreadable or has no certificate, or when nothing at all is trusted.
pub fn agent(timeout: Duration, ca_file: Option<&Path>) -> Result<ConfigBuilder<AgentScope>, Failure> {
    let system = rustls_native_certs::load_native_certs();
    let mut roots: Vec<Certificate<'static>> =
        system.certs.iter().map(|cert| Certificate::from_der(cert).to_owned()).collect();
    if let Some(path) = ca_file {
        let refused = |why: String| Failure { reason: format!("tls_ca_file {}: {why}", path.display()) };
        let pem = fs::read(path).map_err(|e| refused(e.to_string()))?;
        let before = roots.len();
        roots.extend(parse_pem(&pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(cert)) => Some(cert),
            _ => None,
        }));
        if roots.len() == before {
            return Err(refused("no certificate in it".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(Failure { reason: "no trusted certificates".to_owned() });
    }
    Ok(ureq::Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(RootCerts::from(roots)).build())
        .https_only(true)
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None))
}

/// What an error of an agent may say: nothing that could quote the request.
pub fn failure(error: &ureq::Error) -> Failure {
    let reason = match error {
        ureq::Error::HostNotFound => "host not found".to_owned(),
        ureq::Error::Timeout(phase) => format!("timed out ({phase})"),
        ureq::Error::Io(e) => e.to_string(),
        ureq::Error::Rustls(e) => format!("TLS: {e}"),
        _ => "the connection failed".to_owned(),
    };
    Failure { reason }
}
