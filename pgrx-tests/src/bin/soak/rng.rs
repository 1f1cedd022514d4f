//! Chance that can be repeated: `SOAK_SEED` in the environment.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// SplitMix64.
pub struct Rng(u64);

/// The seed of this run.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let given = std::env::var("SOAK_SEED").ok().and_then(|text| text.parse().ok());
        given.unwrap_or_else(|| RandomState::new().hash_one(0))
    })
}

impl Rng {
    /// One for a thread.
    pub fn of(thread: u64) -> Rng {
        Rng(seed() ^ thread.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// From 0 up to, and without, `below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    /// One of these.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}
