//! Settings (`asn_inventory.*`), and one [`snapshot`] of them: text settings allocate on each read, so code that works
//! in batches reads them once a batch. Those of the network sources stand in [`network`](mod@network), those of
//! what is kept of observations in [`observed`](mod@observed), of
//! downloads in [`downloads`](mod@downloads), of a proxy in [`proxy`](mod@proxy), about secrets in
//! [`secrets`](mod@secrets), the feature flag in [`flag`](mod@flag).

mod downloads;
mod flag;
mod network;
mod observed;
pub mod place;
mod proxy;
mod secrets;
mod server;
mod texts;

pub use downloads::downloads;
pub use flag::{bad_environment, enabled, enabled_for_worker, enabled_on_server, switched_off_by_environment};
pub use network::{Network, NetworkNode, Switch, lifetimes, network, network_node, policy};
pub use observed::{activity, event_times, sightings_max_size};
pub use server::may_read_secret_settings;

use std::path::PathBuf;
use std::time::Duration;

use enrich::lists::ListFlags;
use enrich::maxmind::{Edition, Language};
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};

static DATABASES: GucSetting<Option<std::ffi::CString>> = GucSetting::<Option<std::ffi::CString>>::new(Some(c""));
static WORKERS: GucSetting<i32> = GucSetting::<i32>::new(4);
static ABSORB_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(1000);
static MAXMIND_DIR: GucSetting<Option<std::ffi::CString>> = GucSetting::<Option<std::ffi::CString>>::new(Some(c""));
static MAXMIND_EDITIONS: GucSetting<Option<std::ffi::CString>> =
    GucSetting::<Option<std::ffi::CString>>::new(Some(c"GeoLite2-City,GeoLite2-ASN"));
static MMDB_LANGUAGE: GucSetting<Option<std::ffi::CString>> = GucSetting::<Option<std::ffi::CString>>::new(Some(c"en"));
static LISTS_DIR: GucSetting<Option<std::ffi::CString>> = GucSetting::<Option<std::ffi::CString>>::new(Some(c""));
static LIST_FLAGS: GucSetting<Option<std::ffi::CString>> = GucSetting::<Option<std::ffi::CString>>::new(Some(c""));
static MAXMIND_WALK: GucSetting<bool> = GucSetting::<bool>::new(true);
static FOLD_IPV4_MAPPED: GucSetting<bool> = GucSetting::<bool>::new(true);
static MAXMIND_MAX_AGE: GucSetting<i32> = GucSetting::<i32>::new(14 * 24 * 60);
static COPY_WORK_MEM: GucSetting<i32> = GucSetting::<i32>::new(64 * 1024);
static RUN_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(90 * 24 * 60);

/// `auto`, `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types, missing_docs)]
pub enum ShareFiles {
    auto,
    on,
    off,
}

static SHARE_FILES: GucSetting<ShareFiles> = GucSetting::<ShareFiles>::new(ShareFiles::auto);

/// All settings at one moment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Databases the launcher may serve; empty: every one that has the extension.
    pub databases: Vec<String>,
    /// How long an observation may wait for the worker.
    pub absorb_interval: Duration,
    /// Where the operator puts `.mmdb` files.
    pub maxmind_dir: PathBuf,
    /// Editions in use, in order of preference.
    pub maxmind_editions: Vec<Edition>,
    /// Builds older than this deserve a warning.
    pub maxmind_max_age: Duration,
}

/// The settings now.
pub fn snapshot() -> Settings {
    let dir = text(&MAXMIND_DIR);
    Settings {
        databases: text(&DATABASES).split(',').map(str::trim).filter(|d| !d.is_empty()).map(str::to_owned).collect(),
        absorb_interval: Duration::from_millis(ABSORB_INTERVAL.get().max(10) as u64),
        maxmind_dir: if dir.is_empty() { default_maxmind_dir() } else { PathBuf::from(dir) },
        maxmind_editions: Edition::list(&text(&MAXMIND_EDITIONS)).unwrap_or_default(),
        maxmind_max_age: Duration::from_secs(MAXMIND_MAX_AGE.get().max(0) as u64 * 60),
    }
}

/// Where files are put while `asn_inventory.maxmind_dir` is empty.
pub fn default_maxmind_dir() -> PathBuf {
    place::directory().join("maxmind")
}

/// `work_mem` of a COPY into an attached table, in kB; 0: unchanged.
pub fn copy_work_mem() -> i32 {
    COPY_WORK_MEM.get()
}

/// Where the operator puts lists of networks.
pub fn lists_dir() -> PathBuf {
    let dir = text(&LISTS_DIR);
    if dir.is_empty() { default_lists_dir() } else { PathBuf::from(dir) }
}

/// Where lists are put while `asn_inventory.lists_dir` is empty.
pub fn default_lists_dir() -> PathBuf {
    place::directory().join("lists")
}

/// The language of names in files that have several.
pub fn mmdb_language() -> Language {
    Language::new(&text(&MMDB_LANGUAGE)).unwrap_or_default()
}

/// Most dynamic workers of one job.
pub fn workers() -> usize {
    WORKERS.get().max(1) as usize
}

/// Whether the inventory is walked after a newer build.
pub fn maxmind_walk() -> bool {
    MAXMIND_WALK.get()
}

/// Whether an IPv4-mapped address is kept as the IPv4 address.
pub fn fold_ipv4_mapped() -> bool {
    FOLD_IPV4_MAPPED.get()
}

