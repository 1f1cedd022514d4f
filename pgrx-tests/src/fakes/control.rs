//! The control port: a [`Command`] a line, a [`Reply`] a line, in their order. A reply means that the command
//! is in force.

use super::script::{Command, Reply};
use super::whois::Gate;
use super::world::World;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Obeys until the process ends.
pub async fn serve(listener: TcpListener, world: Arc<World>, gate: Arc<Gate>) {
    // An accept that fails is the client's: it went away before.
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let (world, gate) = (world.clone(), gate.clone());
            tokio::spawn(async move {
                // A controller that leaves early wants to know nothing more.
                let _ = talk(stream, &world, &gate).await;
            });
        }
    }
}

async fn talk(mut stream: TcpStream, world: &World, gate: &Gate) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (from, mut to) = stream.split();
    let mut lines = BufReader::new(from).lines();
    while let Some(line) = lines.next_line().await? {
        let reply = match serde_json::from_str::<Command>(&line) {
            Ok(command) => {
                let faults = matches!(command, Command::Fault(_) | Command::ClearFaults { .. });
                let reply = world.obey(command);
                match if faults { gate.apply().await } else { Ok(()) } {
                    Ok(()) => reply,
                    Err(error) => Reply::Error(error.to_string()),
                }
            }
            Err(error) => Reply::Error(error.to_string()),
        };
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        to.write_all(&text).await?;
    }
    Ok(())
}
