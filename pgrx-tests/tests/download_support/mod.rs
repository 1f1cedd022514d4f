//! A cluster whose MaxMind files come from the fake download server, and queries for the download tests.
use asn_inventory_tests::cluster::private_dir;
pub use asn_inventory_tests::fakes::maxmind::*;
pub use asn_inventory_tests::prelude::*;
use asn_inventory_tests::wait::wait_out_midnight;
use std::fs;

pub const DB: &str = "postgres";
pub const BOTH_DOWNLOADED: &str = "done|GeoLite2-City: downloaded; GeoLite2-ASN: downloaded";
pub const BOTH_UP_TO_DATE: &str = "done|GeoLite2-City: up to date; GeoLite2-ASN: up to date";

/// The server, and a cluster that asks it.
pub struct Site {
    pub cluster: Cluster,
    pub maxmind: MaxMind,
}

impl Site {
    /// With further settings, which win; nothing is installed.
    pub fn start_with(settings: &[(&str, &str)]) -> Site {
        Site::start_in(settings, &[])
    }

    /// As [`Self::start_with`], with variables in the server's environment.
    pub fn start_in(settings: &[(&str, &str)], env: &[(&str, &str)]) -> Site {
        // Files are offered, and looked for, by days before today.
        wait_out_midnight();
        let maxmind = MaxMind::start(&private_dir());
        let mut builder = Cluster::builder();
        for (name, value) in maxmind.settings() {
            builder = builder.conf(name, &value);
        }
        for (name, value) in settings {
            builder = builder.conf(name, value);
        }
        for (name, value) in env {
            builder = builder.env(name, value);
        }
        let cluster = builder.start();
        cluster.sql(DB, "CREATE EXTENSION asn_inventory");
        cluster.wait_value(DB, "SELECT worker FROM enrichment_status", "running");
        Site { cluster, maxmind }
    }

    /// With files of ten days ago downloaded and installed, and others of that day on offer.
    pub fn start() -> Site {
        let site = Site::start_with(&[]);
        site.maxmind.offer(10);
        assert_eq!(site.update(), BOTH_DOWNLOADED);
        site.wait_build(10);
        site
    }

    /// `outcome|detail` of an update.
    pub fn update(&self) -> String {
        self.outcome(DB, &self.submit(DB, false))
    }

    /// As [`Self::update`], forced.
    pub fn update_forced(&self) -> String {
        self.outcome(DB, &self.submit(DB, true))
    }

    /// Asks for an update; the number of the job.
    pub fn submit(&self, db: &str, force: bool) -> String {
        let job = self.cluster.value(db, &format!("SELECT update_maxmind({force})"));
        assert_ne!(job, "");
        job
    }

    /// Waits for the end of a job.
    pub fn outcome(&self, db: &str, job: &str) -> String {
        let row = format!("SELECT kind, outcome, detail FROM enrichment_run WHERE job_id = {job}");
        let rows = wait_for("the end of the update", || self.cluster.lines(db, &row), |rows| !rows.is_empty());
        rows[0].strip_prefix("update|").expect("an update").to_owned()
    }

    /// Waits until both editions of that day answer.
    pub fn wait_build(&self, days_ago: u64) {
        let built = fixtures::days_ago(days_ago);
        let sql = format!("SELECT count(*) FROM mmdb_editions() WHERE build_time = to_timestamp({built})");
        self.cluster.wait_value(DB, &sql, "2");
        self.assert_answers();
    }

    /// The installed files answer.
    pub fn assert_answers(&self) {
        assert_eq!(self.cluster.lines(DB, "SELECT ip_country('81.2.69.142'), ip_asn('8.8.8.8')"), ["GB|15169"]);
    }

    /// The two files and nothing else are in `maxmind_dir`.
    pub fn assert_tidy(&self) {
        assert_eq!(self.files(), ["GeoLite2-ASN.mmdb", "GeoLite2-City.mmdb"]);
    }

    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cluster.maxmind_dir()).expect("maxmind_dir");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Nothing lies in the server's own directory but what belongs there: no draft, no half generation, and of each
    /// edition the generation that answers and at most one before it.
    pub fn assert_state_tidy(&self) {
        let root = self.cluster.data_dir().join("asn_inventory");
        let list = |dir: &std::path::Path| {
            let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let known = [
            "current.json",
            "downloads.json",
            "download.lock",
            "import.lock",
            "lists",
            "lists_imported",
            "generations",
            "overlays",
            "jobs",
            "maxmind",
        ];
        let odd = |names: Vec<String>| names.into_iter().find(|name| !known.contains(&name.as_str()));
        // A file that is replaced by renaming has another name for a moment.
        wait_for("no litter in the state directory", || odd(list(&root)), Option::is_none);
        let current = self.cluster.lines(DB, "SELECT generation FROM mmdb_editions() WHERE generation IS NOT NULL");
        let generations = wait_for(
            "no litter among the generations",
            || list(&root.join("generations")),
            |names| names.iter().all(|name| !name.starts_with("tmp-")) && names.len() <= 2 * current.len(),
        );
        assert!(current.iter().all(|name| generations.contains(name)), "{current:?} of {generations:?}");
        wait_for(
            "one overlay",
            || list(&root.join("overlays")),
            |names| names.len() == 1 && names[0].ends_with(".idx"),
        );
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.maxmind.asked().len()
    }

    /// Lines of the log that hold `text`.
    pub fn logged(&self, text: &str) -> usize {
        self.cluster.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Warnings in the log that hold `text`.
    pub fn warnings(&self, text: &str) -> usize {
        self.cluster.log().lines().filter(|line| line.contains("WARNING") && line.contains(text)).count()
    }
}
