//! What `attach_ip_source` takes as a column.
#![no_main]

use enrich::selector::Selector;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Selector::parse(text);
});
