//! What the running statement does with rows, for the index that observes them: to an index, the new version of an updated
//! row looks like a new row, and so does a row that an UPDATE moves to another partition.
//!
//! Hooks on the executor and on COPY keep it up to date, innermost statement first. Each takes a few nanoseconds a
//! statement. After an error, the end of the (sub)transaction puts back what was running when that began.
#![allow(unsafe_code, reason = "hooks on the executor, which call on without a guard")]

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU8, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::portal;
use crate::pg::raw;

/// What a row that comes to an index may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Running {
    /// A new one, in each case: COPY, and an INSERT without ON CONFLICT.
    Inserts,
    /// None: only rows that are there already get new versions, or move.
    Updates,
    /// The row itself tells: see [`crate::pg::tuple`].
    Either,
    /// The same, where no statement was seen to begin: a subscription's worker runs none.
    Unknown,
}

/// What runs.
#[derive(Clone, Copy, Debug)]
struct State {
    running: Running,
    /// The statement, where it both inserts and updates in WITH queries, and says of which tables; else null. It is valid for as long
    /// as it runs.
    both: *const pg_sys::PlannedStmt,
}

impl State {
    const UNKNOWN: State = State { running: Running::Unknown, both: std::ptr::null() };
}

/// Asked for every row. Of the process, which has one thread for this: one of the thread costs a call each time.
static RUNNING: Now = Now(AtomicU8::new(Running::Unknown as u8));

struct Now(AtomicU8);

impl Now {
    #[inline]
    fn get(&self) -> Running {
        Now::of(self.0.load(Ordering::Relaxed))
    }

    fn state(&self) -> State {
        State { running: self.get(), both: BOTH.get() }
    }

    fn set(&self, state: State) {
        self.0.store(state.running as u8, Ordering::Relaxed);
        BOTH.set(state.both);
    }

    fn replace(&self, state: State) -> State {
        let before = self.state();
        self.set(state);
        before
    }

    #[inline]
    fn of(number: u8) -> Running {
        const INSERTS: u8 = Running::Inserts as u8;
        const UPDATES: u8 = Running::Updates as u8;
        const EITHER: u8 = Running::Either as u8;
        match number {
            INSERTS => Running::Inserts,
            UPDATES => Running::Updates,
            EITHER => Running::Either,
            _ => Running::Unknown,
        }
    }
}

