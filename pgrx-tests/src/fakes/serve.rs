//! The process: starts all services, says where they are, and ends when it is told to.

use super::control;
use super::script::{Command, Reply};
use super::whois::Gate;
use super::world::World;
use super::{dns, greynoise, tls};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// The authority's certificate, in the directory.
pub(super) const CA_FILE: &str = "ca.pem";
/// [`Ports`], in the directory.
const PORTS_FILE: &str = "fake-sources.json";

/// What the process is told.
#[derive(Debug)]
pub struct Options {
    /// Where it says how to reach it.
    pub dir: PathBuf,
    /// A script: a JSON array of [`Command`]s.
    pub data: Option<PathBuf>,
    /// Ends with its directory (or by SIGTERM), and not with its standard input.
    pub stay: bool,
}

/// Where the services are.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Ports {
    /// Team Cymru's DNS, UDP and TCP.
    pub dns: SocketAddr,
    /// Team Cymru's bulk whois.
    pub whois: SocketAddr,
    /// GreyNoise, without a slash at the end.
    pub greynoise_url: String,
    /// The control port.
    pub control: SocketAddr,
    /// The process.
    pub pid: u32,
}

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Runs to the end.
///
/// # Errors
/// When the script is wrong, or the services cannot start.
pub fn run(options: &Options) -> Outcome<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(options))
}

async fn serve(options: &Options) -> Outcome<()> {
    // Before anything can be seen: who sees it may send a signal at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let world = Arc::new(World::new());
    if let Some(data) = &options.data {
        teach(&world, data).map_err(|error| format!("{}: {error}", data.display()))?;
    }
    let (ca, acceptors) = tls::make()?;
    let (dns, _server) = dns::start(world.clone()).await?;
    let gate = Arc::new(Gate::open(world.clone()).await?);
    let https = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let control = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let ports = Ports {
        dns,
        whois: gate.address,
        greynoise_url: format!("https://{}", https.local_addr()?),
        control: control.local_addr()?,
        pid: std::process::id(),
    };
    tokio::spawn(greynoise::serve(https, acceptors, world.clone()));
    tokio::spawn(control::serve(control, world, gate));

    fs::create_dir_all(&options.dir)?;
    write_at_once(&options.dir.join(CA_FILE), ca.as_bytes(), 0o644)?;
    let file = options.dir.join(PORTS_FILE);
    let text = serde_json::to_string_pretty(&ports)?;
    write_at_once(&file, format!("{text}\n").as_bytes(), 0o644)?;
    println!("fake sources are ready: {}", file.display());

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = end_of_input(), if !options.stay => {}
        () = end_of_file(&file, &ports), if options.stay => {}
    }
    if Ports::read(&options.dir).is_ok_and(|found| found == ports) {
        // A file that stays tells of a process that is gone, which a caller can see for itself.
        let _ = fs::remove_file(&file);
    }
    Ok(())
}

fn teach(world: &World, data: &Path) -> Outcome<()> {
    let commands: Vec<Command> = serde_json::from_str(&fs::read_to_string(data)?)?;
    for (index, command) in commands.into_iter().enumerate() {
        if let Reply::Error(reason) = world.obey(command) {
            return Err(format!("command {}: {reason}", index + 1).into());
        }
    }
    Ok(())
}

/// The parent holds the other end, and lets go of it in whatever way it ends.
async fn end_of_input() {
    let (sender, ended) = oneshot::channel();
    // A thread of its own: a read from a pipe cannot be called off, and must not hold up the end.
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while matches!(io::stdin().read(&mut buffer), Ok(1..)) {}
        let _ = sender.send(());
    });
    let _ = ended.await;
}

/// Until the file that tells of this process is gone, or another's.
async fn end_of_file(file: &Path, ports: &Ports) {
    let dir = file.parent().unwrap_or(file);
    while Ports::read(dir).is_ok_and(|found| found == *ports) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

impl Ports {
    /// What a running process says in `dir`.
    ///
    /// # Errors
    /// When it does not.
    pub fn read(dir: &Path) -> io::Result<Ports> {
        Ok(serde_json::from_str(&fs::read_to_string(dir.join(PORTS_FILE))?)?)
    }
}

/// A file that is there with all of its text and its mode, or not at all.
fn write_at_once(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, text)?;
    fs::set_permissions(&part, fs::Permissions::from_mode(mode))?;
    fs::rename(&part, path)
}
