use std::fs;
use std::path::PathBuf;

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, generate_simple_self_signed};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::fake::Authority;
use super::*;

/// A file of this test process that goes with the value.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, content: &[u8]) -> TempFile {
        let path = std::env::temp_dir().join(format!("enrich-tls-{}-{name}", std::process::id()));
        fs::write(&path, content).unwrap();
        TempFile(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

fn pem() -> String {
    generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem()
}

fn refused(path: &Path) -> String {
    let failure = trusted(Vec::new(), &[("tls_ca_file", path)]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert!(failure.reason.contains(&path.display().to_string()), "{}", failure.reason);
    failure.reason
}

#[test]
fn a_file_adds_its_certificates_to_the_systems() {
    let file = TempFile::new("two", (pem() + "\n# another\n" + &pem()).as_bytes());
    let system = vec![Certificate::from_der(b"the system's").to_owned()];
    assert_eq!(trusted(system, &[("tls_ca_file", &file.0)]).unwrap().len(), 3);
}

#[test]
fn a_file_that_adds_nothing_is_refused_by_name() {
    let missing = std::env::temp_dir().join(format!("enrich-tls-{}-missing", std::process::id()));
    refused(&missing);
    assert!(refused(&std::env::temp_dir()).contains("not a regular file"));
    // A pipe without a writer must not stop the worker.
    let pipe = TempFile::new("pipe", b"");
    fs::remove_file(&pipe.0).unwrap();
    nix::unistd::mkfifo(&pipe.0, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(refused(&pipe.0).contains("not a regular file"));
    let empty = TempFile::new("empty", b"");
    assert!(refused(&empty.0).contains("no certificate"));
    let text = TempFile::new("text", b"no PEM at all\xff\0");
    assert!(refused(&text.0).contains("no certificate"));
    let huge = TempFile::new("huge", &vec![b'\n'; MAX_PEM as usize + 1]);
    assert!(refused(&huge.0).contains("more than"));
    let key = TempFile::new("key", rcgen::KeyPair::generate().unwrap().serialize_pem().as_bytes());
    assert!(refused(&key.0).contains("no certificate"));
}

#[test]
fn a_certificate_that_could_not_be_trusted_is_refused_by_number() {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let file = TempFile::new("broken", (pem() + broken).as_bytes());
    assert!(refused(&file.0).contains("certificate 2"));
    let cut = TempFile::new("cut", &pem().as_bytes()[..200]);
    refused(&cut.0);
}

#[test]
fn to_trust_nobody_is_a_failure_that_says_what_to_do() {
    let failure = trusted(Vec::new(), &[]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert!(failure.reason.contains("ca-certificates") && failure.reason.contains("tls_ca_file"));
}

#[test]
fn reasons_hold_no_part_of_the_request() {
    for error in [
        ureq::Error::BadUri("https://host/?license_key=hunter2".to_owned()),
        ureq::Error::RequireHttpsOnly("http://host/?license_key=hunter2".to_owned()),
        ureq::Error::ConnectProxyFailed("hunter2".to_owned()),
    ] {
        let reason = failure(&error).reason;
        assert!(!reason.contains("hunter2"), "{reason}");
    }
}

/// The error of a client that trusts `ca_file`, for a server with this certificate.
fn said(server: Arc<ServerConfig>, ca_file: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let thread = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(server).unwrap(), socket);
        let _ = stream.read(&mut [0; 16]);
    });
    let agent: ureq::Agent = agent(Duration::from_secs(10), &super::ca_file(Some(ca_file))).unwrap().build().into();
    let failure = failure(&agent.get(&url).call().unwrap_err());
    thread.join().unwrap();
    assert_eq!(failure.kind, FailureKind::Transient);
    // Rows keep 200 bytes of a reason.
    assert!(failure.reason.len() <= 200, "{} bytes: {}", failure.reason.len(), failure.reason);
    failure.reason
}

#[test]
fn a_certificate_that_is_refused_is_told_in_words_with_its_cure() {
    let (authority, other) = (Authority::new(), Authority::new());
    let params = |name: &str, change: &dyn Fn(&mut CertificateParams)| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        params
    };
    let of = |params: CertificateParams| said(authority.server_config_of(params), &authority.file);
    let expired = params("localhost", &|params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 2, 3);
    });
    let expected =
        "TLS: the server's certificate expired on 2002-02-03: renew it on that server, unless the clock here is ahead";
    assert_eq!(of(expired), expected);
    let early = params("localhost", &|params| params.not_before = rcgen::date_time_ymd(3001, 1, 1));
    let expected = "TLS: the server's certificate is not valid before 3001-01-01: the clock here may be behind";
    assert_eq!(of(early), expected);
    let foreign = of(params("mirror.example", &|_| {}));
    assert!(foreign.starts_with("TLS: the server's certificate is not for localhost: use a name"), "{foreign}");
    let unknown = said(other.server_config("localhost"), &authority.file);
    assert!(unknown.contains("is not signed by a trusted authority") && unknown.contains("tls_ca_file"), "{unknown}");
    let client = params("localhost", &|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let client = of(client);
    assert!(client.contains("serverAuth"), "{client}");
    // As `openssl req -x509` makes it: its own authority, trusted by name.
    let key = KeyPair::generate().unwrap();
    let own = params("localhost", &|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let own = own.self_signed(&key).unwrap();
    let file = TempFile::new("own", own.pem().as_bytes());
    let authoritys = said(fake::config(&own, &key), &file.0);
    assert!(authoritys.contains("CA:TRUE") && authoritys.contains("CA:FALSE"), "{authoritys}");
}
