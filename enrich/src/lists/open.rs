//! The lists that answer: the index, mapped.

use std::net::IpAddr;

use memmap2::Mmap;

use super::index::{Holders, Index};
use super::meaning::ListFlags;
use crate::maxmind::Flags;

/// All lists of one moment; empty: none is installed.
#[derive(Debug, Default)]
pub struct Lists {
    opened: Option<(Index, Mmap)>,
    name: String,
    installed_at: Option<i64>,
    /// By the numbers of sets; empty: no list stands for a flag.
    flags: Box<[Flags]>,
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

    /// The flags that they stand for.
    #[inline]
    pub fn flags(self) -> Flags {
        let Some(lists) = self.lists else { return Flags::NONE };
        let of = |set: u32| lists.flags.get(set as usize).copied().unwrap_or_default();
        of(self.holders.0) | of(self.holders.1)
    }
}

impl Lists {
    /// Of a mapped index. `None`: it is not one.
    pub(super) fn new(bytes: Mmap, name: &str, installed_at: i64) -> Option<Lists> {
        let opened = Some((Index::open(&bytes)?, bytes));
        Some(Lists { opened, name: name.to_owned(), installed_at: Some(installed_at), flags: Box::default() })
    }

    /// The same lists, some of which stand for flags. These come into the name, without a comma: addresses have other flags
    /// with others.
    #[must_use]
    pub fn meaning(self, flags: &ListFlags) -> Lists {
        let Some((index, bytes)) = &self.opened else { return self };
        let by_list: Vec<(&str, Flags)> = index.all_names(bytes).map(|list| (list, flags.of(list))).collect();
        let told: String = by_list
            .iter()
            .filter(|(_, flags)| !flags.is_empty())
            .map(|(list, flags)| format!(" {list}={}", flags.names().collect::<Vec<_>>().join("+")))
            .collect();
        if told.is_empty() {
            return self;
        }
        let of_set = |set: usize| {
            let members = index.members(bytes, set as u32);
            members.filter_map(|list| by_list.get(list as usize)).fold(Flags::NONE, |all, (_, flags)| all | *flags)
        };
        let flags = (0..index.sets()).map(of_set).collect();
        Lists { name: self.name.clone() + &told, flags, ..self }
    }

    /// What tells these lists from others: made of their content, and of the flags that they stand for. Empty: none is
    /// installed.
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
