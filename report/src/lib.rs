//! The inventory as one HTML page, without PostgreSQL: plain figures in ([`Report`]), a page out ([`Report::page`]).
//!
//! The page stands alone: no script, no outside asset, and a content security policy that would let none in. It is plain
//! ASCII (everything else is a character reference), so that no database or client encoding can spoil it. Light and dark
//! follow the reader's system.
//!
//! Plots are drawn with [`plotters`] (MIT), the plotting crate that most others in Rust lean on; its last release, 0.3.7, is
//! of September 2024. With the SVG backend alone it brings three small crates, itself, `plotters-backend` and
//! `plotters-svg`, beside `num-traits`; fonts and bitmaps stay out. It knows fixed colours only, so plots are drawn in
//! marker colours that become CSS classes (see `plots::canvas`). The shape of the land is described in `plots::map`.
//!
//! Names of networks, cities and scanners come from the internet: all text goes through [`escape`].
//!
//! ```
//! let report = report::Report { database: "soc & more".to_owned(), ..report::Report::default() };
//! let page = report.page();
//! assert!(page.is_ascii() && page.contains("soc &amp; more"));
//! ```
#![forbid(unsafe_code)]

mod activity;
mod countries;
mod data;
pub mod escape;
pub mod figures;
mod page;
mod plots;
mod sections;
mod style;

pub use activity::Activity;
pub use data::*;

impl Report {
    /// The whole page.
    pub fn page(&self) -> String {
        escape::ascii(&page::page(self))
    }
}
