//! Jobs: backfill and refresh. A caller fills in a slot in shared memory and waits; the worker of its database runs it;
//! helpers do the pieces.
//!
//! A job needs no durable record to be resumed: the due rows are in `ip_inventory`, and a job that died is simply
//! called again.
//!
//! | file | what |
//! |---|---|
//! | [`submit`] | the caller's side: `backfill_inventory` and the refreshes |
//! | [`request`] | a caller's parameters and sources |
//! | [`claim`] | the slot of a job, given back in all cases |
//! | [`wait`] | waiting for the end, and `wait_for_job` |
//! | [`progress`] | how far jobs are; cancelling one |
//! | [`summary`] | the result of a job |
//! | [`run`] | the worker's side: from submitted to ended |
//! | [`end`] | its row in `enrichment_run`, its list, its slot |
//! | [`piece`] | one piece of a job: read due rows, look up, write |
//! | [`part`] | one transaction of it, or of a walk, and the rows that it could not write |
//! | [`by_source`] | jobs that ask the network sources, after MaxMind |
//! | [`list`] | addresses that a job is given, in a file beside the generations |

pub mod by_source;
mod claim;
pub mod end;
mod everywhere;
pub mod list;
pub mod part;
pub mod piece;
pub mod progress;
mod request;
pub mod run;
pub mod submit;
mod summary;
pub mod wait;