thread_local! {
    /// What was running when each subtransaction began.
    static BEFORE: RefCell<Vec<(pg_sys::SubTransactionId, State)>> = const { RefCell::new(Vec::new()) };
    /// See [`State`], of the innermost statement.
    static BOTH: Cell<*const pg_sys::PlannedStmt> = const { Cell::new(std::ptr::null()) };
    /// Called when a statement ends that may have inserted rows on trial.
    static AT_END: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// What the innermost statement is, as far as hooks saw it begin.
#[inline]
pub fn now() -> Running {
    RUNNING.get()
}

/// Whether a new row of a table can only be one that the innermost statement moves there from another partition: it updates one of
/// the tables of `line`, which are that table and those above it, and inserts into none of them.
#[inline]
pub fn only_moves(line: &[pg_sys::Oid]) -> bool {
    // SAFETY: null, or a statement that is running.
    let Some(statement) = (unsafe { BOTH.get().as_ref() }) else { return false };
    let mut does = Does::default();
    // SAFETY: see above.
    unsafe { does.note(statement, line) };
    does.updates && !does.inserts
}

/// The same of a statement that no hook saw begin, since the library was loaded in the middle of it: where not all of its partitions have
/// an index, by the first row that comes to one that has. Of what a function runs, that is not known.
#[cold]
pub fn only_moves_unseen(line: &[pg_sys::Oid]) -> bool {
    let mut does = Does::default();
    // SAFETY: a statement that is running.
    portal::each_statement(|statement| unsafe { does.note(statement, line) });
    does.updates && !does.inserts
}

/// What statements do to a table and those above it.
#[derive(Default)]
struct Does {
    updates: bool,
    /// Also where that is not known.
    inserts: bool,
}

impl Does {
    /// # Safety
    /// `statement` must be valid.
    unsafe fn note(&mut self, statement: &pg_sys::PlannedStmt, line: &[pg_sys::Oid]) {
        let note = |operation: pg_sys::CmdType::Type, table: pg_sys::Oid| match operation {
            pg_sys::CmdType::CMD_DELETE => {}
            pg_sys::CmdType::CMD_UPDATE => self.updates |= line.contains(&table),
            _ => self.inserts |= line.contains(&table),
        };
        // SAFETY: see above.
        if !unsafe { each_table(statement, note) } {
            self.inserts = true;
        }
    }
}

/// Has `f` called, once, when the innermost statement ends without an error.
pub fn at_end(f: fn()) {
    AT_END.set(Some(f));
}

/// What a utility statement does.
///
/// # Safety
/// `statement` must be a planned utility statement.
#[inline]
unsafe fn of_utility(statement: *mut pg_sys::PlannedStmt) -> State {
    // SAFETY: a utility statement has a tree, whose tag says of which kind it is.
    let copies = unsafe {
        let tree = (*statement).utilityStmt;
        !tree.is_null() && (*tree).type_ == pg_sys::NodeTag::T_CopyStmt && (*tree.cast::<pg_sys::CopyStmt>()).is_from
    };
    State { running: if copies { Running::Inserts } else { Running::Either }, both: std::ptr::null() }
}

/// What a planned statement does.
///
/// # Safety
/// `statement` must be valid.
unsafe fn of(statement: &pg_sys::PlannedStmt) -> State {
    // SAFETY: what changes rows stands at the top of the plan, or of that of a WITH query, which is one of the subplans. Other
    // extensions put a node of theirs above it: then the command says what a plan does, and of a WITH query nothing does.
    let (inserts, updates) = unsafe {
        let mut does = match statement.commandType {
            pg_sys::CmdType::CMD_SELECT => (false, false),
            pg_sys::CmdType::CMD_UPDATE | pg_sys::CmdType::CMD_DELETE => (false, true),
            _ => changes(statement.planTree),
        };
        if statement.hasModifyingCTE && !statement.subplans.is_null() {
            for i in 0..(*statement.subplans).length as usize {
                let part = changes((*(*statement.subplans).elements.add(i)).ptr_value.cast());
                does = (does.0 || part.0, does.1 || part.1);
            }
        }
        does
    };
    let running = match (inserts, updates) {
        (true, false) => Running::Inserts,
        (false, true) => Running::Updates,
        _ => Running::Either,
    };
    // SAFETY: see above.
    let says = inserts && updates && statement.hasModifyingCTE && unsafe { each_table(statement, |_, _| ()) };
    State { running, both: if says { statement } else { std::ptr::null() } }
}

/// Hands over each table that a statement with WITH queries changes, and what it does there. False: not all of them are known.
///
/// # Safety
/// `statement` must be valid.
unsafe fn each_table(
    statement: &pg_sys::PlannedStmt,
    mut hand_over: impl FnMut(pg_sys::CmdType::Type, pg_sys::Oid),
) -> bool {
    // SAFETY: see `of`.
    unsafe {
        let top = statement.planTree;
        let is_plain = !top.is_null() && (*top).type_ == pg_sys::NodeTag::T_ModifyTable;
        if statement.commandType != pg_sys::CmdType::CMD_SELECT && !is_plain {
            return false;
        }
        let parts = if statement.subplans.is_null() { 0 } else { (*statement.subplans).length as usize };
        let part = |i: usize| (*(*statement.subplans).elements.add(i)).ptr_value.cast::<pg_sys::Plan>();
        let mut plans = std::iter::once(top).chain((0..parts).map(part));
        plans.all(|plan| hand_over_table(statement, plan, &mut hand_over))
    }
}

/// Hands over the table that a plan changes, as the statement names it. False: that is not known.
///
/// # Safety
/// `plan` must be null or a node of the plan of `statement`.
unsafe fn hand_over_table(
    statement: &pg_sys::PlannedStmt,
    plan: *mut pg_sys::Plan,
    hand_over: &mut impl FnMut(pg_sys::CmdType::Type, pg_sys::Oid),
) -> bool {
    // SAFETY: nodes are cast to the types of their tags; the number of a table counts from 1.
    unsafe {
        match plan.as_ref().map(|plan| plan.type_) {
            Some(pg_sys::NodeTag::T_ModifyTable) => {}
            Some(pg_sys::NodeTag::T_CustomScan) => return false,
            _ => return true,
        }
        let node = &*plan.cast::<pg_sys::ModifyTable>();
        let (number, all) = (node.nominalRelation as usize, statement.rtable);
        if number == 0 || all.is_null() || number > (*all).length as usize {
            return false;
        }
        let table = (*(*(*all).elements.add(number - 1)).ptr_value.cast::<pg_sys::RangeTblEntry>()).relid;
        hand_over(node.operation, table);
        true
    }
}

/// Whether a plan makes new rows, and whether it changes those that are there. Of a node of another extension, both may be.
///
/// # Safety
/// `plan` must be null or a valid node.
unsafe fn changes(plan: *mut pg_sys::Plan) -> (bool, bool) {
    // SAFETY: nodes are cast to the types of their tags.
    unsafe {
        match plan.as_ref().map(|plan| plan.type_) {
            Some(pg_sys::NodeTag::T_ModifyTable) => {}
            Some(pg_sys::NodeTag::T_CustomScan) => return (true, true),
            _ => return (false, false),
        }
        let node = &*plan.cast::<pg_sys::ModifyTable>();
        match node.operation {
            pg_sys::CmdType::CMD_INSERT => (true, node.onConflictAction != pg_sys::OnConflictAction::ONCONFLICT_NONE),
            pg_sys::CmdType::CMD_UPDATE => (false, true),
            pg_sys::CmdType::CMD_DELETE => (false, false),
            _ => (true, true),
        }
    }
}

static mut NEXT_RUN: pg_sys::ExecutorRun_hook_type = None;
static mut NEXT_FINISH: pg_sys::ExecutorFinish_hook_type = None;
static mut NEXT_UTILITY: pg_sys::ProcessUtility_hook_type = None;

unsafe extern "C-unwind" {
    // PostgreSQL's own, unwrapped: see `raw::standard_ProcessUtility`.
    #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
    fn standard_ExecutorRun(
        query: *mut pg_sys::QueryDesc,
        direction: pg_sys::ScanDirection::Type,
        count: u64,
        once: bool,
    );
    #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
    fn standard_ExecutorRun(query: *mut pg_sys::QueryDesc, direction: pg_sys::ScanDirection::Type, count: u64);
    fn standard_ExecutorFinish(query: *mut pg_sys::QueryDesc);
}

/// Installs the hooks, when the library is loaded.
pub fn install() {
    // SAFETY: chained as every extension does.
    unsafe {
        NEXT_RUN = pg_sys::ExecutorRun_hook;
        pg_sys::ExecutorRun_hook = Some(on_run);
        NEXT_FINISH = pg_sys::ExecutorFinish_hook;
        pg_sys::ExecutorFinish_hook = Some(on_finish);
        NEXT_UTILITY = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(on_utility);
        pg_sys::RegisterXactCallback(Some(at_transaction), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction), std::ptr::null_mut());
    }
}

