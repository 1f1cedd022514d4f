//! What settings are checked with.
#![no_main]

use enrich::schedule::Schedule;
use enrich::secrets::{Commands, Patterns};
use enrich::{cymru, text, url};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|given: &str| {
    if let Ok(schedule) = Schedule::parse(given) {
        let now = 1_700_000_000_000_000;
        assert!(schedule.next(now).is_none_or(|at| at > now));
    }
    let _ = (Patterns::parse(given), Commands::parse(given), url::base(given), url::host_port(given));
    let _ = cymru::resolv_conf::name_servers(given);
    assert!(text::clean(given, 64).len() <= 64 + 4);
});
