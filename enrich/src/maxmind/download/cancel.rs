//! The end of downloads that nobody wants any more, at once: a server that is silent, or sends byte after byte, is not
//! waited for.

use std::fmt;

use parking_lot::Mutex;
use ureq::Agent;

use super::error::DownloadError;

/// Who holds it may end the downloads of an update, from any thread.
#[derive(Default)]
pub struct Cancel(Mutex<State>);

#[derive(Default)]
struct State {
    is_cancelled: bool,
    /// What holds the connections of the present download.
    agent: Option<Agent>,
}

impl Cancel {
    /// Ends the present download, and keeps others from beginning.
    pub fn cancel(&self) {
        let agent = {
            let mut state = self.0.lock();
            state.is_cancelled = true;
            state.agent.take()
        };
        if let Some(agent) = agent {
            agent.shutdown();
        }
    }

    /// Whether that was asked for: no error means anything then.
    pub fn is_cancelled(&self) -> bool {
        self.0.lock().is_cancelled
    }

    /// Connections of this agent are to be ended, from now on, in place of those before.
    pub(super) fn covers(&self, agent: &Agent) -> Result<(), DownloadError> {
        let mut state = self.0.lock();
        if state.is_cancelled {
            return Err(DownloadError::Cancelled);
        }
        state.agent = Some(agent.clone());
        Ok(())
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}
