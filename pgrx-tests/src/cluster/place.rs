//! The places of files and the user of servers: the private installation that `make build` leaves, a directory of this
//! process for its clusters, and the user that servers run as when the caller is root.
//!
//! `scripts/run.sh` says all three by environment variables; without it, the target directory's are used.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The installation, the working directory and the servers' user, the same for a whole process.
pub struct Place {
    /// Where `postgres`, `initdb`, `psql` … are.
    pub bin: PathBuf,
    /// The servers' user and group; `None`: the caller's own.
    pub user: Option<(u32, u32)>,
    /// This process's directory: the template and a directory for each cluster.
    pub home: PathBuf,
    /// Held as long as the process lives: a directory without a holder is left over.
    _held: File,
    next: AtomicU32,
}

/// This process's place, found out once.
///
/// # Panics
/// Where nothing is built yet, or directories cannot be made.
pub fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(Place::find)
}

impl Place {
    fn find() -> Place {
        let target = target_dir();
        let tree = env_path("ASN_INVENTORY_TREE").unwrap_or_else(|| target.join("pg").join("current"));
        let work = env_path("ASN_INVENTORY_WORK").unwrap_or_else(|| target.join("clusters"));
        let bin = fs::canonicalize(tree.join("bin"))
            .unwrap_or_else(|error| panic!("no private installation in {} ({error}): run make build", tree.display()));
        fs::create_dir_all(&work).unwrap_or_else(|e| panic!("{}: {e}", work.display()));
        let work = fs::canonicalize(&work).unwrap_or_else(|e| panic!("{}: {e}", work.display()));
        sweep(&work);
        let (home, held) = claim(&work);
        let user = server_user();
        hand_over(&home, user);
        // SAFETY: the handler is a plain function that lives as long as the program.
        unsafe { libc::atexit(at_exit) };
        Place { bin, user, home, _held: held, next: AtomicU32::new(1) }
    }

    /// A new, empty directory that belongs to the servers' user.
    pub fn new_dir(&self) -> PathBuf {
        let dir = self.home.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        self.make_dir(&dir);
        dir
    }

    /// Makes `dir`, for the servers' user alone: access to a cluster's socket gives its superuser.
    pub fn make_dir(&self, dir: &Path) {
        let made = DirBuilder::new().mode(0o700).create(dir);
        made.unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        hand_over(dir, self.user);
    }

    /// Gives a file or directory to the servers' user.
    pub fn hand_over(&self, path: &Path) {
        hand_over(path, self.user);
    }
}

fn hand_over(path: &Path, user: Option<(u32, u32)>) {
    if let Some((uid, gid)) = user {
        chown(path, Some(uid), Some(gid)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

fn env_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A new directory that the servers' user can enter, removed when this process ends: for files that a cluster reads.
#[must_use]
pub fn private_dir() -> PathBuf {
    place().new_dir()
}

/// The workspace's target directory.
pub fn target_dir() -> PathBuf {
    env_path("CARGO_TARGET_DIR").unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("target"))
}

/// PostgreSQL refuses to run as root, so root's servers run as `postgres`, or else `nobody`.
fn server_user() -> Option<(u32, u32)> {
    if id("-u", None) != Some(0) {
        return None;
    }
    let named = std::env::var("ASN_INVENTORY_USER").unwrap_or_default();
    [named.as_str(), "postgres", "nobody"]
        .into_iter()
        .filter(|name| !name.is_empty())
        .find_map(|name| Some((id("-u", Some(name))?, id("-g", Some(name))?)))
}

fn id(what: &str, user: Option<&str>) -> Option<u32> {
    let output = Command::new("id").arg(what).args(user).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().parse().ok())?
}

/// A directory of this process, named by its id, and the lock that says it is in use.
fn claim(work: &Path) -> (PathBuf, File) {
    for attempt in 0..1000 {
        let home = work.join(format!("{}.{attempt}", std::process::id()));
        if fs::create_dir(&home).is_err() {
            continue;
        }
        // Locked before it has its name: no other process's sweep may find it unlocked.
        let unnamed = home.join("lock.new");
        let lock = File::create(&unnamed).unwrap_or_else(|e| panic!("{}: {e}", home.display()));
        lock.try_lock().unwrap_or_else(|e| panic!("{}: {e}", home.display()));
        fs::rename(unnamed, home.join("lock")).unwrap_or_else(|e| panic!("{}: {e}", home.display()));
        // Servers need to pass, but not to list it.
        let _ = fs::set_permissions(&home, fs::Permissions::from_mode(0o711));
        return (home, lock);
    }
    panic!("no directory can be made in {}", work.display());
}

/// Removes what killed processes left behind. Their servers ended with them.
fn sweep(work: &Path) {
    let Ok(entries) = fs::read_dir(work) else {
        return;
    };
    for home in entries.flatten().map(|entry| entry.path()) {
        let abandoned = File::open(home.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if abandoned {
            let _ = fs::remove_dir_all(&home);
        }
    }
}

/// Clusters in statics are never dropped: end their servers and remove the directories here.
extern "C" fn at_exit() {
    super::running::end_all();
    let _ = fs::remove_dir_all(&place().home);
}
