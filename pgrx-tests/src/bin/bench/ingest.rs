//! COPY of events into a table that is observed, by trigger and by index, against the same table that is not, with the worker
//! running. Each batch goes into each of them, one right after the other: what else the machine does changes from second to
//! second by more than what is measured, so the figure is the median of the ratios of such neighbours.

use postgres::Client;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::data::{Events, heavy_tailed};
use crate::network::{Site, kill_sources};
use crate::stage::{Outcome, Stage, execute, median, number, processor_time, value};
use crate::table::{Row, thousands};

const ROUNDS: usize = 2;
const BATCH: usize = 10_000;
const MAX_RATIO: f64 = 1.05;
/// Observed by index: a column, and a value in jsonb.
const MAX_INDEX_RATIO: f64 = 1.03;
const MAX_PATH_RATIO: f64 = 1.05;
const MAX_OFF_RATIO: f64 = 1.01;
/// Beside dead sources: this part of the events, so often each way, and at most so much slower.
const DEAD_SHARE: usize = 10;
const DEAD_ROUNDS: usize = 15;
const MAX_DEAD_RATIO: f64 = 1.02;
/// Addresses that events with a heavy tail come from; about four fifths of them occur.
const POOL: usize = 75_000;

pub fn run(stage: &Stage) -> Outcome<Vec<Row>> {
    let mut client = stage.session("ingest, housekeeping");
    for mode in Mode::ALL {
        let table = mode.table();
        make_table(&mut client, table)?;
        match mode {
            Mode::Plain => {}
            Mode::Attached | Mode::Off => attach(&mut client, table)?,
            Mode::Path => attach_by_index(&mut client, table)?,
            Mode::Index | Mode::IndexOff => {
                let call = format!("SELECT attach_ip_source('{table}', '{{src_ip}}', 'event_time', method => 'index')");
                value(&mut client, &call)?;
            }
        }
    }
    let count = stage.addresses.len();
    let mut rows = Vec::new();

    let pool = &stage.addresses[..POOL.min(count / 10)];
    let events = Events::new(count, BATCH, |random, _| heavy_tailed(random, pool));
    let (kilobytes, distinct) = (events.batches.iter().map(Vec::len).sum::<usize>() / 1000, thousands(events.distinct));
    let what = format!("COPY of {} events ({kilobytes} kB), {distinct} addresses", thousands(events.count));
    let [plain, attached, index, path, off, index_off] = side_by_side(stage, &mut client, &events, Mode::ALL)?;
    for (name, own, limit) in [
        ("by trigger", &attached, MAX_RATIO),
        ("by index", &index, MAX_INDEX_RATIO),
        ("by index, in jsonb", &path, MAX_PATH_RATIO),
        ("by trigger, enabled = off", &off, MAX_OFF_RATIO),
        ("by index, enabled = off", &index_off, MAX_OFF_RATIO),
    ] {
        rows.extend(compare(format!("{what}, {name}"), own, &plain, limit));
    }
    for mode in [Mode::Attached, Mode::Index] {
        rows.push(keeps_up(&[load(stage, &mut client, &events, mode)?]));
    }
    drop(events);

    let events = Events::new(count, BATCH, |_, number| stage.addresses[number]);
    let what = format!("COPY of {} events, {} addresses", thousands(events.count), thousands(events.distinct));
    let modes = [Mode::Plain, Mode::Attached, Mode::Index];
    let [plain, attached, index] = side_by_side(stage, &mut client, &events, modes)?;
    rows.extend(compare(format!("{what}, by trigger"), &attached, &plain, MAX_RATIO));
    rows.extend(compare(format!("{what}, by index"), &index, &plain, MAX_RATIO));
    rows.push(keeps_up(&[load(stage, &mut client, &events, Mode::Attached)?]));
    let tables = Mode::ALL.map(Mode::table).join(", ");
    execute(&mut client, &format!("DROP TABLE {tables}"))?;
    Ok(rows)
}

