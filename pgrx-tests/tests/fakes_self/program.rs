//! The program and its handle.

use super::support::{Own, example, get, origin_name, texts, udp};
use asn_inventory_tests::fakes::Fakes;
use asn_inventory_tests::wait::wait_until;
use hickory_proto::op::ResponseCode;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

#[test]
fn the_settings_name_running_services_and_a_readable_key() {
    let fakes = Own::start();
    let settings = fakes.settings();
    let value =
        |name: &str| settings.iter().find(|(own, _)| own == &format!("asn_inventory.{name}")).unwrap().1.clone();
    assert_eq!(value("cymru_dns_servers"), fakes.dns().to_string());
    assert_eq!(value("cymru_whois"), fakes.whois().to_string());
    assert!(value("greynoise_url").starts_with("https://localhost:"));
    assert!(std::fs::read_to_string(value("tls_ca_file")).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let key = value("greynoise_api_key");
    let mode = std::fs::metadata(key.strip_prefix("file:").unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn the_fakes_end_with_their_handle() {
    let mut fakes = Own::start();
    let whois = fakes.whois();
    fakes.end();
    wait_until("the port to close", || TcpStream::connect(whois).is_err());
}

#[test]
fn a_second_handle_sees_the_same_fakes_and_leaves_them_running() {
    let fakes = example();
    let dir = fakes.ca_file();
    let other = Fakes::attach(dir.parent().unwrap());
    assert_eq!(other.pid(), fakes.pid());
    other.announce("198.51.100.0/24", &[64505], "FR");
    drop(other);
    assert_eq!(texts(&udp(&fakes, &origin_name("198.51.100.1"))).0, ResponseCode::NoError);
}

#[test]
fn the_demos_data_is_accepted() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/sources.json");
    let dir = std::env::temp_dir().join(format!("asn-inventory-fakes-demo-{}", std::process::id()));
    let fakes = Fakes::options().data(&file).start(&dir);
    let (_, texts) = texts(&udp(&fakes, &origin_name("218.92.0.67")));
    assert!(texts[0].starts_with("4134 | 218.92.0.0/16 | CN | apnic "), "{texts:?}");
    assert_eq!(get(&fakes, "218.92.0.67").unwrap().json()["classification"], "malicious");
    drop(fakes);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_control_port_refuses_invalid_commands_and_goes_on() {
    let fakes = Own::start();
    let ready = std::fs::read_to_string(fakes.ca_file().with_file_name("fake-sources.json")).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let mut control = BufReader::new(TcpStream::connect(ready["control"].as_str().unwrap()).unwrap());
    let mut tell = |line: &str| {
        control.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        control.read_line(&mut answer).unwrap();
        answer
    };
    for nonsense in [
        "",
        "no JSON",
        r#"{"do": "what"}"#,
        r#"{"do": "fault", "fault": {"kind": {"whois": "refuse"}, "next": 1}}"#,
        r#"{"do": "add", "data": {"announce": [{"prefix": "203.0.113.0/24", "origins": []}]}}"#,
    ] {
        assert!(tell(nonsense).starts_with(r#"{"error":"#), "{nonsense}");
    }
    assert_eq!(tell(r#"{"do": "fault", "fault": {"kind": {"dns": {"delay": 1}}, "next": 3}}"#), "{\"ok\":null}\n");
    assert_eq!(tell(r#"{"do": "times", "service": "dns", "ip": "203.0.113.1"}"#), "{\"ok\":0}\n");
}

#[test]
fn fakes_that_stay_outlive_their_handle_and_end_by_a_signal() {
    let dir = std::env::temp_dir().join(format!("asn-inventory-fakes-stay-{}", std::process::id()));
    let fakes = Fakes::options().stay().start(&dir);
    let (pid, whois) = (fakes.pid(), fakes.whois());
    drop(fakes);
    let pid = libc::pid_t::try_from(pid).unwrap();
    let answers = || TcpStream::connect(whois).is_ok();
    assert!(answers());
    // SAFETY: a signal to our own child, which is not reaped yet.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    wait_until("the port to close", || !answers());
    std::fs::remove_dir_all(dir).unwrap();
}

/// Started by this program once more, so that its standard error is a pipe that can be read to its end.
#[test]
fn fakes_that_stay_do_not_hold_standard_error_open() {
    let asked = "ASN_INVENTORY_FAKES_THAT_STAY";
    if let Some(dir) = std::env::var_os(asked) {
        drop(Fakes::options().stay().start(std::path::Path::new(&dir)));
        return;
    }
    let dir = std::env::temp_dir().join(format!("asn-inventory-fakes-pipe-{}", std::process::id()));
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fakes_self::program::fakes_that_stay_do_not_hold_standard_error_open", "--nocapture"])
        .env(asked, &dir)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stderr.take().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(std::io::copy(&mut pipe, &mut std::io::sink()).is_ok()));
    assert!(child.wait().unwrap().success());
    let fakes = Fakes::attach(&dir);
    let ended = told.recv_timeout(std::time::Duration::from_secs(30));
    std::process::Command::new("kill").arg(fakes.pid().to_string()).status().unwrap();
    wait_until("the port to close", || TcpStream::connect(fakes.whois()).is_err());
    std::fs::remove_dir_all(dir).unwrap();
    assert_eq!(ended, Ok(true), "the fakes hold the pipe");
}
