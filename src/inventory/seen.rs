//! How often an address was seen, first and last.

/// One address, in a statement or in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How often; 0: asked about, not observed.
    pub count: i64,
    /// Earliest event (timestamptz).
    pub first: i64,
    /// Latest event (timestamptz).
    pub last: i64,
}

impl Seen {
    /// Adds another observation, or many. That somebody asked is no observation: its time says nothing beside one.
    pub fn add(&mut self, other: Seen) {
        match (self.count, other.count) {
            (0, 1..) => *self = other,
            (1.., 0) => {}
            _ => {
                self.count = self.count.saturating_add(other.count);
                self.first = self.first.min(other.first);
                self.last = self.last.max(other.last);
            }
        }
    }
}
