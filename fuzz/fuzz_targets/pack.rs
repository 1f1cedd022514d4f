//! Many addresses in one row of the queue. Who may write there may write anything.
#![no_main]

use enrich::pack::{Packer, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut entries = unpack(bytes);
    let found: Vec<_> = entries.by_ref().take(100_000).collect();
    // What was read is written and read again as it is.
    let mut packer = Packer::new(0, 1 << 16);
    for entry in &found {
        packer.push(entry);
    }
    let mut again = unpack(packer.bytes());
    assert_eq!(again.by_ref().map(|e| (e.ip, e.count)).collect::<Vec<_>>(), found.iter().map(|e| (e.ip, e.count)).collect::<Vec<_>>());
    assert!(!again.is_broken());
});
