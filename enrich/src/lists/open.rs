//! The lists that answer: the index, mapped.

use std::net::IpAddr;

use memmap2::Mmap;

use super::index::{Holders, Index};

/// All lists of one moment; empty: none is installed.
#[derive(Debug, Default)]
pub struct Lists {
    opened: Option<(Index, Mmap)>,
    name: String,
    installed_at: Option<i64>,
}

/// The lists that hold one address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held<'a> {
    lists: Option<&'a Lists>,
    holders: Holders,
}

impl<'a> Held<'a> {
    /// Their names, in ascending order.
    pub fn names(self) -> Vec<&'a str> {
        match self.lists {
            Some(lists) if !self.holders.is_empty() => lists.names(self.holders),
            _ => Vec::new(),
        }
    }
}

impl Lists {
    /// Of a mapped index. `None`: it is not one.
    pub(super) fn new(bytes: Mmap, name: &str, installed_at: i64) -> Option<Lists> {
        let opened = Some((Index::open(&bytes)?, bytes));
        Some(Lists { opened, name: name.to_owned(), installed_at: Some(installed_at) })
    }

    /// What tells these lists from others: made of their content. Empty: none is installed.
    pub fn name(&self) -> &str {
        &self.name
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

    /// Which lists hold `ip`.
    #[inline]
    pub fn held(&self, ip: IpAddr) -> Held<'_> {
        Held { lists: Some(self), holders: self.find(ip).unwrap_or_default() }
    }

    /// Their names, in ascending order.
    pub fn names(&self, holders: Holders) -> Vec<&str> {
        self.opened.as_ref().map_or(Vec::new(), |(index, bytes)| index.names(bytes, holders))
    }
}
