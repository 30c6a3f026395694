//! How a store is opened.

use super::housekeeper::Housekeeping;
use crate::io::{Disk, IoBackend};
use crate::limits::Limits;
use crate::manifest::ManifestStore;
use crate::pagestore::Compression;
use crate::runtime::Runtime;
use std::sync::Arc;

/// Options of [`Manager::open`](crate::Manager::open).
///
/// # Example
/// ```
/// use bop_storage::{Limits, Options};
/// let options = Options::new().create(false).limits(Limits::default());
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) create: bool,
    pub(super) limits: Limits,
    pub(super) io: IoBackend,
    pub(super) compression: Compression,
    pub(super) housekeeping: Housekeeping,
    pub(super) runtime: Runtime,
    pub(super) disk: Option<Arc<dyn Disk>>,
    pub(super) manifest: Option<Arc<dyn ManifestStore>>,
    /// It was made of a backup just now: what the other store gives out meanwhile is left out here.
    pub(super) restored: bool,
}

impl Options {
    /// A store that is created when it is missing, with default limits, direct I/O where the file
    /// system allows it, the manifest in LMDB, and a thread that keeps house.
    pub fn new() -> Self {
        Self {
            create: true,
            limits: Limits::default(),
            io: IoBackend::Auto,
            compression: Compression::default(),
            housekeeping: Housekeeping::Background,
            runtime: Runtime::system(),
            disk: None,
            manifest: None,
            restored: false,
        }
    }

    /// Whether a missing store is created.
    #[must_use]
    pub fn create(self, create: bool) -> Self {
        Self { create, ..self }
    }

    /// The store's bounds.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// How checkpoints compress pages. It is not kept in the store: each opening says it anew.
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        Self {
            compression,
            ..self
        }
    }

    /// How files are read and written. What [`IoBackend::Auto`] becomes is in the store's
    /// [`backend`](crate::StoreStatus::backend); any other that is not to be had is
    /// [`OpenError::Backend`](crate::OpenError::Backend).
    #[must_use]
    pub fn io(self, io: IoBackend) -> Self {
        Self { io, ..self }
    }

    /// Who keeps house.
    #[must_use]
    pub fn housekeeping(self, housekeeping: Housekeeping) -> Self {
        Self {
            housekeeping,
            ..self
        }
    }

    /// Where time, randomness and threads come from.
    #[must_use]
    pub fn runtime(self, runtime: Runtime) -> Self {
        Self { runtime, ..self }
    }

    /// The files of the store, in place of the directory's. The manifest has to be given too,
    /// since LMDB does not go through a [`Disk`].
    #[must_use]
    pub fn disk(self, disk: Arc<dyn Disk>, manifest: Arc<dyn ManifestStore>) -> Self {
        Self {
            disk: Some(disk),
            manifest: Some(manifest),
            ..self
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}
