//! A read transaction: one state of a database, for as long as it lives.

use super::engine::OpenStore;
use super::lifecycle::{Inside, Outside};
use super::pending_commit::Visible;
use super::state::DbState;
use crate::checksum::RollingChecksum;
use crate::error::{BeginError, ReadError};
use crate::ids::{Lsn, PageNo, PageSize};
use crate::page::PageBytes;
use crate::runtime::sync::Mutex;
use crate::view::{Head, Pin, Seat};
use std::sync::Arc;

/// A snapshot of a database. Nothing that is committed later shows in it; it blocks nobody.
///
/// # Example
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use bop_storage::{DbKind, Manager, Options, PageNo};
///
/// let store = Manager::open(dir.path(), Options::new())?;
/// let db = store.create_database("pages", DbKind::Raw)?;
/// let mut write = db.begin_write(std::time::Duration::from_secs(1))?;
/// write.write_page(PageNo::FIRST, &[7; 4096])?;
/// let after = write.commit()?;
/// assert_eq!(after.read_page(PageNo::FIRST)?[..], [7; 4096]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ReadTxn {
    state: Arc<DbState>,
    pin: Pin,
    inside: Inside,
    /// Dropped last: it may be the last handle, and closing waits for those who are inside.
    engine: Arc<OpenStore>,
}

impl ReadTxn {
    pub(super) fn new(
        engine: Arc<OpenStore>,
        state: Arc<DbState>,
        pin: Pin,
        inside: Inside,
    ) -> Self {
        Self {
            engine,
            state,
            pin,
            inside,
        }
    }

    /// The newest commit that it shows; [`Lsn::ZERO`] for a database without one.
    pub fn lsn(&self) -> Lsn {
        self.pin.lsn()
    }

    /// When that commit was appended, in microseconds since the Unix epoch.
    pub fn time_us(&self) -> u64 {
        self.head().time_us
    }

    /// Bytes in a page; `None` before the first commit.
    pub fn page_size(&self) -> Option<PageSize> {
        self.head().page_size
    }

    /// Pages of the database.
    pub fn page_count(&self) -> u32 {
        self.head().page_count
    }

    /// The xor of all page hashes: equal for equal states, wherever they are.
    pub fn rolling_checksum(&self) -> RollingChecksum {
        self.head().rolling_checksum
    }

    /// A page of the snapshot. One that was never written, or lies above the page count, is zeros.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] with the place, an I/O failure, or that the store was closed or the
    /// database dropped.
    pub fn read_page(&self, page: PageNo) -> Result<PageBytes, ReadError> {
        self.engine.told(self.read(page))
    }

    fn read(&self, page: PageNo) -> Result<PageBytes, ReadError> {
        self.engine.check_open()?;
        self.state.check_live()?;
        let read = self.engine.reader().read(&self.pin.view(), page);
        // A drop takes the pages from below a pin.
        self.state.check_live()?;
        // The files are somebody else's once the store is closed: what they say then is no damage.
        read.or_else(|error| {
            self.engine.check_open()?;
            Err(error)
        })
    }

    /// Another read transaction of the same snapshot; `None` when the store is closing.
    pub fn duplicate(&self) -> Option<Self> {
        let inside = self.engine.lifecycle().enter()?;
        let pin = self.pin.again();
        Some(Self::new(
            Arc::clone(&self.engine),
            Arc::clone(&self.state),
            pin,
            inside,
        ))
    }

    fn head(&self) -> &Head {
        self.pin.head()
    }

    /// Gives the snapshot up, and keeps what the next transaction of the same reader begins faster with:
    /// what `mdb_txn_reset` of LMDB does. It holds neither log nor pages meanwhile.
    pub fn reset(self) -> ResetTxn {
        ResetTxn {
            state: self.state,
            seat: self.pin.leave(),
            outside: self.inside.leave(),
            engine: self.engine,
        }
    }

    /// As the end of a commit that changed nothing.
    pub(super) fn into_visible(self) -> Visible {
        Visible {
            engine: self.engine,
            state: self.state,
            inside: self.inside,
            pinned: Arc::new(Mutex::new(Some(self.pin))),
        }
    }

    pub(super) fn is_of(&self, state: &Arc<DbState>) -> bool {
        Arc::ptr_eq(&self.state, state)
    }

    pub(super) fn into_parts(self) -> (Pin, Inside) {
        (self.pin, self.inside)
    }
}

/// A read transaction that shows nothing until it is renewed.
///
/// # Example
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # use bop_storage::{DbKind, Manager, Options, PageNo};
/// # let store = Manager::open(dir.path(), Options::new())?;
/// let db = store.create_database("pages", DbKind::Raw)?;
/// let reset = db.begin_read()?.reset();
/// let mut write = db.begin_write(std::time::Duration::from_secs(1))?;
/// write.write_page(PageNo::FIRST, &[7; 4096])?;
/// write.commit()?;
/// assert_eq!(reset.renew()?.read_page(PageNo::FIRST)?[..], [7; 4096]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ResetTxn {
    state: Arc<DbState>,
    seat: Seat,
    outside: Outside,
    /// Dropped last, as a [`ReadTxn`]'s.
    engine: Arc<OpenStore>,
}

impl ResetTxn {
    /// A transaction on the newest state of the database, as [`Db::begin_read`](super::Db::begin_read)
    /// begins one, without a lock that readers share.
    ///
    /// # Errors
    /// [`BeginError::Dropped`], [`BeginError::Closed`].
    pub fn renew(self) -> Result<ReadTxn, BeginError> {
        let Self {
            state,
            seat,
            outside,
            engine,
        } = self;
        let Some(inside) = outside.enter() else {
            return engine.told(Err(BeginError::Closed));
        };
        let pin = state.pin_in(seat);
        // After it is pinned: a drop before takes the pages away.
        if state.check_live().is_err() {
            return engine.told(Err(BeginError::Dropped));
        }
        Ok(ReadTxn::new(engine, state, pin, inside))
    }
}
