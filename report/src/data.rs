//! The data of a page: plain figures, gathered by the caller.

/// Everything on the page. Times are Unix seconds.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// When the figures were gathered.
    pub made_at: i64,
    /// The database's name.
    pub database: String,
    /// The server's version.
    pub server_version: String,
    /// The extension's version.
    pub extension_version: String,
    /// The figures of the headline.
    pub totals: Totals,
    /// How the worker stands.
    pub worker: Worker,
    /// Addresses and observations over time.
    pub timeline: Timeline,
    /// The most observed networks, in that order.
    pub asns: Vec<Asn>,
    /// Every country, the most observed first.
    pub countries: Vec<Country>,
    /// Where the addresses are, put together by neighbourhood; at most the busiest ones.
    pub places: Vec<Place>,
    /// Addresses with a place.
    pub located: u64,
    /// The cities with the most addresses.
    pub cities: Vec<City>,
    /// How each source stands.
    pub sources: Vec<Source>,
    /// GreyNoise's verdicts.
    pub scanners: Scanners,
    /// What the files say of addresses, the most frequent first.
    pub flags: Vec<Named>,
    /// The lists of networks that hold addresses, the fullest first.
    pub lists: Vec<Named>,
}

/// Figures over the whole inventory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Rows of the inventory.
    pub addresses: u64,
    /// Of these, public ones: sources can know those only.
    pub public: u64,
    /// Observations of all addresses.
    pub observations: u64,
    /// Addresses of which a source knew network or place.
    pub enriched: u64,
    /// Addresses with an ASN.
    pub with_asn: u64,
    /// Distinct ASNs.
    pub asns: u64,
    /// Distinct countries.
    pub countries: u64,
    /// Tables that feed the inventory.
    pub tables: u64,
}

/// The worker and its queue.
#[derive(Clone, Debug, Default)]
pub struct Worker {
    /// `running`, `not running`, `not preloaded` or `standby`.
    pub state: String,
    /// Whether observing is switched on.
    pub enabled: bool,
    /// Queue rows that wait.
    pub queued: u64,
    /// When it last looked at the queue.
    pub last_absorb_at: Option<i64>,
}

/// Two series over the same buckets of time.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Start of the first bucket.
    pub start: i64,
    /// Seconds of a bucket; 0: no timeline.
    pub step: i64,
    /// Addresses first seen in each bucket.
    pub new: Vec<u64>,
    /// Observations in each bucket; unless `is_exact`, those of the addresses last seen in it.
    pub observed: Vec<u64>,
    /// Observations are those of the bucket.
    pub is_exact: bool,
    /// Then, observations of the inventory that are in no bucket: their time is not counted yet, or not any more.
    pub uncounted: u64,
    /// Then, observations in the buckets that the inventory does not have any more.
    pub gone: u64,
    /// Addresses with times that are not shown.
    pub outside: u64,
}

/// One network.
#[derive(Clone, Debug, Default)]
pub struct Asn {
    /// AS number.
    pub number: i64,
    /// Its organization.
    pub org: String,
    /// Addresses that belong to it.
    pub addresses: u64,
    /// Observations of these.
    pub observations: u64,
}

/// A flag, or a list of networks.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Addresses that have it, or that it holds.
    pub addresses: u64,
    /// Observations of these.
    pub observations: u64,
}

/// One country.
#[derive(Clone, Debug, Default)]
pub struct Country {
    /// ISO 3166-1 alpha-2.
    pub code: String,
    /// Addresses there.
    pub addresses: u64,
    /// Observations of these.
    pub observations: u64,
}

/// A point on the map.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Addresses there.
    pub addresses: u64,
}

/// One city.
#[derive(Clone, Debug, Default)]
pub struct City {
    /// English name.
    pub name: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// Addresses there.
    pub addresses: u64,
    /// Observations of these.
    pub observations: u64,
}

/// How many classes of age there are: see [`AGES`].
pub const AGE_CLASSES: usize = 6;

/// The upper ends of the classes of age, in days, with their names. The last has none.
pub const AGES: [(Option<u32>, &str); AGE_CLASSES] = [
    (Some(1), "< 1 d"),
    (Some(7), "< 7 d"),
    (Some(30), "< 30 d"),
    (Some(90), "< 90 d"),
    (Some(365), "< 1 y"),
    (None, "older"),
];

/// One source: its coverage, the age of its answers, the rest of its quota.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// As people call it.
    pub name: String,
    /// The word of `source_status`.
    pub state: String,
    /// Addresses by status.
    pub coverage: Coverage,
    /// Answers by age: see [`AGES`].
    pub ages: [u64; AGE_CLASSES],
    /// When it last answered.
    pub last_success_at: Option<i64>,
    /// The requests allowed and spent in a window of time.
    pub quota: Option<Quota>,
    /// When the oldest of its files was built.
    pub oldest_build: Option<i64>,
}

/// Addresses by the status of one source.
#[derive(Clone, Copy, Debug, Default)]
pub struct Coverage {
    /// It knows the address.
    pub found: u64,
    /// It does not.
    pub not_found: u64,
    /// Not asked yet.
    pub pending: u64,
    /// No answer came.
    pub failed: u64,
    /// Out of quota.
    pub quota: u64,
    /// Not to be asked.
    pub skipped: u64,
    /// Nothing is installed that could answer.
    pub unavailable: u64,
}

/// A quota and its spent part.
#[derive(Clone, Debug, Default)]
pub struct Quota {
    /// Most requests of a window.
    pub limit: u64,
    /// Spent in the present one.
    pub used: u64,
    /// `day` or `week`.
    pub window: String,
    /// When there is more.
    pub reset_at: Option<i64>,
}

/// Addresses by GreyNoise's verdict. Each counts once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanners {
    /// Seen scanning, with bad intentions.
    pub malicious: u64,
    /// Seen scanning, by a known and harmless scanner.
    pub benign: u64,
    /// Seen scanning, intentions unknown.
    pub unknown: u64,
    /// Not scanning, and a common business service.
    pub riot: u64,
    /// Asked, and never seen.
    pub not_seen: u64,
}

impl Scanners {
    /// Addresses that scan.
    pub fn scanning(&self) -> u64 {
        self.malicious + self.benign + self.unknown
    }

    /// Addresses that GreyNoise was asked about.
    pub fn asked(&self) -> u64 {
        self.scanning() + self.riot + self.not_seen
    }
}
