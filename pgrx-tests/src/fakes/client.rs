//! The tests' end: starts the process, teaches it, reads back what it was asked.

use super::faults::Fault;
use super::log::{Asked, Counts, Service};
use super::scanners::Scanner;
use super::script::{Command, Reply};
use super::serve::{CA_FILE, Ports};
use super::table::{Announcement, AsName, Rule};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};

/// The key file, in the directory.
const KEY_FILE: &str = "greynoise.key";

/// Running fake sources. They end when this is dropped, unless they were started to stay. Methods take
/// `&self`: tests may share one in a static.
///
/// All methods that speak with the process panic when it is gone or refuses: a test cannot go on without it.
pub struct Fakes {
    dir: PathBuf,
    ports: Ports,
    control: Mutex<BufReader<TcpStream>>,
    /// Its standard input holds it up. `None`: it stays.
    child: Option<Child>,
}

impl Fakes {
    /// The key in the key file from the start, which [`Self::settings`] names.
    pub const KEY: &str = "fake-greynoise-key";

    /// Starts them with nothing known and nothing wrong, for as long as this value (or this process) lives.
    /// `dir` is made where it is missing.
    ///
    /// # Panics
    /// When they do not start.
    #[must_use]
    pub fn start(dir: &Path) -> Fakes {
        Fakes::launch(dir, None, false)
    }

    /// As [`Self::start`], with a script.
    ///
    /// # Panics
    /// When they do not start.
    #[must_use]
    pub fn start_with(dir: &Path, data: &Path) -> Fakes {
        Fakes::launch(dir, Some(data), false)
    }

    /// As [`Self::start_with`], and they outlive this process: until `dir` is removed. For the demo.
    ///
    /// # Panics
    /// When they do not start.
    #[must_use]
    pub fn start_to_stay(dir: &Path, data: &Path) -> Fakes {
        Fakes::launch(dir, Some(data), true)
    }

    fn launch(dir: &Path, data: Option<&Path>, stay: bool) -> Fakes {
        fs::create_dir_all(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let dir = fs::canonicalize(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        write_key(&dir, Fakes::KEY);
        let program = program();
        let mut command = std::process::Command::new(&program);
        command.arg("--dir").arg(&dir).stdout(Stdio::piped());
        if let Some(data) = data {
            command.arg("--data").arg(data);
        }
        if stay {
            // Not of the caller's group: an interrupt of the demo is none of theirs.
            command.arg("--stay").stdin(Stdio::null()).process_group(0);
        } else {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{} does not start: {e}", program.display()));
        let mut ready = String::new();
        if let Some(output) = child.stdout.take() {
            // No line at all is what the next step finds out.
            let _ = BufReader::new(output).read_line(&mut ready);
        }
        assert!(ready.contains("ready"), "{} did not get ready; its errors are above", program.display());
        let ports = Ports::read(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let control = TcpStream::connect(ports.control).unwrap_or_else(|e| panic!("{}: {e}", ports.control));
        let _ = control.set_nodelay(true);
        let child = if stay { None } else { Some(child) };
        Fakes { dir, ports, control: Mutex::new(BufReader::new(control)), child }
    }

    /// Team Cymru's DNS, UDP and TCP.
    #[must_use]
    pub fn dns(&self) -> SocketAddr {
        self.ports.dns
    }

    /// Team Cymru's bulk whois.
    #[must_use]
    pub fn whois(&self) -> SocketAddr {
        self.ports.whois
    }

    /// GreyNoise: `https://127.0.0.1:port`.
    #[must_use]
    pub fn greynoise_url(&self) -> &str {
        &self.ports.greynoise_url
    }

    /// The certificate (PEM) of the authority that vouches for GreyNoise.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join(CA_FILE)
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.ports.pid
    }

    /// The settings that point a cluster here.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let settings = [
            ("cymru_dns_servers", self.dns().to_string()),
            ("cymru_whois", self.whois().to_string()),
            ("greynoise_url", self.greynoise_url().to_owned()),
            ("greynoise_api_key", format!("file:{}", self.dir.join(KEY_FILE).display())),
            ("tls_ca_file", self.ca_file().display().to_string()),
        ];
        settings.into_iter().map(|(name, value)| (format!("asn_inventory.{name}"), value)).collect()
    }

    /// Puts another key into the key file, in one step.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_key(&self, key: &str) {
        write_key(&self.dir, key);
    }

    /// Announces a prefix.
    pub fn announce(&self, prefix: &str, origins: &[u32], country: &str) {
        self.tell(Command::Announce(Announcement {
            prefix: prefix.parse().unwrap_or_else(|e| panic!("{prefix}: {e}")),
            origins: origins.to_vec(),
            country: country.into(),
            registry: "arin".into(),
            allocated: "2001-02-03".into(),
        }));
    }

    /// Announces a prefix no longer.
    pub fn withdraw(&self, prefix: &str) {
        let prefix = prefix.parse().unwrap_or_else(|e| panic!("{prefix}: {e}"));
        self.tell(Command::Withdraw { prefix });
    }

