//! The values to read from each row of an attached table: the arguments of its trigger or index, resolved on the table's
//! columns or the index's.
//!
//! Resolving costs as much as everything else that the trigger does for a single row, so a backend keeps the result
//! until the table changes: PostgreSQL says so through the relation cache, where triggers and columns both live.
#![allow(unsafe_code, reason = "reads rows of a transition table")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use enrich::condition::Condition;
use enrich::selector::{EventTime, Selector};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::prelude::*;

use super::arguments::{Arguments, CONDITION};
use super::extract::{Extractor, column};
use super::indexes;
use super::indexes::Above;
use super::moment::Moment;
use super::only::Only;
use super::sensor::Sensor;
use super::tally::Tally;
use super::unread::Unread;
use crate::pg::citus;
use crate::pg::errors::warn;
use crate::pg::session;
use crate::pg::shape;

/// The values to read from each row.
pub struct Plan {
    key: (pg_sys::Oid, pg_sys::Oid),
    extractors: Vec<Extractor>,
    /// The original text of each.
    selectors: Vec<String>,
    observed_at: Option<Moment>,
    /// Which rows are events; `None`: all of them.
    only: Option<Only>,
    /// Who saw a row; `None`: nobody says.
    sensor: Option<Sensor>,
    /// Arguments whose column can no longer be read.
    misfits: Vec<String>,
    /// When a sample of a statement without an address was last taken.
    sampled: Cell<i64>,
    /// The same rows come to another node of a cluster, which counts them.
    counts_elsewhere: bool,
    /// Of a trigger on a partition: the index above that sees its rows, if there is one.
    index_above: Cell<Option<Above>>,
    /// What [`changes`] said when that was found.
    found_at: Cell<u64>,
    /// The table is a partition.
    is_partition: bool,
    /// Reading most rows calls nothing of PostgreSQL's, which could raise an error.
    is_bare: bool,
    /// Where the table is a shard: the whole table.
    whole: pg_sys::Oid,
    /// It was made in the transaction that made the table, before a cluster knew all about that.
    is_early: bool,
}

/// The part of a row that is to be read outside of a guard.
#[derive(Clone, Copy)]
pub enum Left {
    /// All of it.
    Whole,
    /// The time is read; the columns from this one on are not.
    From(usize),
}

/// Microseconds between two samples of statements without an address: taking one costs more than a small statement.
const SAMPLE_EVERY: i64 = 1_000_000;
/// Rows of such a statement that are looked at for one.
const SAMPLE_ROWS: u32 = 100;

/// Asked for every row: see [`super::running`].
static CHANGES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    // By table and trigger, or index: a table may have triggers made by hand beside ours.
    static PLANS: RefCell<HashMap<(pg_sys::Oid, pg_sys::Oid), Rc<Plan>>> = RefCell::new(HashMap::new());
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// The warnings that this session got, by table and trigger.
    static TOLD: RefCell<HashMap<(pg_sys::Oid, pg_sys::Oid), Vec<String>>> = RefCell::new(HashMap::new());
}

impl Plan {
    /// The plan of a trigger's table, made or kept.
    ///
    /// # Safety
    /// `data` must be that of a running trigger, and `desc` its table's.
    pub unsafe fn of(data: &pg_sys::TriggerData, desc: pg_sys::TupleDesc) -> Rc<Plan> {
        // SAFETY: the trigger's arguments are NUL-terminated texts in the relation cache.
        unsafe {
            let arguments = || {
                let trigger = &*data.tg_trigger;
                let text = |i| crate::pg::encoding::from_server(CStr::from_ptr(*trigger.tgargs.add(i)).to_bytes());
                Arguments::parse((0..trigger.tgnargs as usize).map(text))
            };
            let table = &*data.tg_relation;
            Plan::kept(table, (*data.tg_trigger).tgoid, desc, arguments, || indexes::above(table))
        }
    }

