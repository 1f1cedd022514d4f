//! A downloaded archive: raw, and as what a good compression holds.
#![no_main]

use enrich::maxmind::download::fuzz_extract;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let most = 1 << 20;
    let (length, written) = fuzz_extract(data, most);
    assert!(written <= most, "{written} bytes of at most {most}");
    assert!(length.is_none_or(|length| length == written));
});
