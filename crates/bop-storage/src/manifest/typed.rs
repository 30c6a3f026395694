//! The manifest: typed rows over a store, one transaction at a time.
//!
//! ```text
//! transact: edit a copy of the rows -> invariants -> store commits -> the copy is the state
//!           a commit that failed -> the next transaction first reads all rows again
//! ```
//! Invariants
//! - a transaction is checked before a byte of it is written;
//! - what [`Manifest::state`] answers was durable in the store;
//! - no call unwinds: a panic in the store or in an edit is [`ManifestError::Panic`].
//!
//! Never: retries a commit that failed, or makes another one behind one that panicked.

use super::edit::{Edit, put, writes};
use super::fenced::{Fenced, fenced};
use super::invariants::{self, Change};
use super::rows::{MetaRow, Watermarks};
use super::schema::{Key, SCHEMA_VERSION, Single};
use super::state::ManifestState;
use super::store::{ManifestStore, Table, Write};
use crate::error::{Damage, ManifestError};
use crate::ids::StoreId;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::time::Duration;

/// The manifest of an open store.
#[derive(Debug)]
pub struct Manifest {
    store: Fenced,
    store_id: StoreId,
    /// Held for the whole of a transaction. `true` when a commit failed: its writes may be there.
    writer: Mutex<bool>,
    state: RwLock<ManifestState>,
}

impl Manifest {
    /// The first transaction of a new store's manifest.
    ///
    /// # Errors
    /// None in fact: the rows are constants but for the id.
    pub fn initial_writes(store_id: StoreId) -> Result<Vec<Write>, ManifestError> {
        let meta = MetaRow {
            schema_version: SCHEMA_VERSION,
            store: store_id,
        };
        let key = Single.encode();
        Ok(vec![
            put(store_id, key.clone(), &meta)?,
            put(store_id, key, &Watermarks::INITIAL)?,
        ])
    }

    /// Makes the manifest of a new store in an empty `store`.
    ///
    /// # Errors
    /// [`ManifestError::Invariant`] when `store` has a manifest already, or what it refuses.
    pub fn initialize(
        store: Arc<dyn ManifestStore>,
        store_id: StoreId,
    ) -> Result<Self, ManifestError> {
        let store = Fenced::new(store);
        for table in Table::ALL {
            if !store.scan(table, &[], 1)?.is_empty() {
                return Err(ManifestError::Invariant {
                    invariant: "initialized_once",
                    detail: format!("table {} has rows", table.name()),
                });
            }
        }
        store.commit(&Self::initial_writes(store_id)?)?;
        Self::load(store, store_id)
    }

    /// Reads and checks all rows. Damage of a row that one database or one segment needs is in
    /// [`ManifestState::damaged`]; nothing is written.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`] when the manifest is missing, of another store, of a newer
    /// schema, or damaged where every database needs it; else what the store refuses.
    pub fn open(store: Arc<dyn ManifestStore>, store_id: StoreId) -> Result<Self, ManifestError> {
        Self::load(Fenced::new(store), store_id)
    }

    fn load(store: Fenced, store_id: StoreId) -> Result<Self, ManifestError> {
        let state = read_rows(&store, store_id)?;
        Ok(Self {
            store,
            store_id,
            writer: Mutex::new(false),
            state: RwLock::new(state),
        })
    }

    /// All rows, as of the last transaction. Takes constant time.
    pub fn state(&self) -> ManifestState {
        self.state.read().clone()
    }

    /// Changes rows in one atomic, durable transaction. `edit` sees and changes a copy; what it
    /// answers is answered after the commit. An error of `edit` leaves everything as it was.
    ///
    /// # Errors
    /// That of `edit`; [`ManifestError::Invariant`] for what must not be; what the store refuses;
    /// [`ManifestError::Panic`]. A panic of `edit` has changed nothing; after one of the store's
    /// commit every transaction fails until the store is opened again.
    pub fn transact<T, E: From<ManifestError>>(
        &self,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut unsure = self.writer.lock();
        self.transaction(&mut unsure, edit)
    }

    /// The same for whoever must not wait for ever behind a transaction that does not come back from
    /// the device. This one's own commit takes as long as the device does.
    ///
    /// # Errors
    /// [`ManifestError::Stalled`] when `wait` was over before this transaction could begin; else as
    /// for [`Manifest::transact`].
    pub fn transact_within<T, E: From<ManifestError>>(
        &self,
        wait: Duration,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(mut unsure) = self.writer.try_lock_for(wait) else {
            return Err(ManifestError::Stalled { waited: wait }.into());
        };
        self.transaction(&mut unsure, edit)
    }

    fn transaction<T, E: From<ManifestError>>(
        &self,
        unsure: &mut bool,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        fenced("changed the manifest", || self.edited(unsure, edit))
    }

    fn edited<T, E: From<ManifestError>>(
        &self,
        unsure: &mut bool,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.read_again(unsure)?;
        let before = self.state();
        let mut edited = Edit::new(&before);
        let answer = edit(&mut edited)?;
        let (after, touched) = edited.finish();
        let change = Change {
            before: &before,
            after: &after,
            touched: &touched,
        };
        invariants::check(&change)?;
        let writes = writes(self.store_id, &before, &after, &touched)?;
        if !writes.is_empty() {
            *unsure = true;
            self.store.commit(&writes)?;
            *unsure = false;
            tracing::debug!(writes = writes.len(), "manifest transaction");
        }
        *self.state.write() = after;
        Ok(answer)
    }

    /// Finds out what a transaction that failed has left: [`Manifest::state`] is all that the store
    /// has when this answers `true`. It cannot be told before the store is opened again when the
    /// store itself has failed, nor while another transaction does not return for as long as `wait`.
    pub fn settle(&self, wait: Duration) -> bool {
        let Some(mut unsure) = self.writer.try_lock_for(wait) else {
            return false;
        };
        !*unsure || (self.failure().is_none() && self.read_again(&mut unsure).is_ok())
    }

    /// Why no transaction can be made until the store is opened again, if so.
    pub fn failure(&self) -> Option<ManifestError> {
        self.store.failure()
    }

    fn read_again(&self, unsure: &mut bool) -> Result<(), ManifestError> {
        if *unsure {
            let state = read_rows(&self.store, self.store_id)?;
            *self.state.write() = state;
            *unsure = false;
        }
        Ok(())
    }

    /// Whether [`Manifest::state`] is all that the store has: not after a commit that failed, until
    /// the next one.
    pub fn is_sure(&self) -> bool {
        !*self.writer.lock()
    }

    /// Reads every row again and checks all of it, each by itself and all together.
    ///
    /// # Errors
    /// As for [`Manifest::open`].
    pub fn verify(&self) -> Result<Vec<Damage>, ManifestError> {
        let _no_transaction = self.writer.lock();
        let state = read_rows(&self.store, self.store_id)?;
        let mut findings: Vec<Damage> = state.damaged().iter().cloned().collect();
        findings.extend(invariants::check_all(&state));
        // A damaged chunk stands with itself and with each database it touches.
        let mut seen = std::collections::HashSet::new();
        findings.retain(|finding| seen.insert(finding.clone()));
        Ok(findings)
    }

    /// Lets go of the store.
    pub fn close(&self) {
        self.store.close();
    }
}

/// All rows. A panic in what they are believed to be is an error, too.
fn read_rows(store: &Fenced, store_id: StoreId) -> Result<ManifestState, ManifestError> {
    fenced("read the manifest's rows", || {
        ManifestState::load(store, store_id)
    })
}