    /// The plan of an object, given by its OID, that observes a table: made or kept until the one or the other changes. It
    /// reads rows of `desc`. `arguments` says what is read, and `above` by which index the rows are counted instead, if any.
    ///
    /// # Safety
    /// `desc` must be a valid descriptor.
    pub unsafe fn kept(
        table: &pg_sys::RelationData,
        object: pg_sys::Oid,
        desc: pg_sys::TupleDesc,
        arguments: impl FnOnce() -> Arguments,
        above: impl FnOnce() -> Option<Above>,
    ) -> Rc<Plan> {
        let (key, is_early) = ((table.rd_id, object), citus::is_new(table));
        if let Some(plan) = PLANS.with(|plans| plans.borrow().get(&key).cloned())
            && plan.is_early == is_early
        {
            // It follows from triggers of the table above, and from an index that may have come to belong to one above
            // since: neither of them is this table's own.
            if plan.is_partition && plan.found_at.get() != changes() {
                let found_at = changes();
                plan.index_above.set(above());
                plan.found_at.set(found_at);
            }
            return plan;
        }
        if !REGISTERED.replace(true) {
            // SAFETY: a static function, registered once a backend.
            unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(forget), Datum::null()) };
        }
        let found_at = changes();
        let (arguments, index_above) = (arguments(), above());
        // SAFETY: see above.
        let mut plan = unsafe { Plan::new(key, is_early, desc, arguments) };
        plan.index_above.set(index_above);
        plan.found_at.set(found_at);
        // SAFETY: the table is open.
        plan.is_partition = unsafe { (*table.rd_rel).relispartition };
        let plan = Rc::new(plan);
        PLANS.with(|plans| plans.borrow_mut().insert(key, plan.clone()));
        plan
    }

    /// A column that is gone or changed its type since the table was attached must not fail the insert: it is passed
    /// over, with a warning.
    ///
    /// # Safety
    /// As `kept`.
    unsafe fn new(
        key: (pg_sys::Oid, pg_sys::Oid),
        is_early: bool,
        desc: pg_sys::TupleDesc,
        arguments: Arguments,
    ) -> Plan {
        let mut plan = Plan {
            key,
            extractors: Vec::new(),
            selectors: Vec::new(),
            observed_at: None,
            only: None,
            sensor: None,
            misfits: Vec::new(),
            sampled: Cell::new(i64::MIN),
            counts_elsewhere: citus::counts_elsewhere(key.0),
            index_above: Cell::new(None),
            found_at: Cell::new(0),
            is_partition: false,
            is_bare: false,
            whole: citus::shard_of(key.0).map_or(pg_sys::InvalidOid, |(whole, _)| whole),
            is_early,
        };
        let is_column = |name: &str| column(desc, name).is_some();
        // Rows hold no value of a virtual column.
        // SAFETY: see above.
        let is_stored = |name: &str| column(desc, name).is_none_or(|at| !unsafe { shape::is_virtual(desc, at) });
        if let Some(name) = arguments.observed_at {
            let time = Some(EventTime::parse(&name, is_column)).filter(|time| is_stored(&time.column));
            // SAFETY: see above.
            plan.observed_at = time.and_then(|time| unsafe { Moment::new(desc, &time) }.ok());
            if plan.observed_at.is_none() {
                plan.misfits.push(name);
            }
        }
        if let Some(condition) = arguments.only_where {
            let parsed = Condition::parse(&condition).ok();
            let parsed = parsed.filter(|only| only.0.iter().all(|test| is_stored(&test.value.column)));
            // SAFETY: see above.
            let parsed = parsed.and_then(|only| unsafe { Only::new(&only, desc).ok() });
            if parsed.is_none() {
                plan.misfits.push(format!("{CONDITION}{condition}"));
            }
            // Nothing meets a condition that cannot be read: other rows are not to be counted in their place.
            plan.only = Some(parsed.unwrap_or_else(Only::nothing));
        }
        if let Some(name) = arguments.sensor {
            let selector = Sensor::selector(&name).filter(|selector| is_stored(&selector.column));
            // SAFETY: see above.
            plan.sensor = selector.and_then(|selector| unsafe { Sensor::new(&selector, desc).ok() });
            if plan.sensor.is_none() {
                plan.misfits.push(name);
            }
        }
        for text in arguments.selectors {
            let selector = Selector::parse(&text).ok().filter(|selector| is_stored(&selector.column));
            // SAFETY: see above.
            match selector.and_then(|selector| unsafe { Extractor::new(&selector, desc).ok() }) {
                Some(extractor) => {
                    plan.extractors.push(extractor);
                    plan.selectors.push(text);
                }
                None => plan.misfits.push(text),
            }
        }
        plan.is_bare =
            plan.observed_at.as_ref().is_none_or(Moment::is_bare) && plan.only.is_none() && plan.sensor.is_none();
        plan
    }

    /// Whether reading a row calls nothing of PostgreSQL's that could raise an error: it needs no guard then.
    ///
    /// # Safety
    /// `value` must give the values of a row of the plan's descriptor.
    #[inline]
    pub unsafe fn is_bare(&self, value: impl Fn(i16) -> Option<Datum>) -> bool {
        let is_bare = |extractor: &Extractor| {
            // SAFETY: see above.
            value(extractor.attribute).is_none_or(|datum| unsafe { extractor.is_bare(datum) })
        };
        self.is_bare && self.extractors.iter().all(is_bare)
    }

    /// Whether the rows that are written now are counted elsewhere.
    #[inline]
    pub fn counts_elsewhere(&self) -> bool {
        let counts = |above: Above| match above {
            Above::LeavesAll => false,
            Above::CountsOwn => !session::is_replica(),
            Above::CountsAll => true,
        };
        self.counts_elsewhere || self.index_above.get().is_some_and(counts)
    }

    /// Warns of columns that can no longer be read: once a session, and again when the columns change. A loader inserts
    /// a thousand times an hour, and a plan is made again after each change of the table.
    pub fn warn(&self) {
        if self.misfits.is_empty() {
            return;
        }
        let told = TOLD.with(|told| told.borrow_mut().insert(self.key, self.misfits.clone()));
        if told.as_ref() == Some(&self.misfits) {
            return;
        }
        for argument in &self.misfits {
            if let Some(condition) = argument.strip_prefix(CONDITION) {
                warn(
                    format!("condition \"{condition}\" can no longer be read, and no row is observed"),
                    "One of its columns is gone, or changed its type, since the table was attached, or is virtual.",
                    "Call attach_ip_source again with an only_where for the columns that the table has now.",
                );
                continue;
            }
            warn(
                format!("column \"{argument}\" is missing or changed type and is no longer observed"),
                "The column is gone, or changed its type, since the table was attached, or is virtual.",
                "Call attach_ip_source again with the columns that the table has now.",
            );
        }
    }

    /// Counts the addresses of one row: what [`Plan::row_in_guard`] left. `value` reads a column.
    ///
    /// # Safety
    /// `value` must give the values of a row of the plan's descriptor.
    pub unsafe fn rest_of_row(
        &self,
        value: impl Fn(i16) -> Option<Datum> + Copy,
        left: Left,
        now: i64,
        tally: &mut Tally,
    ) {
        // SAFETY: the attributes were resolved on this descriptor.
        unsafe {
            if !self.only.as_ref().is_none_or(|only| only.is_met(value)) {
                return;
            }
            // What was counted of it in the guard is not counted again.
            let mut counted = Tally::default();
            let (from, is_new) = match left {
                Left::Whole => (0, true),
                Left::From(column) => (column, false),
            };
            match &self.sensor {
                Some(sensor) => sensor.turn(value, tally),
                None => tally.groups.of_no_sensor(),
            }
            let at = self.moment(now, value, if is_new { tally } else { &mut counted });
            for extractor in &self.extractors[from..] {
                if let Some(datum) = value(extractor.attribute) {
                    extractor.tally(datum, at, tally);
                }
            }
        }
    }

    /// Counts the addresses of one row inside a guard (see [`crate::pg::raw`]), which is quick. If a value cannot be read
    /// there, returns what is to be read outside. `value` reads a column.
    ///
    /// # Safety
    /// `value` must give the values of a row of the plan's descriptor.
    #[inline]
    pub unsafe fn row_in_guard(
        &self,
        value: impl Fn(i16) -> Option<Datum> + Copy,
        now: i64,
        tally: &mut Tally,
    ) -> Result<(), Left> {
        // SAFETY: the attributes were resolved on this descriptor.
        unsafe {
            if let Some(only) = &self.only {
                match only.is_met_in_guard(value) {
                    Some(true) => {}
                    Some(false) => return Ok(()),
                    None => return Err(Left::Whole),
                }
            }
            match &self.sensor {
                Some(sensor) if !sensor.turn_in_guard(value, tally) => return Err(Left::Whole),
                Some(_) => {}
                // The rows of a table may come by several indexes, and not all read a sensor.
                None => tally.groups.of_no_sensor(),
            }
            let at = match &self.observed_at {
                Some(moment) => match value(moment.attribute()) {
                    Some(datum) => moment.read_in_guard(datum, now, tally).ok_or(Left::Whole)?,
                    None => now,
                },
                None => now,
            };
            for (column, extractor) in self.extractors.iter().enumerate() {
                if let Some(datum) = value(extractor.attribute)
                    && !extractor.tally_in_guard(datum, at, tally)
                {
                    return Err(Left::From(column));
                }
            }
        }
        Ok(())
    }

    /// Why a statement had no address at all, by the first of its rows that holds anything; `None` when that was asked a
    /// moment ago.
    ///
    /// # Safety
    /// `store` must hold the rows of the trigger's table, and `slot` fit them.
    pub unsafe fn why_nothing(
        &self,
        store: *mut pg_sys::Tuplestorestate,
        slot: *mut pg_sys::TupleTableSlot,
        now: i64,
    ) -> Option<Unread> {
        // SAFETY: see above.
        let next = || unsafe { pg_sys::tuplestore_gettupleslot(store, true, false, slot) };
        self.sample(now, || {
            // SAFETY: see above.
            unsafe { pg_sys::tuplestore_rescan(store) };
            let held = || {
                // SAFETY: see above.
                unsafe { self.why_nothing_held(|attribute| of_slot(slot, attribute)) }
            };
            (0..SAMPLE_ROWS).take_while(|_| next()).find_map(|_| held())
        })
    }

    /// The same of a single row, of which `value` reads a column.
    ///
    /// # Safety
    /// `value` must give the values of a row of the plan's descriptor.
    pub unsafe fn why_nothing_in(&self, value: impl Fn(i16) -> Option<Datum> + Copy, now: i64) -> Option<Unread> {
        // SAFETY: see above.
        self.sample(now, || unsafe { self.why_nothing_held(value) })
    }

    /// Asks `rows`, unless that was done a moment ago.
    fn sample(&self, now: i64, rows: impl FnOnce() -> Option<Unread>) -> Option<Unread> {
        if now < self.sampled.get().saturating_add(SAMPLE_EVERY) {
            return None;
        }
        self.sampled.set(now);
        if let (true, Some(misfit)) = (self.extractors.is_empty(), self.misfits.last()) {
            return Some(Unread::new(None, &format!("{misfit}: cannot be read any more")));
        }
        let nothing = match &self.only {
            Some(_) => "only_where: no row that meets it holds a value".to_owned(),
            None => format!("{}: null", self.selectors.join(", ")),
        };
        Some(rows().unwrap_or_else(|| Unread::new(None, &nothing)))
    }

    /// Why the values of a row hold no address; `None`: the row has no values.
    ///
    /// # Safety
    /// As [`Plan::why_nothing_in`].
    unsafe fn why_nothing_held(&self, value: impl Fn(i16) -> Option<Datum> + Copy) -> Option<Unread> {
        // SAFETY: see above.
        if !self.only.as_ref().is_none_or(|only| unsafe { only.is_met(value) }) {
            return None;
        }
        self.extractors.iter().zip(&self.selectors).find_map(|(extractor, selector)| {
            // SAFETY: see above.
            value(extractor.attribute).map(|datum| unsafe { extractor.why_nothing(datum) }.of(selector))
        })
    }

    /// When the event of a row happened.
    ///
    /// # Safety
    /// `value` must give the values of a row of the trigger's table.
    unsafe fn moment(&self, now: i64, value: impl Fn(i16) -> Option<Datum>, tally: &mut Tally) -> i64 {
        let Some(moment) = &self.observed_at else { return now };
        // SAFETY: see above.
        value(moment.attribute()).map_or(now, |datum| unsafe { moment.read(datum, now, tally) })
    }
}

