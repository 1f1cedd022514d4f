//! The ingest path: what happens inside a loader's INSERT or COPY.
//!
//! An AFTER INSERT … FOR EACH STATEMENT trigger reads the transition table, folds its addresses into a map ([`tally`]),
//! and appends them to the queue ([`queue`]): a row an address, or, of a large statement, some hundred to a row. No
//! index, no conflict, no lock on a row that another session needs: loaders do not wait for each other and cannot
//! deadlock. A bad address is counted, never raised. At commit the worker's latch is set, once.
//!
//! | file | what |
//! |---|---|
//! | [`absorb`] | the queue into the inventory |
//! | [`attach`] | attaching and detaching a table with all below it |
//! | [`node_note`] | what the workers of a Citus cluster note of an attached table |
//! | [`method`] | what observes a table: putting it on, taking it off |
//! | [`attachable`] | whether a table can be attached like that |
//! | [`generated`] | generated columns that a trigger cannot read everywhere |
//! | [`family`] | partitions and children that come later |
//! | [`departed`] | those that leave |
//! | [`relatives`] | what the event trigger may do to either |
//! | [`install`] | the trigger on one table |
//! | [`owner`] | the owner of a table |
//! | [`plan`] | the values to read from each row |
//! | [`populate`] | the rows that were there before the trigger |
//! | [`forget`], [`detached`] | subtracting the observations of a table's rows, and of one that was detached before |
//! | [`reading`] | an attached table's rows, distinguished by whether they were counted |
//! | [`before`] | which rows were there when a table was attached |
//! | [`part`] | notes on partitions that had rows when they came |
//! | [`extract`] | from a column's datum to texts and addresses |
//! | [`found`] | from a text to the tally |
//! | [`jsonb_path`] | a value in jsonb |
//! | [`arguments`] | the trigger's arguments |
//! | [`only`] | which rows are events |
//! | [`sensor`] | who saw an event |
//! | [`scalar`] | one value of a row as a text |
//! | [`addresses`] | the addresses of a tally, each once |
//! | [`group`] | what observations of an address are told apart by: sensor and hour |
//! | [`unread`] | unreadable values, and the reason |
//! | [`moment`] | the time of an event |
//! | [`queue`] | appending to `ip_observation`, waking the worker |
//! | [`queued`] | a row of the queue, as it is written and read |
//! | [`replicated`] | rows that a subscription brings |
//! | [`restore`] | a restore beside the worker |
//! | [`unobserved`] | statements whose rows were not observed |
//! | [`unpack`] | the content of a packed row, for SQL |
//! | [`trigger`] | the trigger function |
//! | [`rows`] | observing row by row |
//! | [`observer`] | the index access method `ip_observer` |
//! | [`indexes`] | its indexes on one table |
//! | [`adopted`] | those that belong to one of the table above, and to another source |
//! | [`noted`] | those that were made by hand |
//! | [`concurrent`] | those that are made concurrently, which is refused |
//! | [`running`] | what the running statement does with rows |
//! | [`counted`] | what rows have added, until their transaction commits |
//! | [`outlet`] | from a tally to the queue |
//! | [`copy`] | room for the rows of a COPY |

pub mod absorb;
mod addresses;
mod adopted;
mod arguments;
pub mod attach;
mod attachable;
mod before;
pub mod concurrent;
pub mod copy;
mod counted;
mod departed;
mod detached;
pub mod extract;
pub mod family;
pub mod forget;
mod found;
pub mod generated;
pub mod group;
mod indexes;
mod install;
pub mod jsonb_path;
mod method;
pub mod moment;
mod node_note;
mod noted;
mod observer;
pub mod only;
mod outlet;
mod owner;
mod part;
pub mod plan;
pub mod populate;
pub mod queue;
pub mod queued;
mod reading;
mod relatives;
pub mod replicated;
pub mod restore;
mod rows;
pub mod running;
mod scalar;
pub mod sensor;
mod stays;
mod take_back;
mod taken;
pub mod tally;
pub mod trigger;
pub mod unobserved;
pub mod unpack;
pub mod unread;
mod waiting;
