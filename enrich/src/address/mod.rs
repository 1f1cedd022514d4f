//! Addresses before anyone is asked about them: which kind of address it is, and which address a text
//! from an event says.
//!
//! Bytes of an event go through [`parse_host`] and become an [`IpAddr`](std::net::IpAddr); [`classify`]
//! tells whether any source may be asked about it (only [`AddressClass::Public`] ones are), and
//! [`effective`] which address they are asked about.

mod class;
mod host;

pub use class::{AddressClass, UnknownClass, classify, effective};
pub use host::{NotAnAddress, parse_host};
