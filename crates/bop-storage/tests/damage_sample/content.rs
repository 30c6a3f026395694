//! What the databases of the sample hold, kept outside the store.

use bop_storage::testing::SplitMix64;
use bop_storage::{DbKind, PageSize, page_one};
use std::collections::BTreeMap;

/// One change of a transaction.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Change {
    /// Writes a page anew.
    Write(u32),
    /// Cuts the database off behind so many pages.
    Truncate(u32),
}

/// One database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Content {
    kind: DbKind,
    /// Pages of it.
    pub page_count: u32,
    /// The seed of each page that was written.
    pages: BTreeMap<u32, u64>,
    commits: u64,
    /// No two databases have an equal page.
    salt: u64,
}

/// All databases, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Contents {
    /// By name.
    pub databases: BTreeMap<&'static str, Content>,
}

impl Contents {
    /// A new database.
    pub(crate) fn create(&mut self, name: &'static str, kind: DbKind) {
        let empty = Content {
            kind,
            page_count: 0,
            pages: BTreeMap::new(),
            commits: 0,
            salt: self.databases.len() as u64,
        };
        self.databases.insert(name, empty);
    }

    /// Another name for a database.
    pub(crate) fn rename(&mut self, from: &str, to: &'static str) {
        let content = self.databases.remove(from).unwrap();
        self.databases.insert(to, content);
    }

    /// One commit of a database.
    pub(crate) fn apply(&mut self, name: &str, changes: &[Change]) {
        let content = self.databases.get_mut(name).unwrap();
        content.commits += 1;
        for change in changes {
            match *change {
                Change::Write(page) => {
                    let seed = content.salt << 48 | u64::from(page) << 16 | content.commits;
                    content.pages.insert(page, seed);
                    content.page_count = content.page_count.max(page);
                }
                Change::Truncate(pages) => {
                    content.pages.retain(|page, _| *page <= pages);
                    content.page_count = pages;
                }
            }
        }
    }
}

impl Content {
    /// Bytes in a page: small ones, so that the store is small.
    pub(crate) fn page_size(&self) -> PageSize {
        PageSize::MIN
    }

    /// What a page holds.
    pub(crate) fn page(&self, page: u32) -> Vec<u8> {
        let mut bytes = vec![0; self.page_size().bytes()];
        if let Some(seed) = self.pages.get(&page) {
            // Half of it can be compressed, half cannot.
            let (random, plain) = bytes.split_at_mut(256);
            SplitMix64::new(*seed).fill(random);
            plain.fill(seed.to_le_bytes()[0]);
            if self.kind == DbKind::Sqlite && page == 1 {
                page_one::canonicalize(&mut bytes);
            }
        }
        bytes
    }
}
