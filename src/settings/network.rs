//! Settings of the sources that need the network. Only the worker acts on them; sessions read no more than whether a
//! source is switched on, to say `pending` or `skipped` of a new address.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use enrich::cascade::Policy;
use enrich::freshness::Lifetimes;
use enrich::proxy::Plan;
use enrich::quota::Window;
use enrich::secrets::{Accept, Recent, Resolver};
use ipnetwork::IpNetwork;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};

use super::proxy::proxy;
use super::secrets::{Secrets, secrets};
use super::text;
use super::texts::*;

/// `off`, `on` or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types, missing_docs)]
pub enum Switch {
    off,
    on,
    auto,
}

/// `day` or `week`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types, missing_docs)]
pub enum QuotaWindow {
    day,
    week,
}

/// `auto`, `local` or `coordinator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types, missing_docs)]
pub enum NetworkNode {
    auto,
    local,
    coordinator,
}

static NETWORK_NODE: GucSetting<NetworkNode> = GucSetting::<NetworkNode>::new(NetworkNode::auto);
static CYMRU: GucSetting<bool> = GucSetting::<bool>::new(true);
static CYMRU_TTL: GucSetting<i32> = GucSetting::<i32>::new(90 * DAY);
static CYMRU_NEGATIVE_TTL: GucSetting<i32> = GucSetting::<i32>::new(DAY);
static CYMRU_DNS_SERVERS: Text = text_of(c"");
static CYMRU_WHOIS: Text = text_of(c"whois.cymru.com:43");
static CYMRU_RATE: GucSetting<i32> = GucSetting::<i32>::new(100);
static CYMRU_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(5000);
static CYMRU_BULK_MIN: GucSetting<i32> = GucSetting::<i32>::new(50);
static GREYNOISE: GucSetting<Switch> = GucSetting::<Switch>::new(Switch::auto);
static GREYNOISE_API_KEY: Text = text_of(c"env:GREYNOISE_API_KEY");
static GREYNOISE_URL: Text = text_of(c"https://api.greynoise.io");
static GREYNOISE_TTL: GucSetting<i32> = GucSetting::<i32>::new(7 * DAY);
static GREYNOISE_RATE: GucSetting<i32> = GucSetting::<i32>::new(10);
static GREYNOISE_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static GREYNOISE_QUOTA: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static GREYNOISE_QUOTA_WINDOW: GucSetting<QuotaWindow> = GucSetting::<QuotaWindow>::new(QuotaWindow::day);
static REFRESH_SCHEDULE: Text = text_of(c"*/10 * * * *");
static TLS_CA_FILE: Text = text_of(c"");
static NEVER_ASK: Text = text_of(c"");

/// Minutes of a day.
const DAY: i32 = 24 * 60;
/// Ten years, in minutes.
const LONGEST: i32 = 3650 * DAY;

/// The network sources' settings at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Whether Team Cymru may be asked.
    pub cymru: bool,
    /// How long its answer is fresh.
    pub cymru_ttl: Duration,
    /// How long its "no route" is.
    pub cymru_negative_ttl: Duration,
    /// DNS servers; empty: the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// Bulk whois, `host:port`.
    pub whois: String,
    /// DNS queries a second.
    pub cymru_rate: u32,
    /// Of one query.
    pub cymru_timeout: Duration,
    /// From so many due addresses on, the bulk session.
    pub bulk_min: usize,
    /// Whether GreyNoise may be asked.
    pub greynoise: Switch,
    /// Where its key is.
    pub greynoise_key: String,
    /// Base URL.
    pub greynoise_url: String,
    /// How long its answer is fresh.
    pub greynoise_ttl: Duration,
    /// Requests a second.
    pub greynoise_rate: u32,
    /// Of one request.
    pub greynoise_timeout: Duration,
    /// Requests of a window.
    pub greynoise_quota: u64,
    /// The window.
    pub greynoise_window: Window,
    /// When to look for stale rows.
    pub refresh_schedule: String,
    /// Further trusted certificates.
    pub tls_ca_file: Option<PathBuf>,
    /// Networks whose addresses are never sent to a source.
    pub never_ask: Vec<IpNetwork>,
    /// What references to secrets may lead to.
    pub secrets: Secrets,
    /// The way out.
    pub proxy: Plan,
}

impl Network {
    /// The resolver of references by the present settings.
    pub fn resolver(&self) -> Resolver {
        Resolver {
            env_allow: self.secrets.environment.clone(),
            commands: self.secrets.commands.clone(),
            owners: self.secrets.file_owners.clone(),
            proxy: Some(self.proxy.clone()),
            ca_file: self.tls_ca_file.clone(),
            environment: Default::default(),
            recent: Some((Recent::of_process(), Accept::Any)),
        }
    }
}

