//! Addresses before anyone is asked about them: which kind of address it is, and which address a text
//! from an event says.
//!
//! Bytes of an event go through [`parse_host`] and become an [`IpAddr`](std::net::IpAddr); [`classify`]
//! tells whether any source may be asked about it (only [`AddressClass::Public`] ones are), and
//! [`effective`] which address they are asked about.

mod class;
mod escape;
mod host;
mod list;
mod once;
mod scan;
mod spelling;

pub use class::{AddressClass, UnknownClass, classify, effective, unmapped};
pub use host::{NotAnAddress, parse_host};
pub use list::entries;
pub use once::{MOST_ADDRESSES, Once};
pub use scan::{MOST_BYTES, scan};
pub use spelling::host_of_browsers;
