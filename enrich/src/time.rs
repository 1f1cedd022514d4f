//! Time as a value.

/// Microseconds since the Unix epoch, UTC.
pub type Micros = i64;
