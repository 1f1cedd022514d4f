//! Whether a process that shows in each of its turns that it works still does: the launcher, which turns once a second, and
//! the workers, which turn every few seconds.

use std::time::Duration;

/// A process that has shown nothing yet, or no longer runs, may be about to start.
const START: Duration = Duration::from_secs(5);
/// Longest turn, a slow machine included.
const TURN: Duration = Duration::from_secs(60);
/// Longest piece of an import: the sync of a large file to a slow disk.
const IMPORT: Duration = Duration::from_secs(600);

/// What is known of the process.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// It is among the server's processes.
    pub runs: bool,
    /// It is importing files, or a worker is within a step of its work.
    pub imports: bool,
    /// How long ago it last showed that it works, or the server started, whichever was later.
    pub silent: Duration,
}

/// How the process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It works, or is just being started.
    Works,
    /// No such process runs.
    Missing,
    /// It has not taken a turn for too long.
    Hangs,
}

impl Heartbeat {
    /// How the process stands.
    ///
    /// ```
    /// use enrich::heartbeat::{Heartbeat, Standing};
    /// use std::time::Duration;
    ///
    /// let beat = Heartbeat { runs: true, imports: false, silent: Duration::from_secs(61) };
    /// assert_eq!(beat.standing(), Standing::Hangs);
    /// ```
    pub fn standing(self) -> Standing {
        let (limit, otherwise) = match self {
            Heartbeat { runs: false, .. } => (START, Standing::Missing),
            Heartbeat { imports: true, .. } => (IMPORT, Standing::Hangs),
            _ => (TURN, Standing::Hangs),
        };
        if self.silent > limit { otherwise } else { Standing::Works }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_hangs_after_a_minute_and_while_it_imports_after_ten() {
        let standing =
            |runs, imports, silent| Heartbeat { runs, imports, silent: Duration::from_millis(silent) }.standing();
        for (runs, imports, limit, then) in [
            (true, false, 60_000, Standing::Hangs),
            (true, true, 600_000, Standing::Hangs),
            (false, false, 5_000, Standing::Missing),
            // It ended in the middle of an import.
            (false, true, 5_000, Standing::Missing),
        ] {
            assert_eq!(standing(runs, imports, 0), Standing::Works);
            assert_eq!(standing(runs, imports, limit), Standing::Works, "{runs} {imports}");
            assert_eq!(standing(runs, imports, limit + 1), then, "{runs} {imports}");
        }
    }
}
