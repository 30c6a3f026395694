//! The page API: pages that carry a stamp, committed in every way there is.

use super::{Load, WAIT, same};
use crate::Result;
use crate::random::Random;
use crate::stop::Stop;
use bop_libsql::Store;
use bop_storage::{Db, DbKind, Durability, ErrorCode, Manager, PageNo, ReadTxn, WriteTxn};
use std::sync::atomic::{AtomicU64, Ordering};

const DATABASES: usize = 8;
const PAGES: usize = 96;
const PAGE_BYTES: usize = 4096;

/// Databases of one thread, and the stamp of each page; 0 for one that was never written.
pub(super) struct Pages {
    number: usize,
    random: Random,
    stamp: u64,
    stamps: Vec<[u64; PAGES]>,
}

impl Pages {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            random: Random::new(100 + number as u64),
            stamp: 0,
            stamps: vec![[0; PAGES]; DATABASES],
        }
    }

    fn open(&self, manager: &Manager) -> Result<Vec<Db>> {
        let open = |database: usize| {
            let name = format!("pages-{}-{database}", self.number);
            match manager.database(&name) {
                Err(error) if error.code() == ErrorCode::DatabaseNotFound => {
                    manager.create_database(&name, DbKind::Raw)
                }
                answer => answer,
            }
        };
        Ok((0..DATABASES)
            .map(open)
            .collect::<std::result::Result<_, _>>()?)
    }

    fn fill(&mut self, db: &Db, database: usize) -> Result<()> {
        let mut write = db.begin_write(WAIT)?;
        for page in 0..PAGES {
            self.write_page(&mut write, database, page)?;
        }
        write.commit()?;
        Ok(())
    }

    fn write_page(&mut self, write: &mut WriteTxn, database: usize, page: usize) -> Result<()> {
        self.stamp += 1;
        let mut content = vec![0; PAGE_BYTES];
        if self.random.one_in(2) {
            self.random.fill(&mut content);
        }
        content[..8].copy_from_slice(&self.stamp.to_le_bytes());
        write.write_page(page_no(page)?, &content)?;
        self.stamps[database][page] = self.stamp;
        Ok(())
    }

    /// Writes some pages of a transaction, and remembers them.
    fn write(&mut self, db: &Db, database: usize) -> Result<WriteTxn> {
        let mut write = db.begin_write(WAIT)?;
        // Now and then more than a record, and more than a transaction keeps in memory, may have.
        let most = if self.random.one_in(200) { 400 } else { 4 };
        for _ in 0..=self.random.below(most) {
            let page = self.random.below(PAGES);
            self.write_page(&mut write, database, page)?;
        }
        Ok(write)
    }

    fn commit(&mut self, manager: &Manager, databases: &[Db]) -> Result<()> {
        let database = self.random.below(DATABASES);
        let write = self.write(&databases[database], database)?;
        let after = match self.random.below(8) {
            0..4 => write.commit()?,
            4..6 => write.commit_with(Durability::RELAXED)?,
            6 => self.commit_async(write, &databases[database], database)?,
            _ => {
                let other = (database + 1) % DATABASES;
                let mut small = databases[other].begin_write(WAIT)?;
                let page = self.random.below(PAGES);
                self.write_page(&mut small, other, page)?;
                commit_both(manager, write, small)?
            }
        };
        let page = self.random.below(PAGES);
        self.look(&after, database, page)
    }

    /// Without waiting; where the log has no room at once nothing has happened, and the pages are
    /// written again by a commit that waits.
    fn commit_async(&mut self, write: WriteTxn, db: &Db, database: usize) -> Result<ReadTxn> {
        let pages = write.touched_pages();
        match write.commit_async() {
            Ok(pending) => Ok(pending.wait()?),
            Err(error) if error.code() == ErrorCode::Busy => {
                let mut again = db.begin_write(WAIT)?;
                for page in pages {
                    let page = usize::try_from(page.get())? - 1;
                    self.write_page(&mut again, database, page)?;
                }
                Ok(again.commit()?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn look(&self, read: &ReadTxn, database: usize, page: usize) -> Result<()> {
        let content = read.read_page(page_no(page)?)?;
        let mut stamp = [0; 8];
        if 8 <= content.len() {
            stamp.copy_from_slice(&content[..8]);
        }
        let expected = self.stamps[database][page];
        same("the stamp of a page", &u64::from_le_bytes(stamp), &expected)
    }
}

/// As a group; where one of them is too large for that, one after the other.
fn commit_both(manager: &Manager, write: WriteTxn, small: WriteTxn) -> Result<ReadTxn> {
    if 8 < write.touched_pages().len() {
        small.commit()?;
        return Ok(write.commit()?);
    }
    let mut both = manager.group_commit(vec![write, small])?.into_iter();
    Ok(both.next().ok_or("a group without a snapshot")?)
}

fn page_no(page: usize) -> Result<PageNo> {
    let number = u32::try_from(page + 1)?;
    Ok(PageNo::new(number).ok_or("no page")?)
}

impl Load for Pages {
    fn name(&self) -> String {
        format!("pages {}", self.number)
    }

    fn run(&mut self, store: &Store, stop: &Stop, commits: &AtomicU64) -> Result<()> {
        let manager = store.manager();
        let databases = self.open(manager)?;
        for (database, db) in databases.iter().enumerate() {
            let read = db.begin_read()?;
            for page in 0..PAGES {
                self.look(&read, database, page)?;
            }
        }
        if self.stamp == 0 {
            // Full from the beginning: what grows then is a leak.
            for (database, db) in databases.iter().enumerate() {
                self.fill(db, database)?;
            }
        }
        while !stop.is_set() {
            self.commit(manager, &databases)?;
            commits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
