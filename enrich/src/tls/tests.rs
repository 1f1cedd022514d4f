use std::fs;
use std::path::PathBuf;

use rcgen::generate_simple_self_signed;

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
    let failure = trusted(Vec::new(), Some(path)).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert!(failure.reason.contains(&path.display().to_string()), "{}", failure.reason);
    failure.reason
}

#[test]
fn a_file_adds_its_certificates_to_the_systems() {
    let file = TempFile::new("two", (pem() + "\n# another\n" + &pem()).as_bytes());
    let system = vec![Certificate::from_der(b"the system's").to_owned()];
    assert_eq!(trusted(system, Some(&file.0)).unwrap().len(), 3);
}

#[test]
fn a_file_that_adds_nothing_is_refused_by_name() {
    let missing = std::env::temp_dir().join(format!("enrich-tls-{}-missing", std::process::id()));
    refused(&missing);
    assert!(refused(&std::env::temp_dir()).contains("not a regular file"));
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
    let failure = trusted(Vec::new(), None).unwrap_err();
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
