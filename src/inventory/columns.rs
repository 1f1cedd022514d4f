//! The columns of a record, once: `ip_inventory` keeps them, `ip_enrichment` hands them out. Code that writes, compares
//! or reads a record takes their names, types and order from here.

use pgrx::pg_sys;

use crate::pg::shape;

/// The writer of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// No writer: the address itself.
    Nobody,
    /// The files alone: MaxMind's or another provider's, and the operator's lists.
    MaxMind,
    /// MaxMind, and Team Cymru where MaxMind has no ASN.
    Origin,
    /// MaxMind, and Team Cymru where MaxMind has no country.
    Country,
    /// GreyNoise alone.
    Scanner,
    /// How Team Cymru stands; MaxMind's answer decides whether it is asked at all.
    CymruStatus,
    /// How GreyNoise stands.
    GreyNoiseStatus,
    /// When the row was last answered; each writer has a rule of its own.
    Moment,
}

/// A column: its name, type and writer.
pub struct Field {
    /// Its name in both relations; the address is called `ip` in `ip_enrichment`.
    pub name: &'static std::ffi::CStr,
    /// Its type.
    pub kind: pg_sys::Oid,
    /// Its writer.
    pub by: By,
}

macro_rules! record {
    ($($column:ident $name:literal $kind:ident $by:ident;)*) => {
        /// A column of the record. Its number is its place in `ip_enrichment`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Column { $(#[allow(missing_docs)] $column),* }

        impl Column {
            /// All of them, in the order of `ip_enrichment`.
            pub const ALL: [Column; RECORD.len()] = [$(Column::$column),*];
        }

        /// The key of [`Column::field`].
        const RECORD: &[Field] = &[$(Field { name: $name, kind: pg_sys::$kind, by: By::$by }),*];
    };
}

record! {
    Ip c"ip_address" INETOID Nobody;
    IpClass c"ip_class" TEXTOID MaxMind;
    Network c"network" CIDROID Origin;
    AsnNumber c"asn_number" INT8OID Origin;
    AsnOrg c"asn_org" TEXTOID Origin;
    AsnSource c"asn_source" TEXTOID Origin;
    CountryCode c"country_code" TEXTOID Country;
    CountrySource c"country_source" TEXTOID Country;
    Region c"region" TEXTOID MaxMind;
    City c"city" TEXTOID MaxMind;
    Latitude c"latitude" FLOAT8OID MaxMind;
    Longitude c"longitude" FLOAT8OID MaxMind;
    AccuracyRadiusKm c"accuracy_radius_km" INT4OID MaxMind;
    TimeZone c"time_zone" TEXTOID MaxMind;
    ScannerNoise c"scanner_noise" BOOLOID Scanner;
    ScannerRiot c"scanner_riot" BOOLOID Scanner;
    ScannerClassification c"scanner_classification" TEXTOID Scanner;
    ScannerName c"scanner_name" TEXTOID Scanner;
    ScannerLastSeen c"scanner_last_seen" TIMESTAMPTZOID Scanner;
    MaxMindStatus c"maxmind_status" TEXTOID MaxMind;
    CymruStatus c"cymru_status" TEXTOID CymruStatus;
    GreyNoiseStatus c"greynoise_status" TEXTOID GreyNoiseStatus;
    EnrichmentTs c"enrichment_ts" TIMESTAMPTZOID Moment;
    ScannerTs c"scanner_ts" TIMESTAMPTZOID Scanner;
    RegisteredCountryCode c"registered_country_code" TEXTOID MaxMind;
    Flags c"flags" TEXTARRAYOID MaxMind;
    ConnectionType c"connection_type" TEXTOID MaxMind;
    Lists c"lists" TEXTARRAYOID MaxMind;
}

/// How many columns a record has.
pub const COUNT: usize = Column::ALL.len();
/// How many it had in 0.2.0: until ALTER EXTENSION has added the others, it is written without them.
pub const COUNT_BEFORE: usize = 24;

/// Columns that only `ip_inventory` has: when a source last answered.
pub const MAXMIND_TS: shape::Column = (c"maxmind_ts", pg_sys::TIMESTAMPTZOID);
/// See [`MAXMIND_TS`].
pub const CYMRU_TS: shape::Column = (c"cymru_ts", pg_sys::TIMESTAMPTZOID);

