//! A whole file of MaxMind's format, as anybody may make one: it is refused, or whatever walks it comes to an end.
#![no_main]

use enrich::maxmind::index::{Index, build};
use enrich::maxmind::{Language, tree};
use libfuzzer_sys::fuzz_target;
use maxminddb::Reader;

fuzz_target!(|data: &[u8]| {
    if tree::check(data, &|| ()).is_err() {
        return;
    }
    let reader = Reader::from_source(data).expect("it was checked");
    if reader.verify().is_err() {
        return;
    }
    let mut index = Vec::new();
    if build(&reader, &Language::default(), data.len() as u64, &mut index, &|| ()).is_ok() {
        assert!(Index::open(&index, data.len() as u64).is_some());
    }
});
