//! Hub: what the open files of one store share in this process.
//!
//! Invariants
//! - every open file of the store is listed, and no other;
//! - a process that was forked off since the store was opened gets an error from every call, and gives
//!   nothing of it back: the threads that write for the store are its parent's.
//!
//! Never: holds a lock of its own while it calls the engine, or takes that of a file's state.

use crate::claims::{Claims, Connection};
use crate::handle::Handle;
use crate::process::Process;
use crate::supers::Supers;
use bop_sqlite_common::engine_error::{EngineError, ErrorSlot};
use bop_sqlite_common::shown::{self, Shown};
use bop_storage::Manager;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// The open files.
#[derive(Debug, Default)]
struct Files {
    /// By the connection that each belongs to, in the order they were opened.
    of: HashMap<Connection, Vec<Weak<Handle>>>,
    /// How many there are of each full name.
    names: HashMap<String, usize>,
}

/// An open store, and its files.
#[derive(Debug)]
pub(crate) struct Hub {
    manager: Manager,
    /// The process that opened it.
    process: Process,
    files: Mutex<Files>,
    pub(crate) supers: Supers,
    pub(crate) claims: Claims,
    pub(crate) errors: ErrorSlot,
    closing: Arc<AtomicBool>,
    /// First phases of commits that are over.
    phases: AtomicU64,
}

impl Hub {
    pub(crate) fn new(manager: Manager) -> Self {
        Self {
            manager,
            process: Process::this(),
            files: Mutex::default(),
            supers: Supers::default(),
            claims: Claims::default(),
            errors: ErrorSlot::default(),
            closing: Arc::default(),
            phases: AtomicU64::new(0),
        }
    }

    pub(crate) fn manager(&self) -> &Manager {
        &self.manager
    }

    /// Whether the program has closed its last connection: what is done for others is to end.
    pub(crate) fn closing(&self) -> &Arc<AtomicBool> {
        &self.closing
    }

    /// The first phase of a commit is over; which one that is.
    pub(crate) fn next_phase(&self) -> u64 {
        self.phases.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn is_of_this_process(&self) -> bool {
        self.process.is_this()
    }

    /// Refuses in a forked child.
    pub(crate) fn check_process(&self, operation: &'static str) -> Result<(), EngineError> {
        match self.is_of_this_process() {
            true => Ok(()),
            false => Err(EngineError::Forked { operation }),
        }
    }

    /// The database, or the state of one, that a name means; created when `create` and missing.
    pub(crate) fn find(&self, name: &str, create: bool) -> Result<Shown, EngineError> {
        self.check_process("open")?;
        match shown::parse_file_name(name)? {
            (name, None) => {
                let database = shown::open_database(&self.manager, name, create)?;
                Ok(Shown::Present(database))
            }
            (name, Some(at)) => Ok(shown::open_state(&self.manager, name, &at)?),
        }
    }

    /// Lists a file. It belongs to no connection yet.
    pub(crate) fn add(&self, handle: &Arc<Handle>) {
        let mut files = self.files.lock();
        let name = handle.full_name().to_owned();
        *files.names.entry(name).or_default() += 1;
        let of = files.of.entry(handle.connection()).or_default();
        of.push(Arc::downgrade(handle));
    }

    /// SQLite says which connection a file belongs to.
    pub(crate) fn assign(&self, handle: &Arc<Handle>, connection: Connection) {
        let mut files = self.files.lock();
        files.take(handle);
        handle.set_connection(connection);
        let of = files.of.entry(connection).or_default();
        of.push(Arc::downgrade(handle));
    }

    /// A file was closed.
    pub(crate) fn remove(&self, handle: &Arc<Handle>) {
        let mut files = self.files.lock();
        files.take(handle);
        let name = handle.full_name();
        let left = files.names.get_mut(name).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            files.names.remove(name);
            drop(files);
            self.supers.forget_of(name);
        }
    }

    /// The open files of one connection, in the order they were opened.
    pub(crate) fn handles_of(&self, connection: Connection) -> Vec<Arc<Handle>> {
        let files = self.files.lock();
        let of = files.of.get(&connection).filter(|_| connection != 0);
        of.into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    /// All open files.
    pub(crate) fn handles(&self) -> Vec<Arc<Handle>> {
        let files = self.files.lock();
        let all = files.of.values().flatten();
        all.filter_map(Weak::upgrade).collect()
    }
}

impl Files {
    fn take(&mut self, handle: &Arc<Handle>) {
        let connection = handle.connection();
        if let Some(of) = self.of.get_mut(&connection) {
            of.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(handle)));
            if of.is_empty() {
                self.of.remove(&connection);
            }
        }
    }
}
