//! Settings of what is kept of observations, beside the inventory.

use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

static SIGHTINGS_MAX_SIZE: GucSetting<i32> = GucSetting::<i32>::new(2048);
static ACTIVITY_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(400 * 24 * 60);
static ACTIVITY_HOURS: GucSetting<i32> = GucSetting::<i32>::new(14 * 24 * 60);
static EVENT_TIME_AHEAD: GucSetting<i32> = GucSetting::<i32>::new(24 * 60);
static EVENT_TIME_BACK: GucSetting<i32> = GucSetting::<i32>::new(3650 * 24 * 60);

/// Largest size of `ip_sighting` in MB; 0: nothing is kept there.
pub fn sightings_max_size() -> u32 {
    u32::try_from(SIGHTINGS_MAX_SIZE.get()).unwrap_or(0)
}

/// How long activity by day is kept, and that by hour, from the time of the events; zero: none is.
pub fn activity() -> [Duration; 2] {
    let minutes = |setting: &GucSetting<i32>| Duration::from_secs(u64::try_from(setting.get()).unwrap_or(0) * 60);
    let days = minutes(&ACTIVITY_RETENTION);
    [days, minutes(&ACTIVITY_HOURS).min(days)]
}

/// How far ahead of its statement, and how far back, the time of an event is believed.
pub fn event_times() -> [Duration; 2] {
    [&EVENT_TIME_AHEAD, &EVENT_TIME_BACK]
        .map(|setting| Duration::from_secs(u64::try_from(setting.get()).unwrap_or(0) * 60))
}

/// Defines them.
pub fn define() {
    GucRegistry::define_int_guc(
        c"asn_inventory.sightings_max_size",
        c"Maximum size of ip_sighting, which has a row for each address and table or sensor that observed it; 0: keeps none.",
        c"At this size, known rows go on counting, and what gets no row is counted in ip_sighting_source.left_out.",
        &SIGHTINGS_MAX_SIZE,
        0,
        1 << 24,
        GucContext::Sighup,
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_int_guc(
        c"asn_inventory.activity_retention",
        c"How long the addresses and counts of a day are kept, from the time of the events; 0: keeps none.",
        c"An address takes some six bytes a day in ip_activity. Older events are counted in ip_inventory alone.",
        &ACTIVITY_RETENTION,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_int_guc(
        c"asn_inventory.activity_hours",
        c"How long the addresses and counts of each hour are kept; after that, those of the day are.",
        c"An address takes some six bytes in each hour in which it is observed.",
        &ACTIVITY_HOURS,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_int_guc(
        c"asn_inventory.event_time_ahead",
        c"How far ahead of its statement the time of an event may be; a later one is counted as unreadable.",
        c"Clocks and time zones of senders are wrong. The statement's time stands in.",
        &EVENT_TIME_AHEAD,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_int_guc(
        c"asn_inventory.event_time_back",
        c"How far back from its statement the time of an event may be; an earlier one is counted as unreadable.",
        c"Load archives that are older with a larger value. The statement's time stands in.",
        &EVENT_TIME_BACK,
        1,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
}
