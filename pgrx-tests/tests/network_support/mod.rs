//! A cluster whose network sources are the fakes, and queries for their tests.
use asn_inventory_tests::cluster::private_dir;
pub use asn_inventory_tests::fakes::*;
use asn_inventory_tests::prelude::*;

pub const DB: &str = "postgres";

/// Fakes, and a cluster that asks them.
pub struct World {
    pub cluster: Cluster,
    pub fakes: Fakes,
}

/// How a [`World`] is to be.
pub struct Options {
    conf: Vec<(String, String)>,
    files: bool,
}

impl World {
    /// Team Cymru on, GreyNoise with its key, quick to absorb.
    pub fn options() -> Options {
        let conf = [("asn_inventory.cymru", "on"), ("asn_inventory.absorb_interval", "50ms")];
        Options { conf: conf.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), files: true }
    }

    pub fn start() -> World {
        World::options().start()
    }

    pub fn sql(&self, sql: &str) {
        self.cluster.sql(DB, sql);
    }

    pub fn value(&self, sql: &str) -> String {
        self.cluster.value(DB, sql)
    }

    pub fn lines(&self, sql: &str) -> Vec<String> {
        self.cluster.lines(DB, sql)
    }

    pub fn wait(&self, sql: &str, wanted: &str) {
        self.cluster.wait_value(DB, sql, wanted);
    }

    /// A table of events whose addresses are observed as they are inserted.
    pub fn attach_events(&self) {
        self.sql("CREATE TABLE events (ip inet); SELECT attach_ip_source('events', '{ip}')");
    }

    /// Inserts events, as a loader does.
    pub fn ingest<S: AsRef<str>>(&self, ips: &[S]) {
        let rows: Vec<String> = ips.iter().map(|ip| format!("('{}')", ip.as_ref())).collect();
        self.sql(&format!("INSERT INTO events VALUES {}", rows.join(", ")));
    }

    /// A new event is counted, and MaxMind's answer stored, in every state of the network.
    pub fn ingest_goes_on(&self) {
        let wanted =
            self.value("SELECT coalesce(sum(observation_count), 0) + 1 FROM ip_inventory WHERE ip_address = '8.8.8.8'");
        self.ingest(&["8.8.8.8"]);
        self.wait_row("8.8.8.8", "sum(observation_count), min(asn_source)", &format!("{wanted}|maxmind"));
    }

    /// Makes rows due whose failure put them off.
    pub fn retry_now(&self) {
        self.sql("UPDATE ip_inventory SET cymru_retry_at = now() WHERE cymru_retry_at IS NOT NULL");
    }

    /// Adds addresses as observed that often, through the queue.
    pub fn observe(&self, addresses: &[(&str, i64)]) {
        let rows: Vec<String> = addresses.iter().map(|(ip, seen)| format!("('{ip}', {seen}, now(), now())")).collect();
        self.sql(&format!(
            "INSERT INTO ip_observation (address, seen, first_seen, last_seen) VALUES {};
             SELECT absorb_observations()",
            rows.join(", ")
        ));
    }

    /// Columns of one row of the inventory.
    pub fn row(&self, ip: &str, columns: &str) -> String {
        self.lines(&format!("SELECT {columns} FROM ip_inventory WHERE ip_address = '{ip}'")).join("\n")
    }

    /// Waits until columns of one row are as wanted.
    pub fn wait_row(&self, ip: &str, columns: &str, wanted: &str) {
        wait_for(&format!("{columns} of {ip}"), || self.row(ip, columns), |found| found == wanted);
    }

    /// How a source stands.
    pub fn source(&self, source: &str, columns: &str) -> String {
        self.lines(&format!("SELECT {columns} FROM source_status WHERE source = '{source}'")).join("\n")
    }

    pub fn wait_source(&self, source: &str, columns: &str, wanted: &str) {
        wait_for(&format!("{columns} of {source}"), || self.source(source, columns), |found| found == wanted);
    }
}

impl Options {
    /// A further setting.
    pub fn conf(mut self, name: &str, value: &str) -> Options {
        self.conf.push((format!("asn_inventory.{name}"), value.to_owned()));
        self
    }

    /// No mmdb file at all.
    pub fn without_files(mut self) -> Options {
        self.files = false;
        self
    }

    pub fn start(self) -> World {
        let fakes = Fakes::start(&private_dir().join("fakes"));
        let mut builder = Cluster::builder();
        for (name, value) in fakes.settings().into_iter().chain(self.conf) {
            builder = builder.conf(&name, &value);
        }
        let cluster = builder.start();
        if self.files {
            fixtures::small(&cluster.maxmind_dir());
        }
        cluster.sql(DB, "CREATE EXTENSION asn_inventory");
        cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
        if self.files {
            cluster.wait_walked(DB);
        }
        World { cluster, fakes }
    }
}