/// A column of the row in a slot, outside of a guard; `None` when null.
///
/// # Safety
/// `slot` must hold a row that has this column.
pub unsafe fn of_slot(slot: *mut pg_sys::TupleTableSlot, attribute: i16) -> Option<Datum> {
    let mut null = false;
    // SAFETY: see above.
    let datum = unsafe { pg_sys::slot_getattr(slot, attribute.into(), &mut null) };
    (!null).then_some(datum)
}

/// How often plans were forgotten in this session: who keeps one sees by this that it may be another now.
#[inline]
pub fn changes() -> u64 {
    CHANGES.load(Ordering::Relaxed)
}

/// A table or an index changed, or (with no OID) any may have. Runs inside PostgreSQL's cache invalidation: it must not call back.
#[pg_guard]
unsafe extern "C-unwind" fn forget(_argument: Datum, table: pg_sys::Oid) {
    PLANS.with(|plans| {
        let mut plans = plans.borrow_mut();
        CHANGES.fetch_add(1, Ordering::Relaxed);
        if table == pg_sys::InvalidOid {
            plans.clear();
        } else {
            // Where rows of a shard are counted changes with the whole table's placements.
            plans.retain(|(of, object), plan| ![*of, *object, plan.whole].contains(&table));
        }
    });
}
