//! The handle that tests hold: it starts the fakes, tells and asks them, and ends them when it is dropped.

use super::control::Command;
use super::data::{Announcement, AsName, Data, Quota, Rule, Scanner};
use super::fault::Fault;
use super::log::{Asked, Counts, Service};
use super::server::{CA_FILE, KEY_FILE, READY_FILE, Ready};
use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};

/// The standard error of fakes that stay, in their directory.
const LOG_FILE: &str = "fake-sources.log";

/// Running fakes. All methods take `&self`: tests may share them in a static, whose end they notice too.
///
/// Every method panics where the fakes do not do as they are told: a test cannot go on then.
#[derive(Debug)]
pub struct Fakes {
    dir: PathBuf,
    ready: Ready,
    control: Mutex<BufReader<TcpStream>>,
    /// `None`: they were not started to end with this handle.
    child: Option<Child>,
}

/// How the fakes are to be started; [`Fakes::options`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    binary: Option<PathBuf>,
    data: Option<PathBuf>,
    stay: bool,
}

impl Options {
    /// The program; default: `fake-sources` beside the running one.
    #[must_use]
    pub fn binary(mut self, path: &Path) -> Self {
        self.binary = Some(path.to_path_buf());
        self
    }

    /// A file with data to begin with.
    #[must_use]
    pub fn data(mut self, file: &Path) -> Self {
        self.data = Some(file.to_path_buf());
        self
    }

    /// They outlive the handle and this process, until a SIGTERM to [`Fakes::pid`]: for the demo.
    #[must_use]
    pub fn stay(mut self) -> Self {
        self.stay = true;
        self
    }

    /// Starts the fakes, with their files in `dir`, and waits until they answer. A process that reads the key and the
    /// certificate must be able to enter `dir`.
    ///
    /// # Panics
    /// When they do not start.
    #[must_use]
    pub fn start(self, dir: &Path) -> Fakes {
        let program = self.binary.unwrap_or_else(beside_this_program);
        let mut command = std::process::Command::new(&program);
        command.arg("--dir").arg(dir).stdout(Stdio::piped());
        if let Some(data) = &self.data {
            command.arg("--data").arg(data);
        }
        if self.stay {
            // An interrupt in the terminal must not end fakes that stay. They must not hold the caller's standard error
            // open either: a reader of it, as in `make demo 2>&1 | tee`, would wait as long as the fakes run.
            let said = fs::create_dir_all(dir).and_then(|()| fs::File::create(dir.join(LOG_FILE)));
            let said = said.unwrap_or_else(|e| panic!("{}: {e}", dir.join(LOG_FILE).display()));
            command.arg("--stay").stdin(Stdio::null()).stderr(said).process_group(0);
        } else {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{} does not start: {e}", program.display()));
        let mut line = String::new();
        let output = child.stdout.take().unwrap_or_else(|| panic!("{} has no output", program.display()));
        let read = BufReader::new(output).read_line(&mut line);
        if !read.is_ok_and(|length| length > 0) {
            let ended = child.wait();
            panic!("{} is not ready; it ended with {ended:?}", program.display());
        }
        let mut fakes = Fakes::attach(dir);
        fakes.child = (!self.stay).then_some(child);
        fakes
    }
}

/// Test programs are in `deps`, the others one directory further up.
fn beside_this_program() -> PathBuf {
    let this = std::env::current_exe().unwrap_or_else(|e| panic!("this program's path: {e}"));
    this.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("fake-sources"))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("no fake-sources beside {}: build it first", this.display()))
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(Json),
    Error(String),
}

impl Fakes {
    /// Starts the fakes as [`Options::start`] does, without data.
    #[must_use]
    pub fn start(dir: &Path) -> Fakes {
        Fakes::options().start(dir)
    }

    /// To start them otherwise.
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

    /// A handle to fakes that run already, with their files in `dir`. It does not end them.
    #[must_use]
    pub fn attach(dir: &Path) -> Fakes {
        let file = dir.join(READY_FILE);
        let text = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let ready: Ready = serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let control = TcpStream::connect(ready.control).unwrap_or_else(|e| panic!("the fakes at {ready:?}: {e}"));
        Fakes { dir: dir.to_path_buf(), ready, control: Mutex::new(BufReader::new(control)), child: None }
    }

    /// Where Team Cymru's DNS is, UDP and TCP.
    #[must_use]
    pub fn dns(&self) -> SocketAddr {
        self.ready.dns
    }

    /// Where Team Cymru's whois is.
    #[must_use]
    pub fn whois(&self) -> SocketAddr {
        self.ready.whois
    }

    /// Where GreyNoise is; by the name that its certificate is for.
    #[must_use]
    pub fn greynoise_url(&self) -> String {
        format!("https://localhost:{}", self.ready.greynoise.port())
    }

