//! The whole program: services, control port, and the files that say where they are.

use super::control;
use super::data::Data;
use super::dns;
use super::door::Door;
use super::greynoise;
use super::log::Service;
use super::state::State;
use super::tls::Identities;
use super::whois;
use serde::{Deserialize, Serialize};
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The GreyNoise key that the fakes want until they are told otherwise: no secret.
pub const KEY: &str = "fake-greynoise-key";
/// Where everything is: [`Ready`] as JSON.
pub const READY_FILE: &str = "fake-sources.json";
/// The certificate authority.
pub const CA_FILE: &str = "ca.pem";
/// The key, for the extension to read.
pub const KEY_FILE: &str = "greynoise.key";

/// How the program is to run.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where its files go; made when it does not exist.
    pub dir: PathBuf,
    /// Data to begin with: a file with [`Data`] as JSON.
    pub data: Option<PathBuf>,
    /// Whether it outlives its standard input.
    pub stay: bool,
}

/// Where everything is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// The program's process id.
    pub pid: u32,
    /// Team Cymru by DNS, UDP and TCP.
    pub dns: SocketAddr,
    /// Team Cymru by whois.
    pub whois: SocketAddr,
    /// GreyNoise.
    pub greynoise: SocketAddr,
    /// Commands.
    pub control: SocketAddr,
}

/// Runs until SIGTERM, SIGINT or, unless it stays, the end of standard input.
///
/// # Errors
/// When a port, a file or the data is not to be had.
pub fn run(config: &Config) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(config));
    // A thread blocked on standard input must not hold the end up.
    runtime.shutdown_background();
    outcome
}

async fn serve(config: &Config) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let state = Arc::new(State::default());
    state.world().key = Some(KEY.to_owned());
    if let Some(file) = &config.data {
        let data = read_data(file).map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
        state.world().add(data).map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
    }
    fs::create_dir_all(&config.dir)?;
    let identities = Identities::generate()?;
    let (udp, tcp) = dns::bind().await?;
    let whois = Door::open(Service::Whois, Arc::clone(&state)).await?;
    let greynoise = Door::open(Service::Greynoise, Arc::clone(&state)).await?;
    let control = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let ready = Ready {
        pid: std::process::id(),
        dns: udp.local_addr()?,
        whois: whois.address(),
        greynoise: greynoise.address(),
        control: control.local_addr()?,
    };
    write_whole(&config.dir.join(CA_FILE), identities.ca_pem.as_bytes())?;
    write_whole(&config.dir.join(KEY_FILE), format!("{KEY}\n").as_bytes())?;
    let doors = vec![(Service::Whois, whois.watch()), (Service::Greynoise, greynoise.watch())];
    tokio::spawn(dns::serve_udp(Arc::clone(&state), udp));
    tokio::spawn(dns::serve_tcp(Arc::clone(&state), tcp));
    tokio::spawn(whois::serve(Arc::clone(&state), whois));
    tokio::spawn(greynoise::serve(Arc::clone(&state), greynoise, identities));
    tokio::spawn(control::serve(state, control, doors));
    // Last: who sees this file may rely on everything else.
    let file = config.dir.join(READY_FILE);
    write_whole(&file, serde_json::to_string_pretty(&ready)?.as_bytes())?;
    writeln!(io::stdout(), "ready: {}", file.display())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = end_of_input(config.stay) => {}
    }
    Ok(())
}

fn read_data(file: &Path) -> io::Result<Data> {
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

/// Standard input is a pipe that the starter holds: its end is the starter's end, however that came.
async fn end_of_input(stay: bool) {
    if stay {
        std::future::pending::<()>().await;
    }
    let mut input = tokio::io::stdin();
    let mut buffer = [0; 1024];
    while input.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// Writes a file that is either whole or not there. All may read it, under any umask: the servers run as another user
/// where the tests run as root.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    fs::write(&unfinished, content)?;
    fs::set_permissions(&unfinished, Permissions::from_mode(0o644))?;
    fs::rename(unfinished, path)
}
