//! Stores for unit tests: on a simulated disk, with a manifest in memory.
//!
//! Never: does anything in the background.

use super::{Housekeeping, Manager, Options};
use crate::limits::Limits;
use crate::manifest::MemoryManifest;
use crate::testing::SimDisk;
use std::sync::Arc;

/// Opens, or makes, the store that these hold.
pub(super) fn open(disk: &SimDisk, manifest: &MemoryManifest, limits: Limits) -> Manager {
    let options = Options::new()
        .limits(limits)
        .housekeeping(Housekeeping::Manual)
        .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()));
    Manager::open("simulated", options).unwrap()
}

/// A new store on that disk.
pub(super) fn new(disk: &SimDisk, limits: Limits) -> Manager {
    open(disk, &MemoryManifest::new(), limits)
}
