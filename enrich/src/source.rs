//! The sources: which there are, their names, their numbers, and sets of them.

use std::fmt;

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// MaxMind-format files.
    MaxMind,
    /// Team Cymru, by DNS or bulk whois.
    Cymru,
    /// GreyNoise, by HTTPS.
    GreyNoise,
}

impl Source {
    /// All of them, in the order of their [numbers](Source::index).
    pub const ALL: [Source; 3] = [Source::MaxMind, Source::Cymru, Source::GreyNoise];

    /// Those that are asked over the network.
    pub const NETWORK: [Source; 2] = [Source::Cymru, Source::GreyNoise];

    /// Its number, from 0: its place in arrays of something for each source.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its bit in a [`SourceSet`].
    pub const fn bit(self) -> u32 {
        1 << self.index()
    }

    /// The word that stands in the tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::MaxMind => "maxmind",
            Source::Cymru => "cymru",
            Source::GreyNoise => "greynoise",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Some of the sources.
///
/// ```
/// use enrich::source::{Source, SourceSet};
/// let asked: SourceSet = [Source::GreyNoise, Source::Cymru].into_iter().collect();
/// assert!(asked.contains(Source::Cymru) && !asked.contains(Source::MaxMind));
/// assert_eq!(asked.iter().map(Source::as_str).collect::<Vec<_>>(), ["cymru", "greynoise"]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceSet(u32);

impl SourceSet {
    /// None of them.
    pub const EMPTY: SourceSet = SourceSet(0);

    /// Those whose [bits](Source::bit) are set. Further bits say nothing.
    pub const fn from_bits(bits: u32) -> SourceSet {
        SourceSet(bits & ((1 << Source::ALL.len()) - 1))
    }

    /// Their bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether it is one of them.
    pub const fn contains(self, source: Source) -> bool {
        self.0 & source.bit() != 0
    }

    /// Adds one.
    pub const fn insert(&mut self, source: Source) {
        self.0 |= source.bit();
    }

    /// Takes one out. True: it was in.
    pub const fn remove(&mut self, source: Source) -> bool {
        let was_in = self.contains(source);
        self.0 &= !source.bit();
        was_in
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Source> {
        Source::ALL.into_iter().filter(move |source| self.contains(*source))
    }
}

impl FromIterator<Source> for SourceSet {
    fn from_iter<I: IntoIterator<Item = Source>>(sources: I) -> SourceSet {
        let mut set = SourceSet::EMPTY;
        sources.into_iter().for_each(|source| set.insert(source));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_in_the_list_of_all() {
        for (place, source) in Source::ALL.into_iter().enumerate() {
            assert_eq!(source.index(), place);
        }
    }

    #[test]
    fn a_set_has_what_was_put_in_and_not_taken_out() {
        let mut set: SourceSet = Source::NETWORK.into_iter().collect();
        assert_eq!(SourceSet::from_bits(set.bits() | 1 << 20), set);
        assert!(set.remove(Source::Cymru) && !set.remove(Source::Cymru));
        assert!(set.iter().eq([Source::GreyNoise]));
        assert!(set.remove(Source::GreyNoise) && set.is_empty());
    }
}