/// Both sources on and dead against both off, with addresses that both are due for.
pub fn beside_dead_sources(stage: &Stage) -> Outcome<Vec<Row>> {
    let site = Site::start("ingest", stage.quick, &[])?;
    kill_sources(&site.fakes);
    let mut client = site.stage.session("network, ingest, housekeeping");
    make_table(&mut client, "events_attached")?;
    attach(&mut client, "events_attached")?;
    // Loads much shorter than a second say nothing.
    let count = (stage.addresses.len() / DEAD_SHARE).max(stage.addresses.len().min(100_000));
    let pool = &stage.addresses[..(POOL / DEAD_SHARE).min(count / 2)];
    let events = Events::new(count, BATCH, |random, _| heavy_tailed(random, pool));
    let (mut dead, mut off) = (Vec::new(), Vec::new());
    for round in 0..DEAD_ROUNDS {
        // The order changes, so that the remains of one do not always slow the other.
        for on in [round % 2 == 0, round % 2 != 0] {
            let switch = if on { "on" } else { "off" };
            for source in ["cymru", "greynoise"] {
                site.stage.cluster.set(&format!("asn_inventory.{source}"), switch);
            }
            let load = load(&site.stage, &mut client, &events, Mode::Attached)?;
            if on { dead.push(load) } else { off.push(load) }
        }
    }
    let what = format!("network: COPY of {} events, both sources on and dead", thousands(events.count));
    let (own, other) = (middle(&dead, |load| load.seconds), middle(&off, |load| load.seconds));
    // Of neighbours in time: what else the machine does comes and goes, and is a multiple of the limit.
    let ratios: Vec<f64> = dead.iter().zip(&off).map(|(dead, off)| dead.seconds / off.seconds).collect();
    let ratio = median(&ratios);
    Ok(vec![
        Row::new(what, format!("{own:.2} s")).against(format!("{other:.2} s  both off")).ratio(ratio).at_most(
            ratio,
            MAX_DEAD_RATIO,
            " ×",
        ),
        processor(&dead, &off, "both off"),
        Row::new("  processor time of the worker", format!("{:.2} s", middle(&dead, |load| load.worker)))
            .against(format!("{:.2} s  both off", middle(&off, |load| load.worker))),
    ])
}

/// Events with two indexes.
pub fn make_table(client: &mut Client, table: &str) -> Outcome<()> {
    execute(
        client,
        &format!(
            "DROP TABLE IF EXISTS {table};
         CREATE TABLE {table} (
             id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             event_time timestamptz NOT NULL,
             src_ip inet,
             payload jsonb NOT NULL);
         CREATE INDEX ON {table} (event_time)"
        ),
    )?;
    Ok(())
}

/// Has the table's events observed.
pub fn attach(client: &mut Client, table: &str) -> Outcome<()> {
    value(client, &format!("SELECT attach_ip_source('{table}', '{{payload->>src_ip}}', 'event_time')"))?;
    Ok(())
}

/// The same by an index.
pub fn attach_by_index(client: &mut Client, table: &str) -> Outcome<()> {
    let call = format!("SELECT attach_ip_source('{table}', '{{payload->>src_ip}}', 'event_time', method => 'index')");
    value(client, &call)?;
    Ok(())
}

/// An empty inventory and queue, nothing left to write.
pub fn settle(stage: &Stage, client: &mut Client, table: &str) -> Outcome<()> {
    stage.drained(client)?;
    for statement in [&format!("TRUNCATE ip_inventory, {table}"), "VACUUM ip_observation", "CHECKPOINT"] {
        execute(client, statement)?;
    }
    Ok(())
}

/// Each with a table of its own: one that two of them load into has twice the rows, and its indexes cost more.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Plain,
    /// By trigger, a value in jsonb.
    Attached,
    /// By index, a column.
    Index,
    /// By index, a value in jsonb.
    Path,
    /// By trigger, and switched off in the session.
    Off,
    IndexOff,
}

impl Mode {
    const ALL: [Mode; 6] = [Mode::Plain, Mode::Attached, Mode::Index, Mode::Path, Mode::Off, Mode::IndexOff];

    fn table(self) -> &'static str {
        match self {
            Mode::Plain => "events_plain",
            Mode::Attached => "events_attached",
            Mode::Index => "events_index",
            Mode::Path => "events_path",
            Mode::Off => "events_off",
            Mode::IndexOff => "events_index_off",
        }
    }

    fn is_off(self) -> bool {
        matches!(self, Mode::Off | Mode::IndexOff)
    }

    fn observes(self) -> bool {
        matches!(self, Mode::Attached | Mode::Index | Mode::Path)
    }
}

/// The figures of one load of all events.
#[derive(Clone, Default)]
struct Load {
    seconds: f64,
    /// The loader's backend on a processor, and the worker.
    backend: f64,
    worker: f64,
    /// Most rows in the queue after a batch.
    peak: f64,
    /// From the last commit until the queue was empty.
    drain: f64,
}

/// Of each batch, the time in seconds, and that of its session on a processor.
type Batches = Vec<(f64, f64)>;
type Figure = fn(&(f64, f64)) -> f64;

/// Loads each batch into each table, in an order that turns.
fn side_by_side<const N: usize>(
    stage: &Stage,
    client: &mut Client,
    events: &Events,
    modes: [Mode; N],
) -> Outcome<[Batches; N]> {
    let mut figures = std::array::from_fn(|_| Vec::new());
    for _ in 0..ROUNDS {
        let mut sessions = Vec::new();
        for mode in modes {
            settle(stage, client, mode.table())?;
            let mut session = stage.session(mode.table());
            if mode.is_off() {
                execute(&mut session, "SET asn_inventory.enabled = off")?;
            }
            let backend = number(&mut session, "SELECT pg_backend_pid()")?;
            sessions.push((session, backend));
        }
        for (number, batch) in events.batches.iter().enumerate() {
            for at in 0..N {
                let at = (at + number) % N;
                let (session, backend) = &mut sessions[at];
                let (busy, start) = (nanoseconds(*backend)?, Instant::now());
                let table = modes[at].table();
                let mut copy = session.copy_in(&format!("COPY {table} (event_time, src_ip, payload) FROM STDIN"))?;
                copy.write_all(batch)?;
                copy.finish()?;
                let took = start.elapsed().as_secs_f64();
                figures[at].push((took, (nanoseconds(*backend)? - busy) / 1e9));
            }
        }
        stage.drained(client)?;
        let observing = modes.iter().filter(|mode| mode.observes()).count() as u64;
        let wanted = (events.count * observing, events.distinct);
        let counted = (
            number(client, "SELECT coalesce(sum(observation_count), 0) FROM ip_inventory")? as u64,
            number(client, "SELECT count(*) FROM ip_inventory")? as u64,
        );
        if counted != wanted {
            return Err(format!("{counted:?} observations and addresses instead of {wanted:?}").into());
        }
    }
    Ok(figures)
}

