//! What the observations of one statement are told apart by besides their address: the sensor that saw it, and the hour
//! of the event. Most statements have one group, and its check costs a comparison.

use std::collections::HashMap;

use enrich::activity::{HOUR, beginning};
use foldhash::fast::RandomState;

/// No hour begins here: whatever comes next is another one.
const NO_HOUR: i64 = i64::MIN;

/// The number of a group within its tally.
pub type Number = u32;

/// The groups of a tally, and the one that the next observation belongs to.
#[derive(Default)]
pub struct Groups {
    /// The present one, and when its hour begins.
    current: Number,
    hour: Hour,
    /// The present sensor.
    sensor: u32,
    /// Names of sensors in the server's encoding; the first is empty: none.
    names: Vec<Box<[u8]>>,
    numbers: HashMap<Box<[u8]>, u32, RandomState>,
    /// The sensor of each group.
    sensors: Vec<u32>,
    groups: HashMap<(u32, i64), Number, RandomState>,
}

/// When an hour begins (timestamptz).
struct Hour(i64);

impl Default for Hour {
    fn default() -> Hour {
        Hour(NO_HOUR)
    }
}

impl Groups {
    /// The group of an observation at a time.
    #[inline]
    pub fn at(&mut self, moment: i64) -> Number {
        if moment.wrapping_sub(self.hour.0) as u64 >= HOUR as u64 {
            self.turn(moment);
        }
        self.current
    }

    #[cold]
    fn turn(&mut self, moment: i64) {
        self.hour = Hour(beginning(moment, HOUR));
        let next = self.sensors.len() as Number;
        self.current = *self.groups.entry((self.sensor, self.hour.0)).or_insert(next);
        if self.current == next {
            self.sensors.push(self.sensor);
        }
    }

    /// The following observations are those of a sensor, by its name in the server's encoding; empty: of none.
    #[inline]
    pub fn of_sensor(&mut self, name: &[u8]) {
        if self.name(self.sensor) != name {
            self.change_sensor(name);
        }
    }

    /// The same: of none.
    #[inline]
    pub fn of_no_sensor(&mut self) {
        if self.sensor != 0 {
            self.change_sensor(b"");
        }
    }

    #[cold]
    fn change_sensor(&mut self, name: &[u8]) {
        if self.names.is_empty() {
            self.names.push(Box::default());
            self.numbers.insert(Box::default(), 0);
        }
        self.sensor = self.numbers.get(name).copied().unwrap_or_else(|| {
            let number = self.names.len() as u32;
            self.names.push(name.into());
            self.numbers.insert(name.into(), number);
            number
        });
        self.hour = Hour::default();
    }

    fn name(&self, sensor: u32) -> &[u8] {
        self.names.get(sensor as usize).map_or(&[], |name| name)
    }

    /// The sensor of a group.
    pub fn sensor_of(&self, group: Number) -> &[u8] {
        self.name(self.sensors[group as usize])
    }

    /// Whether all groups have the same sensor.
    pub fn is_one_sensor(&self) -> bool {
        self.sensors.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// How many sensors and groups there are: they take memory as addresses do.
    pub fn len(&self) -> usize {
        self.sensors.len() + self.names.len()
    }

    /// The number of another tally's group here.
    pub fn adopt(&mut self, other: &Groups, group: Number, moment: i64) -> Number {
        self.of_sensor(other.sensor_of(group));
        self.at(moment)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Groups::default();
    }
}
