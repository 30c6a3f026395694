//! The pages of a state of the past that is in chunks.
//!
//! ```text
//!     older generation <---- interval ----> newer generation
//!            g0 ......... c ... p ... c ......... g1
//!                                |
//!   page of p:  in g1, if its version is not newer than p
//!            -> in the history of the interval: the newest version that is not newer than p
//!            -> in g0
//! ```
//! Invariants
//! - what a commit until `p` cut off is found in none of the three: a version older than the newest such
//!   commit is no answer;
//! - the three are of one transaction of the manifest, and hold their files.
//!
//! Never: answers for a commit that the history does not call readable.

use super::chunks::ChunkFile;
use crate::cache::{PageCache, PageKey};
use crate::checksum::PageHash;
use crate::error::{Damage, Place, ReadError, Reject};
use crate::ids::{DbId, Generation, Lsn, PageNo};
use crate::page::PageBytes;
use crate::pagestore::{HistoryPoint, cut_before, point_at};
use crate::view::{BasePage, BasePages};
use std::fmt;
use std::sync::Arc;

/// A history section in its chunk.
#[derive(Debug)]
pub(super) struct HistoryFile {
    pub(super) file: Arc<ChunkFile>,
    pub(super) section: u32,
}

impl HistoryFile {
    /// A version that its index has is not there.
    fn lost(&self) -> ReadError {
        let place = Place::Chunk {
            chunk: self.file.id(),
            offset: 0,
        };
        Damage::new(place, Reject::Missing).into()
    }

    /// The commits that it tells.
    pub(super) fn points(&self) -> Result<Arc<Vec<HistoryPoint>>, ReadError> {
        self.file.reader()?.history(self.section)
    }
}

/// The state after one commit of an interval.
pub(super) struct PastPages {
    pub(super) database: DbId,
    pub(super) at: Lsn,
    pub(super) older: Arc<dyn BasePages>,
    pub(super) newer: Arc<dyn BasePages>,
    pub(super) history: HistoryFile,
    pub(super) cache: Arc<PageCache>,
}

/// Where a page was found.
enum Where {
    Newer,
    History(PageHash, Lsn),
    Older,
}

impl fmt::Debug for PastPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { database, at, .. } = self;
        write!(f, "PastPages(database {database} at {at})")
    }
}

impl PastPages {
    /// Where the page is; `None` when it reads as zeros.
    fn find(&self, page: PageNo) -> Result<Option<Where>, ReadError> {
        let points = self.history.points()?;
        let point = point_at(&points, self.at);
        if point.is_none_or(|point| point.lsn != self.at || !point.readable) {
            let database = self.database;
            let reason = Reject::Invalid("a state of the past whose versions were not kept");
            return Err(Damage::new(Place::Database { database }, reason).into());
        }
        let cut = cut_before(&points, page, self.at);
        let is_cut = |version: Lsn| cut.is_some_and(|cut| version < cut);
        if let Some((_, version)) = self.newer.version(page)?
            && version <= self.at
        {
            return Ok((!is_cut(version)).then_some(Where::Newer));
        }
        let HistoryFile { file, section } = &self.history;
        if let Some((hash, version, _)) = file.reader()?.version_at(*section, page, self.at)? {
            return Ok((!is_cut(version)).then_some(Where::History(hash, version)));
        }
        Ok(cut.is_none().then_some(Where::Older))
    }

    fn load_version(&self, page: PageNo) -> Result<Option<BasePage>, ReadError> {
        let HistoryFile { file, section } = &self.history;
        let found = file.reader()?.read_at(*section, page, self.at)?;
        Ok(found.map(BasePage::from))
    }
}

impl BasePages for PastPages {
    fn generation(&self) -> Generation {
        self.older.generation()
    }

    fn read(&self, page: PageNo) -> Result<Option<PageBytes>, ReadError> {
        match self.find(page)? {
            None => Ok(None),
            Some(Where::Newer) => self.newer.read(page),
            Some(Where::Older) => self.older.read(page),
            Some(Where::History(_, version)) => {
                // The bytes are those that stood in the log under this version.
                let key = PageKey::in_log(self.database, version, page);
                let load = || match self.load_version(page)? {
                    Some(found) => Ok(found.content),
                    None => Err(self.history.lost()),
                };
                self.cache.get_or_load(key, load).map(Some)
            }
        }
    }

    fn load(&self, page: PageNo) -> Result<Option<BasePage>, ReadError> {
        match self.find(page)? {
            None => Ok(None),
            Some(Where::Newer) => self.newer.load(page),
            Some(Where::Older) => self.older.load(page),
            Some(Where::History(..)) => self.load_version(page),
        }
    }

    fn version(&self, page: PageNo) -> Result<Option<(PageHash, Lsn)>, ReadError> {
        match self.find(page)? {
            None => Ok(None),
            Some(Where::Newer) => self.newer.version(page),
            Some(Where::Older) => self.older.version(page),
            Some(Where::History(hash, version)) => Ok(Some((hash, version))),
        }
    }

    fn in_memory(&self, _page: PageNo) -> Option<PageBytes> {
        None
    }
}