/// Whether mmdb files are shared with other servers, and taken from them.
pub fn share_files() -> ShareFiles {
    SHARE_FILES.get()
}

/// The flags that lists of networks stand for.
pub fn list_flags() -> ListFlags {
    ListFlags::parse(&text(&LIST_FLAGS)).unwrap_or_default()
}

/// Grows when the list of editions or the flags of lists are set: what is open may answer otherwise. Cheap enough for a check
/// in each statement.
pub fn answers_set() -> u64 {
    texts::times_set()
}

/// How long ended jobs are remembered; `None`: for ever.
pub fn run_retention() -> Option<Duration> {
    let minutes = u64::try_from(RUN_RETENTION.get()).unwrap_or(0);
    (minutes > 0).then(|| Duration::from_secs(minutes * 60))
}

fn text(setting: &'static GucSetting<Option<std::ffi::CString>>) -> String {
    setting.get().map(|text| text.to_string_lossy().trim().to_owned()).unwrap_or_default()
}

/// Defines all settings. Called once, when the library is loaded.
pub fn define() {
    texts::define_counted(&(
        c"asn_inventory.maxmind_editions",
        c"Editions to read, comma separated: <edition>.mmdb in asn_inventory.maxmind_dir.",
        c"Files with the same fields stand in for each other in this order; <edition>=<role> (place, origin, flags, any or both, other) limits a file to one role.",
        &MAXMIND_EDITIONS,
        GucFlags::default(),
        Some(texts::check_editions),
    ));
    texts::define_counted(&(
        c"asn_inventory.list_flags",
        c"Flags of the addresses in lists of networks: list=flag, comma separated, such as aws=hosting.",
        c"They stand beside the flags that mmdb files give; a list with several flags is named once for each.",
        &LIST_FLAGS,
        GucFlags::default(),
        Some(texts::check_list_flags),
    ));
    texts::define_texts(&[(
        c"asn_inventory.mmdb_language",
        c"Language of the names of cities and regions, where an mmdb file has several.",
        c"English where a file lacks it, else any. Installed files are indexed again after a change.",
        &MMDB_LANGUAGE,
        GucFlags::default(),
        Some(texts::check_language),
    )]);
    GucRegistry::define_string_guc(
        c"asn_inventory.databases",
        c"Databases that get a worker, comma separated; empty: every database that has the extension.",
        c"A database that is not listed keeps its queue until it is listed.",
        &DATABASES,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_int_guc(
        c"asn_inventory.workers",
        c"Maximum number of background workers that one job may use.",
        c"They are taken from max_worker_processes.",
        &WORKERS,
        1,
        64,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"asn_inventory.absorb_interval",
        c"How long an observation may wait before the worker absorbs it.",
        c"Shorter is fresher; longer lets one write cover more observations of one address.",
        &ABSORB_INTERVAL,
        10,
        3_600_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_string_guc(
        c"asn_inventory.maxmind_dir",
        c"Directory into which .mmdb files are put; empty: asn_inventory/maxmind in the data directory.",
        c"Files are copied from here before use, so they may be replaced at any time.",
        &MAXMIND_DIR,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"asn_inventory.lists_dir",
        c"Directory into which lists of networks are put, each a file; empty: asn_inventory/lists in the data directory.",
        c"A list has the name of its file without the extension. Files are copied from here before use; a list goes away with its file.",
        &LISTS_DIR,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_bool_guc(
        c"asn_inventory.maxmind_walk",
        c"Looks up the whole inventory again after a newer build is installed, and writes what changed.",
        c"It is done in the background. Off: rows stay as they are until refresh_stale() or enrich_ip() asks for them.",
        &MAXMIND_WALK,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"asn_inventory.fold_ipv4_mapped",
        c"Keeps addresses such as ::ffff:1.2.3.4 under the plain form 1.2.3.4 in ip_inventory.",
        c"Rows of before are merged in the background: counts add up, and of the answers the later one stays. Off: the two are different addresses.",
        &FOLD_IPV4_MAPPED,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"asn_inventory.share_mmdb_files",
        c"Gives mmdb files to the standbys of this server and the nodes of its cluster, and takes theirs: auto, on, or off.",
        c"auto: if a standby is connected or has a replication slot, or the inventory is distributed. on: always, for standbys that read archived WAL. off: neither gives nor takes.",
        &SHARE_FILES,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"asn_inventory.maxmind_max_age",
        c"Builds older than this are reported as outdated.",
        c"Age counts from the build time in the file, not from the file's date.",
        &MAXMIND_MAX_AGE,
        60,
        i32::MAX / 60,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_int_guc(
        c"asn_inventory.run_retention",
        c"How long ended jobs stay in enrichment_run; 0: forever.",
        c"Whenever a job ends, older ones are removed.",
        &RUN_RETENTION,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_int_guc(
        c"asn_inventory.copy_work_mem",
        c"Minimum work_mem of a COPY into an attached table; 0: work_mem stays as it is.",
        c"Above this size PostgreSQL writes the new rows to disk, and the trigger reads them back. Each COPY may use this much memory.",
        &COPY_WORK_MEM,
        0,
        i32::MAX / 1024,
        GucContext::Sighup,
        GucFlags::UNIT_KB,
    );
    observed::define();
    flag::define();
    network::define();
    secrets::define();
    proxy::define();
    downloads::define();
    server::reserve_names();
}
