//! All that the services know and were asked, behind one lock.

use super::faults::{Fault, FaultKind, Faults, GreyNoiseFault, Trouble, WhoisFault};
use super::log::{Asked, Log, Question, Service, Transport, now};
use super::scanners::Scanners;
use super::script::{Command, Reply};
use super::table::Table;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What is behind the lock.
#[derive(Debug, Default)]
pub struct State {
    /// Announcements and names.
    pub table: Table,
    /// GreyNoise's list and terms.
    pub scanners: Scanners,
    /// What goes wrong.
    pub faults: Faults,
    /// What was asked.
    pub log: Log,
}

/// The services' common state.
#[derive(Debug)]
pub struct World {
    state: Mutex<State>,
    /// Counts how often kept connections had to be closed.
    closings: watch::Sender<u64>,
}

impl World {
    /// Nothing is known and nothing goes wrong.
    pub fn new() -> World {
        World { state: Mutex::default(), closings: watch::Sender::new(0) }
    }

    /// The state. Held for a moment, never across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes when kept connections have to be closed.
    pub fn closings(&self) -> watch::Receiver<u64> {
        self.closings.subscribe()
    }

    /// Whether whois refuses connections now.
    pub fn whois_refuses(&self) -> bool {
        self.state().faults.has(&FaultKind::Whois(WhoisFault::Refuse))
    }

    /// Obeys.
    pub fn obey(&self, command: Command) -> Reply {
        match self.try_obey(command) {
            Ok(reply) => reply,
            Err(reason) => Reply::Error(reason),
        }
    }

    fn try_obey(&self, command: Command) -> Result<Reply, String> {
        let mut state = self.state();
        match command {
            Command::Announce(announcement) => state.table.announce(announcement)?,
            Command::Withdraw { prefix } => state.table.withdraw(prefix),
            Command::Rule(rule) => state.table.rule(rule)?,
            Command::Name(name) => state.table.name(name),
            Command::Scanner(scanner) => state.scanners.list(scanner),
            Command::ForgetScanner { ip } => state.scanners.forget(ip),
            Command::ExpectKey { key } => state.scanners.expect_key(key),
            Command::Quota { limit, retry_after } => state.scanners.set_quota(limit, retry_after),
            Command::Fault(fault) => {
                self.close_kept_for(&fault);
                state.faults.set(fault)?;
            }
            Command::ClearFaults { service } => state.faults.clear(service),
            Command::Log { service } => return Ok(Reply::Log(state.log.entries(service))),
            Command::Counts { service } => return Ok(Reply::Counts(state.log.counts(service))),
            Command::Times { service, ip } => return Ok(Reply::Times(state.log.times(service, ip))),
            Command::ClearLog {} => state.log.clear(),
        }
        Ok(Reply::Done {})
    }

    /// A kept connection has the right certificate already: the client must come again to see the wrong one.
    fn close_kept_for(&self, fault: &Fault) {
        if fault.kind == FaultKind::Greynoise(GreyNoiseFault::WrongName) {
            self.closings.send_modify(|closings| *closings += 1);
        }
    }
}

/// A request on its way to its answer.
#[derive(Debug)]
pub struct Request<'a> {
    /// Of whom.
    pub service: Service,
    /// About what.
    pub question: Question,
    /// In its own words.
    pub text: &'a str,
    /// How it came.
    pub transport: Transport,
    /// Whether it has a key.
    pub key: bool,
    /// About which addresses.
    pub addresses: &'a [IpAddr],
}

impl World {
    /// Decides one request in one step, so that the log never shows a request whose fault is not counted yet:
    /// what it meets, what `answer` makes of it, and the note of both. `answer` also says how the log names
    /// what it did.
    pub fn decide<T>(
        &self,
        request: &Request<'_>,
        answer: impl FnOnce(&mut State, &Trouble) -> (T, String),
    ) -> (Trouble, T) {
        let at = now();
        let mut state = self.state();
        let trouble = state.faults.meet(request.service, &request.question, request.addresses, request.text);
        let (result, plain) = answer(&mut state, &trouble);
        let asked = Asked {
            service: request.service,
            question: request.question,
            text: request.text.to_owned(),
            at,
            transport: request.transport,
            key: request.key,
            answer: match &trouble.fault {
                Some((kind, _)) => format!("{kind:?}"),
                None => plain,
            },
        };
        state.log.note(asked, request.addresses);
        (trouble, result)
    }
}