/// Time of a process on a processor so far.
fn nanoseconds(pid: f64) -> Outcome<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}

fn load(stage: &Stage, client: &mut Client, events: &Events, mode: Mode) -> Outcome<Load> {
    let table = mode.table();
    settle(stage, client, table)?;
    let mut loader = stage.session(table);
    // Not from the table: a scan of the queue would disturb the measurement.
    let absorbed = "SELECT absorbed FROM _worker_status()";
    let before = number(client, absorbed)?;
    let backend = number(&mut loader, "SELECT pg_backend_pid()")?;
    let worker = number(client, "SELECT worker_pid FROM _worker_status()")?;
    let busy_before = (processor_time(backend)?, processor_time(worker)?);
    let (mut took, mut queued, mut load) = (Duration::ZERO, 0.0, Load::default());
    for (batch, distinct) in events.batches.iter().zip(&events.queued) {
        let start = Instant::now();
        let mut copy = loader.copy_in(&format!("COPY {table} (event_time, src_ip, payload) FROM STDIN"))?;
        copy.write_all(batch)?;
        copy.finish()?;
        took += start.elapsed();
        queued += *distinct as f64;
        load.peak = f64::max(load.peak, queued - (number(client, absorbed)? - before));
    }
    load.seconds = took.as_secs_f64();
    load.backend = processor_time(backend)? - busy_before.0;
    load.drain = stage.drained(client)?.as_secs_f64();
    load.worker = processor_time(worker)? - busy_before.1;
    let wanted = if mode.observes() { (events.count, events.distinct) } else { (0, 0) };
    let counted = (
        number(client, "SELECT coalesce(sum(observation_count), 0) FROM ip_inventory")? as u64,
        number(client, "SELECT count(*) FROM ip_inventory")? as u64,
    );
    if counted != wanted {
        return Err(format!("{table}: {counted:?} observations and addresses instead of {wanted:?}").into());
    }
    eprintln!("    {table}: {:.2} s, {:.2} s of a processor", load.seconds, load.backend);
    Ok(load)
}

fn middle(loads: &[Load], figure: impl Fn(&Load) -> f64) -> f64 {
    median(&loads.iter().map(figure).collect::<Vec<f64>>())
}

fn compare(what: String, own: &Batches, plain: &Batches, limit: f64) -> [Row; 2] {
    let ratio = |figure: Figure| {
        median(&own.iter().zip(plain).map(|(own, plain)| figure(own) / figure(plain)).collect::<Vec<f64>>())
    };
    let row = |what: String, figure: Figure| {
        let middle = |of: &Batches| median(&of.iter().map(figure).collect::<Vec<f64>>()) * 1e3;
        Row::new(what, format!("{:.1} ms a batch", middle(own)))
            .against(format!("{:.1} ms  not observed", middle(plain)))
            .ratio(ratio(figure))
    };
    let [wall, busy]: [Figure; 2] = [|batch| batch.0, |batch| batch.1];
    [
        row(what, wall).at_most(ratio(wall), limit, " ×"),
        row("  processor time of the loader".to_owned(), busy).at_most(ratio(busy), limit, " ×"),
    ]
}

/// For information: figures that a busy machine does not disturb.
fn processor(own: &[Load], other: &[Load], name: &str) -> Row {
    let (backend, alone) = (middle(own, |load| load.backend), middle(other, |load| load.backend));
    let worker = middle(own, |load| load.worker);
    Row::new("  processor time of the loader", format!("{backend:.2} s"))
        .against(format!("{alone:.2} s  {name} (and the worker's {worker:.2} s)"))
        .ratio(backend / alone)
}

/// Absorbing keeps up when the queue empties within a second (`absorb_interval`) and a tenth of the load's time.
fn keeps_up(loads: &[Load]) -> Row {
    let (drain, seconds) = (middle(loads, |load| load.drain), middle(loads, |load| load.seconds));
    let peak = loads.iter().map(|load| load.peak).fold(0.0, f64::max);
    Row::new("  absorbing: from the last commit to an empty queue", format!("{drain:.2} s"))
        .against(format!("queue peak {} rows", thousands(peak as u64)))
        .at_most(drain, ((1.0 + seconds / 10.0) * 10.0).round() / 10.0, " s")
}
