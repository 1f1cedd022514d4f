//! The lists that answer: the index, mapped.

use std::net::IpAddr;

use memmap2::Mmap;

use super::index::{Holders, Index};

/// All lists of one moment; empty: none is installed.
#[derive(Debug, Default)]
pub struct Lists {
    opened: Option<(Index, Mmap)>,
    installed_at: Option<i64>,
}

impl Lists {
    /// Of a mapped index. `None`: it is not one.
    pub(super) fn new(bytes: Mmap, installed_at: i64) -> Option<Lists> {
        Some(Lists { opened: Some((Index::open(&bytes)?, bytes)), installed_at: Some(installed_at) })
    }

    /// Whether no list is installed.
    pub fn is_empty(&self) -> bool {
        self.opened.is_none()
    }

    /// Since when these lists answer; Unix microseconds.
    pub fn installed_at(&self) -> Option<i64> {
        self.installed_at
    }

    /// Which lists hold `ip`; `None`: no list is installed.
    #[inline]
    pub fn find(&self, ip: IpAddr) -> Option<Holders> {
        let (index, bytes) = self.opened.as_ref()?;
        Some(index.find(bytes, ip))
    }

    /// Their names, in ascending order.
    pub fn names(&self, holders: Holders) -> Vec<&str> {
        self.opened.as_ref().map_or(Vec::new(), |(index, bytes)| index.names(bytes, holders))
    }
}
