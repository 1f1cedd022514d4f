//! A clock that jumps: the server's processes see one of their own, by libfaketime, where SOAK_FAKETIME names it
//! (`scripts/soak.sh` does). What they wait with, the monotonic clock, goes on as it does on a machine whose clock is set.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use asn_inventory_tests::cluster::{Builder, Cluster};
use asn_inventory_tests::wait::wait_until;

use crate::DB;
use crate::rng::Rng;

/// In seconds: an hour and a day in both directions, a little, and none.
const JUMPS: [i64; 7] = [3600, -3600, 86_400, -86_400, 7, -7, 0];

/// The file that says how far the server's clock is off.
pub struct Clock {
    file: Option<PathBuf>,
}

impl Clock {
    /// The clock of a server that is built next.
    pub fn of(builder: Builder, dir: &std::path::Path) -> (Clock, Builder) {
        let Some(library) = std::env::var("SOAK_FAKETIME").ok().filter(|path| !path.is_empty()) else {
            return (Clock { file: None }, builder);
        };
        let clock = Clock { file: Some(dir.join("clock")) };
        clock.write(0);
        let file = clock.file.as_deref().unwrap_or(dir).display().to_string();
        let environment = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        (clock, environment.iter().fold(builder, |builder, (name, value)| builder.env(name, value)))
    }

    /// Whether there is one that can jump.
    pub fn jumps(&self) -> bool {
        self.file.is_some()
    }

    /// Lets it jump.
    pub fn jump(&self, rng: &mut Rng) {
        self.write(*rng.one(&JUMPS));
    }

    /// Sets it right, and waits until the server sees it.
    pub fn set_right(&self, cluster: &Cluster) {
        self.write(0);
        wait_until("the server's clock to be right", || off(cluster).abs() < 5.0);
    }

    /// That the server sees what the file says: without it no fault of this kind would be one.
    pub fn check(&self, cluster: &Cluster) {
        if self.jumps() {
            self.write(3600);
            wait_until("the server's clock to jump", || off(cluster) > 3000.0);
            self.set_right(cluster);
        }
    }

    /// By rename: no process reads half of it.
    fn write(&self, seconds: i64) {
        let Some(file) = &self.file else { return };
        let new = file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).expect("the clock's file");
        std::fs::rename(&new, file).expect("the clock's file");
    }
}

/// How far the server's clock is ahead, in seconds.
fn off(cluster: &Cluster) -> f64 {
    let server: f64 = cluster.value(DB, "SELECT extract(epoch FROM clock_timestamp())").parse().expect("a number");
    server - SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs_f64()
}
