//! PostgreSQL, made safe: the server functions for all rooms; only the extension's name is known here, not its purpose.
//!
//! | file | what |
//! |---|---|
//! | [`call`] | functions that PostgreSQL calls: arguments in, values and rows out |
//! | [`datum`], [`inet`], [`scratch`] | values without copies |
//! | [`composite`] | a value of a composite type, column by column |
//! | [`encoding`] | texts between UTF-8 and the server's encoding |
//! | [`memory`] | memory that is given back at once |
//! | [`errors`] | errors and warnings with DETAIL and HINT |
//! | [`tx`] | transactions, subtransactions, settings that end with them |
//! | [`glance`] | reading without keeping its locks |
//! | [`argument`] | arguments of statements |
//! | [`apply`] | what the worker of a subscription applies |
//! | [`portal`] | what the client has this process do |
//! | [`sql`] | statements as the owner of a table |
//! | [`catalog`] | the extension's schema, names, owners |
//! | [`citus`] | tables that a cluster keeps on several nodes |
//! | [`shape`] | checks the columns of a table before it is read below SQL |
//! | [`inherits`] | which tables stand below others |
//! | [`made`] | what the command of an event trigger made |
//! | [`tuple`] | how a row just written came there |
//! | [`process`], [`pinned`] | background processes, and settings that nothing can spoil |
//! | [`pulse`] | that a process works, told by itself |
//! | [`session`] | the role and rights of this session |
//! | [`snapshot`] | a snapshot of now |
//! | [`patience`] | waiting for a lock, but not for ever |
//! | [`raw`] | functions of the loop over rows, without a guard around each |
//! | [`time`] | the clock |

pub mod apply;
pub mod argument;
pub mod call;
pub mod catalog;
pub mod citus;
pub mod composite;
pub mod datum;
mod deadlock;
pub mod encoding;
pub mod errors;
pub mod glance;
pub mod inet;
pub mod inherits;
pub mod made;
pub mod memory;
pub mod patience;
mod pinned;
pub mod portal;
pub mod process;
pub mod pulse;
pub mod raw;
pub mod scratch;
pub mod session;
pub mod shape;
pub mod snapshot;
pub mod sql;
pub mod time;
pub mod tuple;
pub mod tx;
