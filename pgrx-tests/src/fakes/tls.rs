//! Certificates, fresh for each process: an authority, a server's for this machine, and one of a wrong name.

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rcgen::{KeyUsagePurpose, date_time_ymd};
use std::error::Error;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The server's two faces.
pub struct Acceptors {
    /// For `localhost` and 127.0.0.1.
    pub good: TlsAcceptor,
    /// For another host.
    pub wrong_name: TlsAcceptor,
}

/// The authority's certificate (PEM), and what it vouches for.
///
/// # Errors
/// When the library cannot make them.
pub fn make() -> Outcome<(String, Acceptors)> {
    let mut params = validity(CertificateParams::default());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "fake-sources test authority");
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let good = acceptor(&issuer, &["localhost", "127.0.0.1"])?;
    let wrong_name = acceptor(&issuer, &["wrong.example"])?;
    Ok((pem, Acceptors { good, wrong_name }))
}

fn acceptor(issuer: &Issuer<'_, KeyPair>, names: &[&str]) -> Outcome<TlsAcceptor> {
    let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
    let mut params = validity(CertificateParams::new(names.clone())?);
    params.distinguished_name.push(DnType::CommonName, names[0].clone());
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Whatever the clock of the machine says.
fn validity(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    params
}
