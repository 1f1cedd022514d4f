//! The page that Prometheus reads: families of samples, each sample with the name of the database, so that the pages of
//! several databases can be read as one.

use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// The prefix of every name.
const PREFIX: &str = "asn_inventory_";

/// Labels of a sample, beside the database.
pub type Labels = Vec<(&'static str, String)>;

/// One value, with its labels.
pub struct Sample {
    labels: Labels,
    value: f64,
}

impl Sample {
    /// A value that is known; `None` for one that is not.
    pub fn labelled(labels: Labels, value: Option<f64>) -> Option<Sample> {
        value.filter(|value| value.is_finite()).map(|value| Sample { labels, value })
    }

    /// A value that is known and has no labels of its own.
    pub fn of(value: Option<f64>) -> Option<Sample> {
        Sample::labelled(Vec::new(), value)
    }

    /// The same for one source.
    pub fn of_source(source: &str, value: Option<f64>) -> Option<Sample> {
        Sample::labelled(vec![("source", source.to_owned())], value)
    }
}

/// Durations that were counted.
pub struct Durations {
    /// Labels, beside the database.
    pub labels: Labels,
    /// Upper bounds in seconds, ascending, and how many took no longer.
    pub buckets: Vec<(f64, u64)>,
    /// How many there are.
    pub count: u64,
    /// All together, in seconds.
    pub sum: f64,
}

/// The page under construction.
pub struct Page {
    database: String,
    families: Vec<MetricFamily>,
}

impl Page {
    /// An empty page of a database.
    pub fn of(database: String) -> Page {
        Page { database, families: Vec::new() }
    }

    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
        let metrics = samples.into_iter().map(|sample| {
            let mut gauge = Gauge::default();
            gauge.set_value(sample.value);
            let mut metric = self.metric(sample.labels);
            metric.set_gauge(gauge);
            metric
        });
        let metrics = metrics.collect();
        self.family(name, help, MetricType::GAUGE, metrics);
    }

    /// A value that only grows: until the server restarts, or, where a table keeps it, for as long as its row is there.
    pub fn counter(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
        let metrics = samples.into_iter().map(|sample| {
            let mut counter = Counter::default();
            counter.set_value(sample.value);
            let mut metric = self.metric(sample.labels);
            metric.set_counter(counter);
            metric
        });
        let metrics = metrics.collect();
        self.family(name, help, MetricType::COUNTER, metrics);
    }

    /// How long something takes.
    pub fn histogram(&mut self, name: &str, help: &str, all: impl IntoIterator<Item = Durations>) {
        let metrics = all.into_iter().map(|durations| {
            let buckets = durations.buckets.iter().map(|(bound, count)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(*count);
                bucket
            });
            let mut histogram = Histogram::default();
            histogram.set_bucket(buckets.collect());
            histogram.set_sample_count(durations.count);
            histogram.set_sample_sum(durations.sum);
            let mut metric = self.metric(durations.labels);
            metric.set_histogram(histogram);
            metric
        });
        let metrics = metrics.collect();
        self.family(name, help, MetricType::HISTOGRAM, metrics);
    }

    fn metric(&self, labels: Labels) -> Metric {
        let pairs = std::iter::once(("database", self.database.clone())).chain(labels);
        Metric::from_label(pairs.map(|(name, value)| pair(name, value)).collect())
    }

    /// A family without samples is none: the format wants at least one.
    fn family(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(format!("{PREFIX}{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.families.push(family);
    }

    /// The text. Label values are escaped as the format wants it.
    pub fn text(&self) -> String {
        // It refuses families without a name or samples alone, and there are none.
        TextEncoder::new().encode_to_string(&self.families).unwrap_or_default()
    }
}

fn pair(name: &str, value: String) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value);
    pair
}
