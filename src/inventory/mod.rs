//! The data of addresses: every SQL text on `ip_inventory` and the tables beside it.
//!
//! | file | what |
//! |---|---|
//! | [`columns`] | the columns of a record: name, type, writer |
//! | [`due`] | which rows are due, and when again |
//! | [`heap`] | where the rows lie: one table, or shards of it |
//! | [`everywhere`], [`leftovers`], [`merged_places`], [`count`], [`asker`] | one inventory for the nodes of a Citus cluster: distributing it, merging what each had, counting it, who asks the sources |
//! | [`batch`] | writing a batch of which some rows may not be written |
//! | [`store`] | observations and MaxMind's answers, in batches |
//! | [`row`] | a record as a row of `ip_enrichment` |
//! | [`cymru`], [`greynoise`], [`asn`] | answers of the network sources, and counts per AS |
//! | [`distrust`] | answers that are no longer trusted |
//! | [`walk`], [`same`] | following a newer build: rows in order, and whether an answer is the same |
//! | [`history`] | changes of an address's ASN |
//! | [`fold`] | one row for an IPv4 address and its IPv4-mapped form |
//! | [`known`] | which addresses have a row, and their states |
//! | [`runs`] | jobs that ended |
//! | [`source`], [`source_count`] | attached tables, and what they have added |
//! | [`meant`] | paths of theirs that look like SQL |
//! | [`source_part`] | notes on those below them |
//! | [`source_nodes`] | the same notes on the workers of a cluster |
//! | [`places`], [`detached`], [`seen_by`], [`sighting`] | who saw an address: the places, also of detached tables, and what each saw |
//! | [`activity`], [`activity_count`] | which addresses were seen in an hour or a day, and the counts of these |
//! | [`seen`] | how often an address was seen, first and last |
//! | [`shared_files`] | the mmdb files of this server, for those that copy its tables |
//! | [`uncounted`] | writes that PostgreSQL's statistics do not count |

pub mod activity;
pub mod activity_count;
mod activity_traits;
pub mod asker;
pub mod asn;
pub mod attached;
pub mod batch;
pub mod columns;
pub mod count;
pub mod cymru;
pub mod detached;
pub mod distrust;
pub mod due;
pub mod everywhere;
pub mod fold;
pub mod greynoise;
pub mod heap;
pub mod history;
pub mod known;
pub mod leftovers;
pub mod meant;
mod merged_places;
pub mod places;
pub mod row;
pub mod runs;
pub mod same;
pub mod seen;
pub mod seen_by;
pub mod shared_files;
pub mod sighting;
pub mod source;
pub mod source_count;
pub mod source_nodes;
pub mod source_part;
pub mod store;
pub mod uncounted;
pub mod walk;
