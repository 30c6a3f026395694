//! The rows of a catalogue, which follow it at any distance, in a manifest whose commits the power may cut.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use crate::gates::power_cut;
use bop_storage::catalogue::Catalogue;
use bop_storage::error::ManifestError;
use bop_storage::ids::StoreId;
use bop_storage::manifest::{Manifest, MemoryManifest};
use std::sync::Arc;

const STORE: StoreId = StoreId::new([1; 16]);

/// What happens while the rows are written.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Cut {
    No,
    /// Nothing of them is there.
    Before,
    /// All of them are there, and nobody was told.
    After,
    /// Nothing; it is opened again behind it.
    Reopened,
}

impl Cut {
    /// Each in its turn.
    pub(crate) fn nth(number: usize) -> Self {
        [Self::No, Self::Before, Self::After, Self::Reopened][number % 4]
    }
}

pub(crate) struct CatalogueRows {
    store: MemoryManifest,
    manifest: Manifest,
    /// What they say.
    written: Catalogue,
}

impl CatalogueRows {
    pub(crate) fn new() -> Self {
        let store = MemoryManifest::new();
        let manifest = Manifest::initialize(Arc::new(store.clone()), STORE).unwrap();
        Self {
            store,
            manifest,
            written: Catalogue::new(),
        }
    }

    /// Writes the rows of `live`. What a cut leaves is read, and the rest comes out of the log, as recovery does it.
    pub(crate) fn follow(&mut self, live: &Catalogue, cut: Cut) {
        match cut {
            Cut::Before => self.store.set_gate(Some(power_cut())),
            Cut::After => self.store.set_gate_after(Some(power_cut())),
            Cut::No | Cut::Reopened => {}
        }
        let written = self.write(live);
        self.store.set_gate(None);
        self.store.set_gate_after(None);
        if written.is_err() || cut == Cut::Reopened {
            self.store = self.store.snapshot();
            self.manifest = Manifest::open(Arc::new(self.store.clone()), STORE).unwrap();
            let left = Catalogue::from_rows(&self.manifest.state());
            let all = written.is_ok() || cut == Cut::After;
            assert_eq!(&left, if all { live } else { &self.written }, "{cut:?}");
            self.write(live).unwrap();
        }
        self.written = live.clone();
        assert_eq!(&Catalogue::from_rows(&self.manifest.state()), live);
        assert_eq!(self.manifest.verify().unwrap(), []);
    }

    fn write(&self, live: &Catalogue) -> Result<(), ManifestError> {
        let rows = live.clone();
        self.manifest.transact(move |edit| rows.write_rows(edit))
    }
}