impl Column {
    /// Its meaning.
    pub const fn field(self) -> &'static Field {
        &RECORD[self as usize]
    }

    /// It in `ip_inventory`.
    pub const fn stored(self) -> shape::Column {
        let field = self.field();
        (field.name, field.kind)
    }

    /// It in `ip_enrichment`.
    pub const fn given(self) -> shape::Column {
        let name = if matches!(self, Column::Ip) { c"ip" } else { self.field().name };
        (name, self.field().kind)
    }

    /// Its name in SQL, of `ip_enrichment`.
    fn name(self) -> &'static str {
        // Every name here is plain ASCII.
        self.given().0.to_str().unwrap_or_default()
    }

    /// Whether the value comes from MaxMind's answer.
    pub fn is_of_maxmind(self) -> bool {
        matches!(self.field().by, By::MaxMind | By::Origin | By::Country)
    }
}

/// The function's result for each column, as an SQL list.
fn list(columns: impl Iterator<Item = Column>, each: impl Fn(&str) -> String) -> String {
    columns.map(|column| each(column.name())).collect::<Vec<_>>().join(", ")
}

/// The first `count` columns of `ip_enrichment`.
fn known(count: usize) -> impl Iterator<Item = Column> {
    Column::ALL.into_iter().take(count)
}

/// The columns of `ip_enrichment`, of which there are `count`.
pub fn names(count: usize) -> String {
    list(known(count), str::to_owned)
}

/// Those of `count` that a new row gets from MaxMind's answer and from how the other sources stand.
pub fn born(count: usize, each: impl Fn(&str) -> String) -> String {
    let born = |column: &Column| !matches!(column.field().by, By::Nobody | By::Scanner);
    list(known(count).filter(born), each)
}

/// The assignments of MaxMind's answer `r`, of `count` columns, to a known row `i`. Team Cymru's ASN and country stay where MaxMind has
/// none.
pub fn assignments(count: usize) -> String {
    let kept = |name: &str, known: Column, source: Column| {
        let (known, source) = (known.name(), source.name());
        format!("{name} = CASE WHEN r.{known} IS NULL AND i.{source} = 'cymru' THEN i.{name} ELSE r.{name} END")
    };
    let assign = |column: Column| {
        let name = column.name();
        match column.field().by {
            By::MaxMind => Some(format!("{name} = r.{name}")),
            By::Origin => Some(kept(name, Column::AsnNumber, Column::AsnSource)),
            By::Country => Some(kept(name, Column::CountryCode, Column::CountrySource)),
            _ => None,
        }
    };
    known(count).filter_map(assign).collect::<Vec<_>>().join(", ")
}

/// What a row `EXCLUDED` of another inventory does to a known row `i` of the same address: observations add up, and of the
/// answers those of the later one stay, GreyNoise's by themselves. `names` are all columns, ready for SQL.
pub fn merged(names: &[String]) -> String {
    let later = |time: &str, name: &str| {
        format!(
            "{name} = CASE WHEN coalesce(EXCLUDED.{time}, '-infinity') > coalesce(i.{time}, '-infinity')
                 THEN EXCLUDED.{name} ELSE i.{name} END"
        )
    };
    let seen = |name: &str, which: &str| {
        format!(
            "{name} = CASE WHEN i.observation_count <= 0 THEN EXCLUDED.{name} WHEN EXCLUDED.observation_count <= 0 THEN i.{name}
                 ELSE {which}(i.{name}, EXCLUDED.{name}) END"
        )
    };
    let assign = |name: &String| {
        match name.as_str() {
        "ip_address" => None,
        "observation_count" => Some(
            "observation_count = greatest(i.observation_count, 0)
                 + least(greatest(EXCLUDED.observation_count, 0), 9223372036854775807 - greatest(i.observation_count, 0))"
                .to_owned(),
        ),
        "first_seen_at" => Some(seen(name, "least")),
        "last_seen_at" => Some(seen(name, "greatest")),
        _ if name.starts_with("scanner_") || name.starts_with("greynoise_") => Some(later("scanner_ts", name)),
        _ if is_ours(name) => Some(later("enrichment_ts", name)),
        _ => Some(format!("{name} = coalesce(i.{name}, EXCLUDED.{name})")),
    }
    };
    names.iter().filter_map(assign).collect::<Vec<_>>().join(", ")
}

/// Whether the extension made this column of the inventory.
fn is_ours(name: &str) -> bool {
    name.starts_with("cymru_") || name == "maxmind_ts" || Column::ALL.iter().any(|column| column.name() == name)
}