    /// The authority that vouches for GreyNoise, PEM.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join(CA_FILE)
    }

    /// The file with the key that GreyNoise wants unless [`Fakes::expect_key`] says otherwise.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.dir.join(KEY_FILE)
    }

    /// The process id of the fakes.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.ready.pid
    }

    /// The extension's settings that make it ask the fakes.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let absolute = |path: PathBuf| fs::canonicalize(&path).unwrap_or(path).display().to_string();
        [
            ("cymru_dns_servers", self.dns().to_string()),
            ("cymru_whois", self.whois().to_string()),
            ("greynoise_url", self.greynoise_url()),
            ("tls_ca_file", absolute(self.ca_file())),
            ("greynoise_api_key", format!("file:{}", absolute(self.key_file()))),
        ]
        .map(|(name, value)| (format!("asn_inventory.{name}"), value))
        .into()
    }

    /// Announces a prefix, registered long ago with `arin`.
    pub fn announce(&self, prefix: &str, origins: &[u32], country: &str) {
        self.add(Data {
            announce: vec![Announcement {
                prefix: network(prefix),
                origins: origins.to_vec(),
                country: country.into(),
                registry: "arin".into(),
                allocated: "2001-01-01".into(),
            }],
            ..Data::default()
        });
    }

    /// Ends an announcement, or the rule within exactly this network.
    pub fn withdraw(&self, prefix: &str) {
        self.add(Data { withdraw: vec![network(prefix)], ..Data::default() });
    }

    /// Announces every block of `length` inside `within`, with ASNs counted from `first_asn`.
    pub fn rule(&self, within: &str, length: u8, first_asn: u32, country: &str) {
        let rule = Rule { within: network(within), length, first_asn, country: country.into() };
        self.add(Data { rules: vec![rule], ..Data::default() });
    }

    /// Names an ASN; what follows the last comma is its country, as in the service's own names.
    pub fn name(&self, asn: u32, name: &str) {
        let country = name.rsplit_once(", ").map_or("", |(_, country)| country);
        self.add(Data {
            names: vec![AsName {
                asn,
                name: name.into(),
                country: country.into(),
                registry: "arin".into(),
                allocated: "2001-01-01".into(),
            }],
            ..Data::default()
        });
    }

    /// Lists an address at GreyNoise.
    pub fn scanner(&self, scanner: Scanner) {
        self.add(Data { scanners: vec![scanner], ..Data::default() });
    }

    /// Adds any data.
    pub fn add(&self, data: Data) {
        self.tell(&Command::Add { data })
    }

    /// The key that GreyNoise wants from now on; `None`: any, or none.
    pub fn expect_key(&self, key: Option<&str>) {
        self.tell(&Command::Key { key: key.map(str::to_owned) })
    }

    /// GreyNoise answers this many more requests, then 429 with this `Retry-After`.
    pub fn quota(&self, left: u64, retry_after: Option<&str>) {
        self.tell(&Command::Quota { quota: Some(Quota { left, retry_after: retry_after.map(str::to_owned) }) })
    }

    /// GreyNoise answers without end again.
    pub fn no_quota(&self) {
        self.tell(&Command::Quota { quota: None })
    }

    /// Sets a fault, which holds when this returns.
    pub fn fault(&self, fault: impl Into<Fault>) {
        self.tell(&Command::Fault { fault: fault.into() })
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.tell(&Command::ClearFaults { service: None })
    }

    /// Ends the faults of one service.
    pub fn clear_faults_of(&self, service: Service) {
        self.tell(&Command::ClearFaults { service: Some(service) })
    }

    /// The requests to a service, the earliest first.
    #[must_use]
    pub fn asked(&self, service: Service) -> Vec<Asked> {
        self.ask(&Command::Asked { service })
    }

    /// How many requests a service got.
    #[must_use]
    pub fn count(&self, service: Service) -> u64 {
        self.counts(service).requests
    }

    /// How many requests a service got, and about how many addresses.
    #[must_use]
    pub fn counts(&self, service: Service) -> Counts {
        self.ask(&Command::Counts { service })
    }

    /// How often a service was asked about an address.
    #[must_use]
    pub fn times(&self, service: Service, ip: &str) -> u64 {
        let ip: IpAddr = ip.parse().unwrap_or_else(|e| panic!("{ip}: {e}"));
        self.ask(&Command::Times { service, ip })
    }

    /// Empties the log and zeroes the counters.
    pub fn clear_log(&self) {
        self.tell(&Command::ClearLog)
    }

    fn tell(&self, command: &Command) {
        let _: Json = self.ask(command);
    }

    fn ask<T: DeserializeOwned>(&self, command: &Command) -> T {
        let mut line = serde_json::to_string(command).unwrap_or_else(|e| panic!("{command:?}: {e}"));
        line.push('\n');
        let mut answer = String::new();
        {
            let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = control.get_mut().write_all(line.as_bytes());
            let read = sent.and_then(|()| control.read_line(&mut answer));
            read.unwrap_or_else(|e| panic!("the fakes do not answer: {e}"));
        }
        let ok = match serde_json::from_str(&answer) {
            Ok(Answer::Ok(ok)) => ok,
            Ok(Answer::Error(error)) => panic!("the fakes refuse: {error}"),
            Err(error) => panic!("the fakes answer {answer:?}: {error}"),
        };
        serde_json::from_value(ok).unwrap_or_else(|e| panic!("the fakes answer {answer:?}: {e}"))
    }
}

impl Drop for Fakes {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn network(text: &str) -> IpNetwork {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}
