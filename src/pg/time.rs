//! Times: PostgreSQL counts microseconds from 2000, the files and the world count seconds from 1970.

use pgrx::pg_sys;

/// Microseconds between 1970 and 2000.
const EPOCH_DIFF: i64 = 946_684_800_000_000;

/// A timestamptz datum's value of Unix microseconds.
pub const fn from_unix_us(us: i64) -> i64 {
    us.saturating_sub(EPOCH_DIFF)
}

/// Unix microseconds of a timestamptz datum's value.
pub const fn to_unix_us(timestamp: i64) -> i64 {
    timestamp.saturating_add(EPOCH_DIFF)
}

/// Now, in Unix microseconds.
pub fn now_unix_us() -> i64 {
    to_unix_us(now())
}

/// Now, as a timestamptz datum's value.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Whether the value is a moment, and not `infinity` or `-infinity`.
pub const fn is_moment(timestamp: i64) -> bool {
    timestamp != i64::MAX && timestamp != i64::MIN
}

/// Unix microseconds as text, for messages.
pub fn text(unix_us: i64) -> String {
    // SAFETY: returns a NUL-terminated text in a static buffer, which is copied at once.
    unsafe {
        std::ffi::CStr::from_ptr(pg_sys::timestamptz_to_str(from_unix_us(unix_us))).to_string_lossy().into_owned()
    }
}
