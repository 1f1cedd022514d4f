//! A certificate authority for tests, and servers' certificates of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// A certificate authority, and its certificate as a file.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub file: PathBuf,
}

impl Authority {
    pub fn new() -> Authority {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("enrich-ca-{}-{nth}.pem", std::process::id()));
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Of two authorities with one name, the signature would tell them apart, not the issuer.
        params.distinguished_name.push(DnType::CommonName, format!("Authority {nth}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { issuer: Issuer::new(params, key), file }
    }

    /// A server's side of TLS for `name`.
    pub fn server_config(&self, name: &str) -> Arc<ServerConfig> {
        self.server_config_of(CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    /// With a certificate of ours like this.
    pub fn server_config_of(&self, params: CertificateParams) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        config(&cert, &key)
    }
}

/// A server with this certificate, from any issuer.
pub(crate) fn config(cert: &rcgen::Certificate, key: &KeyPair) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap())
}

impl Drop for Authority {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.file);
    }
}
