//! References to secrets, as settings hold them. A refusal never repeats what may be a key.
#![no_main]

use enrich::secrets::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = Reference::parse(text) {
        let said = error.to_string();
        // The words of the refusals themselves have no digits.
        let may_be_a_key = text.len() >= 12 && text.bytes().any(|byte| byte.is_ascii_digit());
        assert!(!may_be_a_key || !said.contains(text), "{said}");
    }
});