/// The network sources' settings now.
pub fn network() -> Network {
    let minutes = |setting: &GucSetting<i32>| Duration::from_secs(setting.get().max(0) as u64 * 60);
    let millis = |setting: &GucSetting<i32>| Duration::from_millis(setting.get().max(1) as u64);
    let positive = |setting: &GucSetting<i32>| setting.get().max(1) as u32;
    let ca = text(&TLS_CA_FILE);
    Network {
        cymru: CYMRU.get(),
        cymru_ttl: minutes(&CYMRU_TTL),
        cymru_negative_ttl: minutes(&CYMRU_NEGATIVE_TTL),
        dns_servers: servers(&text(&CYMRU_DNS_SERVERS)).unwrap_or_default(),
        whois: text(&CYMRU_WHOIS),
        cymru_rate: positive(&CYMRU_RATE),
        cymru_timeout: millis(&CYMRU_TIMEOUT),
        bulk_min: CYMRU_BULK_MIN.get().max(1) as usize,
        greynoise: GREYNOISE.get(),
        greynoise_key: text(&GREYNOISE_API_KEY),
        greynoise_url: text(&GREYNOISE_URL),
        greynoise_ttl: minutes(&GREYNOISE_TTL),
        greynoise_rate: positive(&GREYNOISE_RATE),
        greynoise_timeout: millis(&GREYNOISE_TIMEOUT),
        greynoise_quota: GREYNOISE_QUOTA.get().max(0) as u64,
        greynoise_window: window(),
        refresh_schedule: text(&REFRESH_SCHEDULE),
        tls_ca_file: (!ca.is_empty()).then(|| PathBuf::from(ca)),
        never_ask: networks(&text(&NEVER_ASK)).unwrap_or_default(),
        secrets: secrets(),
        proxy: proxy(),
    }
}

fn window() -> Window {
    match GREYNOISE_QUOTA_WINDOW.get() {
        QuotaWindow::day => Window::Day,
        QuotaWindow::week => Window::Week,
    }
}

/// Which network source may be asked about whom.
pub fn policy() -> Policy {
    Policy {
        cymru: CYMRU.get(),
        greynoise: GREYNOISE.get() != Switch::off,
        never_ask: networks(&text(&NEVER_ASK)).unwrap_or_default(),
    }
}

/// Which node of a cluster asks.
pub fn network_node() -> NetworkNode {
    NETWORK_NODE.get()
}

/// How long answers are fresh, as set now.
pub fn lifetimes() -> Lifetimes {
    let us = |setting: &GucSetting<i32>| i64::from(setting.get()) * 60_000_000;
    Lifetimes { cymru: us(&CYMRU_TTL), cymru_negative: us(&CYMRU_NEGATIVE_TTL), greynoise: us(&GREYNOISE_TTL) }
}

