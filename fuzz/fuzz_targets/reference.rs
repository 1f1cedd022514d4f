//! References to secrets, as settings hold them. A refusal never repeats what may be a key.
#![no_main]

use enrich::secrets::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = Reference::parse(text) {
        let said = error.to_string();
        assert!(text.len() < 12 || !said.contains(text), "{said}");
    }
});