    /// Announces every prefix of `length` bits in a range, the n-th by `first_asn` + n.
    pub fn announce_all(&self, within: &str, length: u8, first_asn: u32) {
        let within = within.parse().unwrap_or_else(|e| panic!("{within}: {e}"));
        self.tell(Command::Rule(Rule { within, length, first_asn, asns: None }));
    }

    /// Names an ASN.
    pub fn name(&self, asn: u32, name: &str) {
        self.tell(Command::Name(AsName {
            asn,
            name: name.into(),
            country: name.rsplit_once(", ").map(|(_, country)| country.into()).unwrap_or_default(),
            registry: "arin".into(),
            allocated: "2001-02-03".into(),
        }));
    }

    /// GreyNoise lists an address.
    pub fn scanner(&self, scanner: Scanner) {
        self.tell(Command::Scanner(scanner));
    }

    /// GreyNoise lists an address no longer.
    pub fn forget_scanner(&self, ip: Ipv4Addr) {
        self.tell(Command::ForgetScanner { ip });
    }

    /// GreyNoise wants this key ([`Self::KEY`] is what the cluster has); `None`: none.
    pub fn expect_key(&self, key: Option<&str>) {
        self.tell(Command::ExpectKey { key: key.map(Into::into) });
    }

    /// GreyNoise gives so many more answers, then 429; `None`: any number.
    pub fn quota(&self, limit: Option<u64>, retry_after: Option<&str>) {
        self.tell(Command::Quota { limit, retry_after: retry_after.map(Into::into) });
    }

    /// Something goes wrong from now on.
    pub fn fault(&self, fault: impl Into<Fault>) {
        self.tell(Command::Fault(fault.into()));
    }

    /// All is well again.
    pub fn clear_faults(&self) {
        self.tell(Command::ClearFaults { service: None });
    }

    /// What one service was asked, the oldest first (at most 100,000 requests are kept).
    #[must_use]
    pub fn asked(&self, service: Service) -> Vec<Asked> {
        match self.tell(Command::Log { service }) {
            Reply::Log(entries) => entries,
            other => panic!("no log, but {other:?}"),
        }
    }

    /// How many requests one service got: queries, sessions, HTTP requests.
    #[must_use]
    pub fn count(&self, service: Service) -> u64 {
        self.counts(service).requests
    }

    /// How much one service was asked.
    #[must_use]
    pub fn counts(&self, service: Service) -> Counts {
        match self.tell(Command::Counts { service }) {
            Reply::Counts(counts) => counts,
            other => panic!("no counts, but {other:?}"),
        }
    }

    /// How often one service was asked about `ip`.
    ///
    /// # Panics
    /// When it is no address.
    #[must_use]
    pub fn times_asked(&self, service: Service, ip: &str) -> u64 {
        let ip: IpAddr = ip.parse().unwrap_or_else(|e| panic!("{ip}: {e}"));
        match self.tell(Command::Times { service, ip }) {
            Reply::Times(times) => times,
            other => panic!("no number, but {other:?}"),
        }
    }

    /// Log and counts begin anew.
    pub fn clear_log(&self) {
        self.tell(Command::ClearLog {});
    }

    /// Gives any command. When this returns, it is in force.
    ///
    /// # Panics
    /// When the process is gone, or refuses.
    pub fn tell(&self, command: Command) -> Reply {
        match self.exchange(&command) {
            Ok(Reply::Error(reason)) => panic!("{command:?} is refused: {reason}"),
            Ok(reply) => reply,
            Err(error) => panic!("the fake sources (process {}) do not answer: {error}", self.pid()),
        }
    }

    fn exchange(&self, command: &Command) -> io::Result<Reply> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        control.get_mut().write_all(&line)?;
        let mut reply = String::new();
        control.read_line(&mut reply)?;
        Ok(serde_json::from_str(&reply)?)
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

/// The program beside the caller's own: a test is in `target/<profile>/deps`, a binary one above.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_else(|e| panic!("where is this program? {e}"));
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("fake-sources"))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("not built: cargo build -p asn_inventory_tests --bin fake-sources"))
}

/// A secret's file has to be its reader's or root's, and nobody else may write it. The servers of tests run as
/// the directory's owner; where root owns that and runs the tests, as a user who may only read.
fn write_key(dir: &Path, key: &str) {
    let path = dir.join(KEY_FILE);
    let part = path.with_extension("part");
    let mode = |mode| fs::set_permissions(&part, fs::Permissions::from_mode(mode));
    let write = || -> io::Result<()> {
        let owner = fs::metadata(dir)?;
        fs::write(&part, format!("{key}\n"))?;
        mode(0o600)?;
        let me = fs::metadata(&part)?.uid();
        if me == 0 && owner.uid() == 0 {
            mode(0o644)?;
        } else if me == 0 {
            chown(&part, Some(owner.uid()), Some(owner.gid()))?;
        }
        fs::rename(&part, &path)
    };
    write().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
