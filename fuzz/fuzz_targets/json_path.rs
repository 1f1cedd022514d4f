//! One value out of the JSON text of an event. The first line is the path.
#![no_main]

use enrich::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let split = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (path, text) = data.split_at(split);
    let Ok(path) = std::str::from_utf8(path) else { return };
    let path: Vec<&str> = path.split('.').collect();
    if let Some(found) = json::at_path(text, &path) {
        let _ = json::value(found);
    }
    let _ = (json::is_array(text), json::value(text));
});
