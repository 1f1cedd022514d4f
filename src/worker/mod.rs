//! The background processes: one launcher for the server, one worker for each database that has the extension, and
//! others for the time of a job or of a count.
//!
//! | process | file | work |
//! |---|---|---|
//! | `asn_inventory launcher` | [`launcher`] | imports mmdb files, keeps a worker in every database that needs one |
//! | `asn_inventory worker` | [`database`] | absorbs the queue, runs jobs, asks the network ([`network`](crate::network)), fetches files ([`download`]), shares them ([`share`], [`receive`]), walks the inventory after a newer build ([`walk`]), counts ([`maintenance`]), merges IPv4-mapped addresses ([`fold`]), looks references of keys up ([`secrets`](crate::network::secrets)) |
//! | `asn_inventory backfill` | [`helper`] | does pieces of one job |
//! | `asn_inventory counter` | [`counter`] | counts a large inventory, once |
//!
//! During recovery, the launcher runs, and a worker does nothing but install the mmdb files of the primary ([`standby`]);
//! promotion starts another one. [`process`](crate::pg::process) has what all of them share, `pg::pinned` the
//! settings that nothing can spoil, [`watched`](crate::shared::watched) what fails for everybody to see, [`ddl`] steps aside for DROP DATABASE and its like where these are [`allowed`].

mod allowed;
pub mod counter;
pub mod database;
pub mod ddl;
pub mod download;
mod dropped;
mod fold;
pub mod helper;
pub mod launcher;
mod leftovers;
pub mod maintenance;
mod receive;
mod share;
mod standby;
pub mod walk;
