//! Which certificates a server may show us.

use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Why there is nothing to check a server's certificate with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of further certificates can't be used.
    #[error("tls_ca_file \"{path}\": {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Neither the system nor the file has a certificate.
    #[error("no trusted certificates: the system has none")]
    NoRoots,
}

/// A TLS configuration that trusts what the system trusts, and the certificates in `ca_file` (PEM) beside it.
///
/// # Errors
/// [`TlsError`] when the file is unreadable or has no certificate, or when nothing at all is trusted.
pub fn config(ca_file: Option<&Path>) -> Result<TlsConfig, TlsError> {
    let system = rustls_native_certs::load_native_certs();
    let mut roots: Vec<Certificate<'static>> =
        system.certs.iter().map(|c| Certificate::from_der(c.as_ref()).to_owned()).collect();
    if let Some(path) = ca_file {
        let refused = |reason: String| TlsError::File { path: path.to_owned(), reason };
        let pem = std::fs::read(path).map_err(|e| refused(e.to_string()))?;
        let before = roots.len();
        roots.extend(parse_pem(&pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        }));
        if roots.len() == before {
            return Err(refused("holds no certificate".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::from(roots)).build())
}
