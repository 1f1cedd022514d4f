//! Common code of the mmdb tests: an operator's directory beside a store, and bad files.

pub mod oracle;
pub mod raw;

pub use asn_inventory_tests::mmdb::age;
use asn_inventory_tests::mmdb::{MmdbWriter, fixtures};
use asn_inventory_tests::wait::wait_for;
use enrich::maxmind::store::{EditionState, GenerationInfo, Imported, Outcome, StoreError};
use enrich::maxmind::{Databases, Edition, Store};
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub const CITY: &str = "GeoLite2-City";
pub const ASN: &str = "GeoLite2-ASN";

/// An operator's directory and a store, both gone with the test.
pub struct Site {
    dir: PathBuf,
    pub source: PathBuf,
    pub root: PathBuf,
    pub store: Store,
}

/// An import, once no other holds the lock: another test that starts a program holds copies of our open files until that runs, and
/// of the lock of the import before.
pub fn unless_busy(import: impl FnMut() -> Result<Imported, StoreError>) -> Result<Imported, StoreError> {
    wait_for("the lock", import, |imported| !matches!(imported, Err(StoreError::Busy)))
}

impl Site {
    /// Empty; the store's directory does not exist yet. `name` is the test's own.
    pub fn new(name: &str) -> Site {
        let dir = std::env::temp_dir().join(format!("maxmind.{}.{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let (source, root) = (dir.join("operator"), dir.join("data/asn_inventory"));
        fs::create_dir_all(&source).expect("a directory");
        let store = Store::new(root.clone());
        Site { dir, source, root, store }
    }

    /// With an ASN file that lies elsewhere.
    pub fn with(self, asn: &Path) -> Site {
        fs::copy(asn, self.file(ASN)).expect("copied");
        age(&self.file(ASN));
        self
    }

    /// With both small fixtures imported.
    pub fn small(name: &str) -> Site {
        let site = Site::new(name);
        site.put(CITY, fixtures::small_city(1));
        site.put(ASN, fixtures::small_asn(1));
        site.installed(CITY);
        site.installed(ASN);
        site
    }

    /// The operator's file of an edition.
    pub fn file(&self, edition: &str) -> PathBuf {
        self.source.join(format!("{edition}.mmdb"))
    }

    /// The operator puts a file there, a minute ago.
    pub fn put(&self, edition: &str, writer: MmdbWriter) {
        let file = self.file(edition);
        writer.write(&file).expect("written");
        age(&file);
    }

    /// As [`Self::put`], of any content, written in place.
    pub fn put_bytes(&self, edition: &str, bytes: &[u8]) {
        let file = self.file(edition);
        fs::write(&file, bytes).expect("written");
        age(&file);
    }

    /// The operator's file as bytes.
    pub fn bytes(&self, edition: &str) -> Vec<u8> {
        fs::read(self.file(edition)).expect("the operator's file")
    }

    /// Imports one edition.
    pub fn import(&self, name: &str) -> Outcome {
        self.import_with(name, false)
    }

    pub fn import_with(&self, name: &str, force: bool) -> Outcome {
        let imported = unless_busy(|| self.store.import(&self.source, &[edition(name)], force, &|| ()));
        let mut imported = imported.expect("an import that runs");
        assert!(imported.failures.is_empty(), "{imported:?}");
        assert_eq!(imported.outcomes.len(), 1);
        imported.outcomes.remove(0).1
    }

    /// Imports one edition, which must be taken.
    pub fn installed(&self, name: &str) -> GenerationInfo {
        match self.import(name) {
            Outcome::Installed(info) => info,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// Imports one edition, which must be refused; the reason.
    pub fn refused(&self, name: &str) -> String {
        match self.import(name) {
            Outcome::Refused(refusal) => refusal.reason,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// The generation in use; it must be valid.
    pub fn open(&self) -> Databases {
        let (databases, troubles) = self.open_with_troubles();
        assert_eq!(troubles, []);
        databases
    }

    /// The generations in use, and the editions whose newest one is not.
    pub fn open_with_troubles(&self) -> (Databases, Vec<(Edition, String)>) {
        let (_, databases, troubles) = self.store.open(&editions()).expect("a manifest");
        (databases, troubles)
    }

    pub fn serial(&self) -> u64 {
        self.store.manifest().expect("a manifest").serial
    }

    pub fn state(&self, name: &str) -> EditionState {
        let mut manifest = self.store.manifest().expect("a manifest");
        manifest.editions.remove(name).unwrap_or_default()
    }

    /// Whether an import of this edition would have something to do.
    pub fn has_news(&self, name: &str) -> bool {
        let manifest = self.store.manifest().expect("a manifest");
        self.store.has_news(&self.source, &[edition(name)], &manifest)
    }

    /// The directory of the generation that answers.
    pub fn current(&self, name: &str) -> PathBuf {
        let current = self.state(name).current.expect("a generation");
        self.generations().join(current.directory)
    }

    pub fn generations(&self) -> PathBuf {
        self.root.join("generations")
    }

    /// The entries of `generations/`, in order.
    pub fn on_disk(&self) -> Vec<String> {
        let entries = fs::read_dir(self.generations()).expect("generations");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| name.into_string().expect("a name in UTF-8"))
            .collect();
        names.sort();
        names
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A name, or a name with a role.
pub fn edition(name: &str) -> Edition {
    Edition::entry(name).expect("an entry of the list")
}

/// The two that the settings name by default.
pub fn editions() -> [Edition; 2] {
    [edition(CITY), edition(ASN)]
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// As [`age`], for "just now".
pub fn freshen(file: &Path) {
    let open = File::options().append(true).open(file).expect("a file");
    open.set_modified(SystemTime::now()).expect("a newer date");
}

/// The country that a set of files says, as the quickest sign of which one answers.
pub fn country(databases: &Databases, address: &str) -> Option<String> {
    let place = databases.place(ip(address))?;
    place.country_code.map(str::to_owned)
}

/// The ASN that a set of files says.
pub fn asn(databases: &Databases, address: &str) -> Option<u32> {
    databases.origin(ip(address))?.asn
}

/// An ASN file in which 8.8.8.0/24 belongs to `number`, and `more` /24s from 11.0.0.0 on to others.
pub fn asn_file(number: u32, more: u32) -> MmdbWriter {
    let record = |number: u32| serde_json::json!({ "autonomous_system_number": number });
    let mut writer = MmdbWriter::new(ASN, 1).insert("8.8.8.0/24", record(number));
    for index in 0..more {
        let network = format!("11.{}.{}.0/24", index >> 8, index & 255);
        writer.add(&network, record(100_000 + index));
    }
    writer
}

/// SplitMix64: chance that is the same every time.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn v4(&mut self) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(self.next() as u32))
    }

    pub fn v6(&mut self) -> IpAddr {
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        IpAddr::V6(std::net::Ipv6Addr::from_bits(bits))
    }
}