/// Defines the settings.
pub fn define() {
    let plain = GucFlags::default();
    let secret = GucFlags::SUPERUSER_ONLY;
    GucRegistry::define_bool_guc(
        c"asn_inventory.cymru",
        c"Asks Team Cymru about addresses for which MaxMind has no ASN.",
        c"Each look-up sends an address to a third party. If it is off, such addresses are skipped.",
        &CYMRU,
        GucContext::Sighup,
        plain,
    );
    let number = |name, short, long, setting: &'static GucSetting<i32>, min, max, flags| {
        GucRegistry::define_int_guc(name, short, long, setting, min, max, GucContext::Sighup, flags);
    };
    let minutes = GucFlags::UNIT_MIN;
    let millis = GucFlags::UNIT_MS;
    number(
        c"asn_inventory.cymru_ttl",
        c"How long an answer of Team Cymru stays fresh before the address is asked about again.",
        c"Prefixes change their origin rarely.",
        &CYMRU_TTL,
        1,
        LONGEST,
        minutes,
    );
    number(
        c"asn_inventory.cymru_negative_ttl",
        c"How long the answer that no route to an address is announced stays valid.",
        c"Shorter than asn_inventory.cymru_ttl: new networks appear.",
        &CYMRU_NEGATIVE_TTL,
        1,
        LONGEST,
        minutes,
    );
    number(
        c"asn_inventory.cymru_rate",
        c"Maximum number of DNS queries sent per second.",
        c"Bulk sessions are not counted.",
        &CYMRU_RATE,
        1,
        10_000,
        plain,
    );
    number(
        c"asn_inventory.cymru_timeout",
        c"How long one query may take, counted from when it is sent.",
        c"A query without an answer is repeated a few times before it counts as failed.",
        &CYMRU_TIMEOUT,
        10,
        120_000,
        millis,
    );
    number(
        c"asn_inventory.cymru_bulk_min",
        c"Number of due addresses from which one bulk whois session is used instead of DNS queries.",
        c"Where port 43 is blocked, set it to its maximum.",
        &CYMRU_BULK_MIN,
        1,
        i32::MAX,
        plain,
    );
    number(
        c"asn_inventory.greynoise_ttl",
        c"How long a verdict stays fresh before the address is asked about again.",
        c"Longer saves quota.",
        &GREYNOISE_TTL,
        1,
        LONGEST,
        minutes,
    );
    number(
        c"asn_inventory.greynoise_rate",
        c"Maximum number of HTTPS requests sent per second.",
        c"The quota limits what is sent in a day or a week.",
        &GREYNOISE_RATE,
        1,
        1000,
        plain,
    );
    number(
        c"asn_inventory.greynoise_timeout",
        c"How long one request may take, counted from when it is sent.",
        c"From the connection to the last byte of the answer.",
        &GREYNOISE_TIMEOUT,
        10,
        120_000,
        millis,
    );
    number(
        c"asn_inventory.greynoise_quota",
        c"Maximum number of requests that all databases of this server may send in one window, with one key.",
        c"What the account allows, less its other uses; divide it where several servers share a key.",
        &GREYNOISE_QUOTA,
        0,
        i32::MAX,
        plain,
    );
    GucRegistry::define_enum_guc(
        c"asn_inventory.network_node",
        c"Which node of a Citus cluster asks Team Cymru and GreyNoise: auto, local, or coordinator.",
        c"auto: the coordinator, once asn_inventory_distribute() has made one inventory of all nodes; until then each for itself. local: this node does.",
        &NETWORK_NODE,
        GucContext::Sighup,
        plain,
    );
    GucRegistry::define_enum_guc(
        c"asn_inventory.greynoise",
        c"Asks GreyNoise whether public IPv4 addresses are known scanners: off, on, or auto.",
        c"auto: once asn_inventory.greynoise_api_key resolves; on: also without a key, at the smaller quota of anonymous callers.",
        &GREYNOISE,
        GucContext::Sighup,
        plain,
    );
    GucRegistry::define_enum_guc(
        c"asn_inventory.greynoise_quota_window",
        c"Window to which asn_inventory.greynoise_quota applies: day or week.",
        c"Both are counted in UTC; weeks begin on Monday.",
        &GREYNOISE_QUOTA_WINDOW,
        GucContext::Sighup,
        plain,
    );
    let strings: [TextSetting; 7] = [
        (
            c"asn_inventory.cymru_dns_servers",
            c"Resolvers that Team Cymru is asked through, as ip:port, comma separated; empty: those of the system.",
            c"IPv6 addresses stand in brackets: [2001:db8::1]:53.",
            &CYMRU_DNS_SERVERS,
            secret,
            Some(check_servers),
        ),
        (
            c"asn_inventory.cymru_whois",
            c"Host and port of the bulk whois service.",
            c"Used when many addresses are due at once.",
            &CYMRU_WHOIS,
            secret,
            Some(check_host_port),
        ),
        (
            c"asn_inventory.greynoise_api_key",
            c"Where the key is stored: a reference such as env:GREYNOISE_API_KEY or file:/etc/asn_inventory/greynoise, never the key itself.",
            c"Only the worker resolves it, when it needs the key.",
            &GREYNOISE_API_KEY,
            secret,
            Some(check_greynoise_key),
        ),
        (
            c"asn_inventory.greynoise_url",
            c"Base of the URL that requests are sent to; https only.",
            c"The certificate is always verified.",
            &GREYNOISE_URL,
            secret,
            Some(check_greynoise_url),
        ),
        (
            c"asn_inventory.refresh_schedule",
            c"When the worker looks for rows that went stale: five cron fields, UTC; empty: never by itself.",
            c"Minute, hour, day of the month, month, day of the week.",
            &REFRESH_SCHEDULE,
            plain,
            Some(check_schedule),
        ),
        (
            c"asn_inventory.tls_ca_file",
            c"Additional trusted certificates in PEM form; those of the system stay trusted.",
            c"For a proxy that inspects TLS; there is no way to turn verification off.",
            &TLS_CA_FILE,
            secret,
            None,
        ),
        (
            c"asn_inventory.never_ask",
            c"Networks, comma separated, whose addresses are never sent to an external source.",
            c"Special-purpose ranges are never sent to a source.",
            &NEVER_ASK,
            secret,
            Some(check_networks),
        ),
    ];
    define_texts(&strings);
}
