//! Certificates that live as long as the fakes: an authority, one for `localhost` and 127.0.0.1, and one for another
//! host.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A name that leads here only through a proxy of tests.
pub const FAR: &str = "files.example";

/// The two identities, and the authority that vouches for both.
#[derive(Clone)]
pub struct Identities {
    /// The authority's certificate, PEM.
    pub ca_pem: String,
    /// `localhost`, 127.0.0.1 and [`FAR`].
    pub right: TlsAcceptor,
    /// Another host.
    pub wrong: TlsAcceptor,
}

impl Identities {
    /// Makes fresh ones.
    ///
    /// # Errors
    /// The error of the cryptography library.
    pub fn generate() -> io::Result<Identities> {
        let mut params = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "fake sources");
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let ca = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        Ok(Identities {
            ca_pem: ca.pem(),
            right: acceptor(&ca, &["localhost", "127.0.0.1", FAR])?,
            wrong: acceptor(&ca, &["elsewhere.invalid"])?,
        })
    }
}

/// A server with a certificate for `names`.
fn acceptor(ca: &CertifiedIssuer<'_, KeyPair>, names: &[&str]) -> io::Result<TlsAcceptor> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let certificate = params.signed_by(&key, ca).map_err(io::Error::other)?;
    // The provider is named: a build with several has no default one.
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
