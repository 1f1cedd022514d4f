//! A private PostgreSQL cluster: its own data directory, its own unix socket, no TCP port. It never
//! touches a system cluster, ends with its owner, and removes its directories, also after a panic.
//!
//! `initdb` runs once a process; every cluster starts from a copy of its result.

mod hold;
mod life;
mod place;
mod process;
mod running;
mod sql;
mod standby;

pub use place::{private_dir, target_dir};
pub use sql::{Notices, SqlFailure, query};

use place::place;
pub use process::server_command as program;
use process::{Server, run, server_command};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// The settings file that the harness owns, inside the data directory.
const SETTINGS: &str = "asn_inventory_harness.conf";

/// A running (or stopped) private cluster. All methods take `&self`: tests may share one in a static.
pub struct Cluster {
    dir: PathBuf,
    socket_dir: PathBuf,
    options: Builder,
    server: Mutex<Option<Server>>,
}

/// How a cluster is to be; [`Cluster::builder`].
#[derive(Clone)]
pub struct Builder {
    preload: bool,
    durable: bool,
    conf: Vec<(String, String)>,
    env: Vec<(String, String)>,
    kept_in: Option<PathBuf>,
    stack: Option<u64>,
}

impl Builder {
    /// Whether `shared_preload_libraries` names the extension; default: yes.
    #[must_use]
    pub fn preload(mut self, yes: bool) -> Self {
        self.preload = yes;
        self
    }

    /// Whether commits reach the disk, as in production; default: no. Benchmarks want it.
    #[must_use]
    pub fn durable(mut self, yes: bool) -> Self {
        self.durable = yes;
        self
    }

    /// A line of postgresql.conf. A later one wins over an earlier one and over the harness's own.
    #[must_use]
    pub fn conf(mut self, name: &str, value: &str) -> Self {
        self.conf.push((name.into(), value.into()));
        self
    }

    /// A variable of the server's environment. The caller's own keys and flags are not passed on.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The most bytes of the stack of each process, as `ulimit -s` before the start of a server.
    #[must_use]
    pub fn stack(mut self, bytes: u64) -> Self {
        self.stack = Some(bytes);
        self
    }

    /// The cluster lives in `dir`, which must not exist, and outlives this process: for the demo.
    #[must_use]
    pub fn kept_in(mut self, dir: &Path) -> Self {
        self.kept_in = Some(dir.to_path_buf());
        self
    }

    /// Makes the cluster and waits until it takes connections.
    ///
    /// # Panics
    /// With the server's log, when it does not start.
    #[must_use]
    pub fn start(self) -> Cluster {
        let cluster = Cluster::make_dirs(self);
        copy_dir(template(), &cluster.data_dir());
        let main = cluster.data_dir().join("postgresql.conf");
        let text = fs::read_to_string(&main).unwrap_or_else(|e| panic!("{}: {e}", main.display()));
        write_file(&main, &format!("{text}\ninclude '{SETTINGS}'\n"));
        cluster.write_settings();
        cluster.start();
        cluster
    }
}

impl Cluster {
    /// A cluster with the extension preloaded, and not durable.
    #[must_use]
    pub fn builder() -> Builder {
        Builder { preload: true, durable: false, conf: Vec::new(), env: Vec::new(), kept_in: None, stack: None }
    }

    fn make_dirs(options: Builder) -> Cluster {
        let dir = match &options.kept_in {
            Some(dir) => {
                place().make_dir(dir);
                dir.clone()
            }
            None => place().new_dir(),
        };
        let socket_dir = socket_dir(&dir);
        let cluster = Cluster { dir, socket_dir, options, server: Mutex::new(None) };
        place().make_dir(&cluster.maxmind_dir());
        cluster
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Where the operator of this cluster puts `.mmdb` files (`asn_inventory.maxmind_dir`).
    #[must_use]
    pub fn maxmind_dir(&self) -> PathBuf {
        self.dir.join("maxmind")
    }

    /// The directory of the unix socket: libpq's `host`.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// Copies every `.mmdb` file of `from` into [`Self::maxmind_dir`], each in one step (copy, rename).
    ///
    /// # Panics
    /// When files cannot be read or written.
    pub fn install_mmdb(&self, from: &Path) {
        let entries = fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        for source in entries.flatten().map(|entry| entry.path()) {
            if source.extension().is_some_and(|ext| ext == "mmdb") {
                let name = source.file_name().unwrap_or_default().to_string_lossy();
                self.install_mmdb_as(&source, &name);
            }
        }
    }

    /// Copies one file into [`Self::maxmind_dir`] under `name`, in one step.
    ///
    /// # Panics
    /// When it cannot be read or written.
    pub fn install_mmdb_as(&self, source: &Path, name: &str) {
        let part = self.maxmind_dir().join(format!("{name}.part"));
        fs::copy(source, &part).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
        place().hand_over(&part);
        fs::rename(&part, self.maxmind_dir().join(name)).unwrap_or_else(|e| panic!("{}: {e}", part.display()));
    }

    /// The whole log of the server, from its first start.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Writes the harness's settings: its own, then the builder's.
    fn write_settings(&self) {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        };
        line("listen_addresses", "");
        line("unix_socket_directories", &self.socket_dir.to_string_lossy());
        line("port", "5432");
        line("logging_collector", "off");
        line("log_line_prefix", "%m [%p] %b %d: ");
        line("timezone", "UTC");
        line("log_timezone", "UTC");
        if self.options.preload {
            line("shared_preload_libraries", "asn_inventory");
        }
        if !self.options.durable {
            line("fsync", "off");
            line("full_page_writes", "off");
        }
        line("asn_inventory.maxmind_dir", &self.maxmind_dir().to_string_lossy());
        // A test asks no outside service. Tests of the network sources name their fakes.
        line("asn_inventory.cymru", "off");
        for (name, value) in &self.options.conf {
            line(name, value);
        }
        let path = self.data_dir().join(SETTINGS);
        write_file(&path, &text);
        place().hand_over(&path);
    }

    /// Appends one setting to the harness's file.
    fn append_setting(&self, name: &str, value: &str) {
        let path = self.data_dir().join(SETTINGS);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let value = value.replace('\'', "''");
        write_file(&path, &format!("{text}{name} = '{value}'\n"));
    }
}

fn write_file(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// A socket's path may have 107 bytes; a deep checkout takes more, so then the socket lives in /tmp.
fn socket_dir(dir: &Path) -> PathBuf {
    if dir.as_os_str().len() + "/.s.PGSQL.5432".len() <= 107 {
        return dir.to_path_buf();
    }
    for attempt in 0..1000 {
        let short = PathBuf::from(format!("/tmp/asn_inventory.{}.{attempt}", std::process::id()));
        if !short.exists() {
            place().make_dir(&short);
            return short;
        }
    }
    panic!("no directory for a socket can be made in /tmp");
}

/// A cluster as `initdb` leaves it, made once a process.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let dir = place().new_dir().join("data");
        run(server_command("initdb")
            .args(["--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "-U", "postgres"])
            .arg("-D")
            .arg(&dir));
        dir
    })
}

/// Copies a directory with owners and modes kept.
fn copy_dir(from: &Path, to: &Path) {
    run(std::process::Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to));
}
