//! Fetching ahead: a look-up of a random address is a few waits for memory and little else, so lines that will be read
//! are asked for together, before the first of them is waited for.

/// A line of the processor's cache, in bytes.
const LINE: usize = 64;
/// Lines asked for at once: a processor has room for about as many on the way.
const MOST: usize = 16;

/// Asks for the lines of `bytes`, at most [`MOST`]. Changes nothing but what is at hand.
#[inline(always)]
pub(super) fn fetch(bytes: &[u8]) {
    for line in bytes.chunks(LINE).take(MOST) {
        ask(line);
    }
    // The last byte may stand in one line more.
    if bytes.len() <= LINE * MOST {
        ask(bytes.get(bytes.len().saturating_sub(1)..).unwrap_or_default());
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code)]
fn ask(bytes: &[u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint, which faults on no address whatever; this one is of a slice.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn ask(_: &[u8]) {}
