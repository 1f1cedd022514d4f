//! Commands to running fakes: one JSON object a line on a loopback port, each answered by a line, either
//! `{"ok": …}` or `{"error": "…"}`.
//!
//! ```json
//! {"do": "add", "data": {"announce": [{"prefix": "203.0.113.0/24", "origins": [64500], "country": "US"}]}}
//! {"do": "fault", "fault": {"kind": {"dns": {"delay": 200}}, "next": 3, "within": "203.0.113.0/24"}}
//! {"do": "asked", "service": "whois"}
//! ```

use super::data::{Data, Quota};
use super::fault::Fault;
use super::log::Service;
use super::state::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A million announcements in one command are less.
const LONGEST_COMMAND: u64 = 256 * 1024 * 1024;

/// The commands and queries.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Adds data, and removes its withdrawals.
    Add {
        /// The data.
        data: Data,
    },
    /// The key that GreyNoise wants from now on; null: any, or none.
    Key {
        /// The key.
        key: Option<String>,
    },
    /// How much GreyNoise answers from now on; null: everything.
    Quota {
        /// The quota.
        quota: Option<Quota>,
    },
    /// Sets a fault. Answered once it holds.
    Fault {
        /// The fault.
        fault: Fault,
    },
    /// Ends the faults of a service, or of all. Answered once they are over.
    ClearFaults {
        /// The service; null: all.
        service: Option<Service>,
    },
    /// The log of a service: an array of [`super::log::Asked`].
    Asked {
        /// Whose.
        service: Service,
    },
    /// [`super::log::Counts`].
    Counts {
        /// The service.
        service: Service,
    },
    /// How often a service was asked about an address: a number.
    Times {
        /// The client.
        service: Service,
        /// About which.
        ip: IpAddr,
    },
    /// Empties the log and zeroes the counters.
    ClearLog,
}

/// The doors that faults open and close.
pub type Doors = Vec<(Service, watch::Receiver<bool>)>;

/// Answers connections.
pub async fn serve(state: Arc<State>, listener: TcpListener, doors: Doors) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let (state, doors) = (Arc::clone(&state), doors.clone());
            tokio::spawn(async move {
                let _ = connection(&state, stream, doors).await;
            });
        }
    }
}

async fn connection(state: &State, stream: TcpStream, mut doors: Doors) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut reader).take(LONGEST_COMMAND).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let answer = match serde_json::from_slice(&line) {
            Ok(command) => obey(state, command, &mut doors).await,
            Err(error) => Err(error.to_string()),
        };
        let answer = answer.map_or_else(|error| json!({ "error": error }), |ok| json!({ "ok": ok }));
        write.write_all(format!("{answer}\n").as_bytes()).await?;
    }
}

async fn obey(state: &State, command: Command, doors: &mut Doors) -> Result<Json, String> {
    match command {
        Command::Add { data } => state.world().add(data)?,
        Command::Key { key } => state.world().key = key,
        Command::Quota { quota } => state.world().quota = quota,
        Command::Fault { fault } => {
            state.faults().set(fault)?;
            settle(state, doors).await;
        }
        Command::ClearFaults { service } => {
            state.faults().clear(service);
            settle(state, doors).await;
        }
        Command::Asked { service } => {
            return serde_json::to_value(state.log().asked(service)).map_err(|e| e.to_string());
        }
        Command::Counts { service } => {
            return serde_json::to_value(state.log().counts(service)).map_err(|e| e.to_string());
        }
        Command::Times { service, ip } => return Ok(state.log().times(service, ip).into()),
        Command::ClearLog => state.log().clear(),
    }
    Ok(Json::Null)
}

/// Applies changed faults: they hold from the next request.
async fn settle(state: &State, doors: &mut Doors) {
    state.faults_changed();
    for (service, open) in doors {
        let wanted = !state.faults().refuses(*service);
        // The door is gone only when the program ends.
        let _ = open.wait_for(|open| *open == wanted).await;
    }
}