/// Every statement of the server passes here, so an error must pass, too, just as it is: no guard, and nothing that would
/// have to be dropped when PostgreSQL jumps out of it.
#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
unsafe extern "C-unwind" fn on_run(
    query: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
    once: bool,
) {
    // SAFETY: passes its arguments on; the query is PostgreSQL's own.
    unsafe {
        let around = RUNNING.replace(of(&*(*query).plannedstmt));
        match NEXT_RUN {
            Some(next) => next(query, direction, count, once),
            None => standard_ExecutorRun(query, direction, count, once),
        }
        end();
        RUNNING.set(around);
    }
}

/// The same.
#[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
unsafe extern "C-unwind" fn on_run(query: *mut pg_sys::QueryDesc, direction: pg_sys::ScanDirection::Type, count: u64) {
    // SAFETY: passes its arguments on; the query is PostgreSQL's own.
    unsafe {
        let around = RUNNING.replace(of(&*(*query).plannedstmt));
        match NEXT_RUN {
            Some(next) => next(query, direction, count),
            None => standard_ExecutorRun(query, direction, count),
        }
        end();
        RUNNING.set(around);
    }
}

/// The rest of WITH queries is done here. (The triggers that fire here run statements of their own.)
unsafe extern "C-unwind" fn on_finish(query: *mut pg_sys::QueryDesc) {
    // SAFETY: as above.
    unsafe {
        let around = RUNNING.replace(of(&*(*query).plannedstmt));
        match NEXT_FINISH {
            Some(next) => next(query),
            None => standard_ExecutorFinish(query),
        }
        end();
        RUNNING.set(around);
    }
}

/// The same for utility statements.
#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn on_utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const std::ffi::c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: passes its arguments on; the statement is a parse tree that PostgreSQL owns.
    unsafe {
        let around = RUNNING.replace(of_utility(statement));
        let next = NEXT_UTILITY.unwrap_or(raw::standard_ProcessUtility);
        next(statement, query, read_only_tree, context, params, environment, destination, completion);
        RUNNING.set(around);
    }
}

#[inline]
fn end() {
    if AT_END.get().is_some() {
        call_at_end();
    }
}

/// What is called may raise an error, which must not leave this as a panic.
#[pg_guard]
#[cold]
extern "C-unwind" fn call_at_end() {
    if let Some(f) = AT_END.take() {
        f();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_transaction(_event: pg_sys::XactEvent::Type, _argument: *mut std::ffi::c_void) {
    RUNNING.set(State::UNKNOWN);
    AT_END.set(None);
    BEFORE.with_borrow_mut(Vec::clear);
}

#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    number: pg_sys::SubTransactionId,
    _around: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    BEFORE.with_borrow_mut(|before| match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_START_SUB => before.push((number, RUNNING.state())),
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => {
            before.pop_if(|(of, _)| *of == number);
        }
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => {
            // One that began before the library was loaded is not known.
            let known = before.pop_if(|(of, _)| *of == number);
            RUNNING.set(known.map_or(State::UNKNOWN, |(_, state)| state));
        }
        _ => {}
    });
}
