//! Stores: those that are open in this process, by directory.
//!
//! ```text
//!   absent --first file is opened--> open --last file is closed--> closed, and absent again
//!   absent --registered by its owner--> open until the registration and the last file are gone;
//!                                       its owner closes it
//! ```
//! So another process can have a store as soon as the last connection to it is closed, and what was
//! committed with relaxed durability is durable then. While it is open it answers other processes over its control
//! socket, unless the environment says otherwise. A process that ends without closing its connections
//! leaves the store as a crash would.
//!
//! Invariants
//! - a store is opened once, however many threads ask for it: they wait for whoever opens or closes it;
//! - a store that was opened before this process was forked off is left alone, and so is its socket;
//! - its socket and the threads behind it are gone before it can be opened again;
//! - whoever visits it for a client keeps it open for nobody (see `visit`).
//!
//! Never: holds the list's lock while a store is opened or closed.

use crate::claims::Connection;
use crate::environment;
use crate::handle::{Handle, Level};
use crate::hub::Hub;
use crate::names;
use crate::visit;
use bop_control::{Server, SqlDoor};
use bop_sqlite_common::engine_error::EngineError;
use bop_storage::Manager;
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Nobody but a thread that is not in a forked child has a lock for so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// For what is still to be written when the last file is closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

static STORES: Mutex<Vec<Arc<Entry>>> = Mutex::new(Vec::new());
/// The stores that are open now. Looked at by every call that names a journal.
static OPEN: RwLock<Vec<(PathBuf, Arc<Hub>)>> = RwLock::new(Vec::new());

/// A directory, and the store in it while it is open.
#[derive(Debug)]
struct Entry {
    directory: PathBuf,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    hub: Arc<Hub>,
    guests: usize,
    /// Its owner closes it.
    is_registered: bool,
    /// Answers other processes; none for a store that is registered: its owner sees to that.
    server: Option<Server>,
}

/// Keeps a store open.
#[derive(Debug)]
pub(crate) struct Guest {
    hub: Arc<Hub>,
    /// Where it is counted; `None` on a visit.
    entry: Option<Arc<Entry>>,
}

impl Guest {
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Some(entry) = &self.entry else {
            return;
        };
        if !self.hub.is_of_this_process() {
            return;
        }
        let mut slot = entry.open.lock();
        let Some(open) = slot.as_mut() else {
            return;
        };
        open.guests -= 1;
        if open.guests > 0 {
            return;
        }
        let is_registered = open.is_registered;
        let server = slot.take().and_then(|open| open.server);
        OPEN.write()
            .retain(|(directory, _)| *directory != entry.directory);
        if is_registered {
            return;
        }
        self.hub.closing().store(true, Ordering::Release);
        if let Err(error) = self.hub.manager().close(CLOSE_DEADLINE) {
            let path = entry.directory.display();
            tracing::warn!(%error, %path, "a store did not close cleanly");
            self.hub.errors.record(EngineError::Refused(
                format!("the store {path} did not close cleanly: {error}").into(),
            ));
        }
        // It was told by the close; its threads are waited for here, before anybody opens the store again.
        drop(server);
    }
}

/// Enters the store in a directory, which is opened when it is not.
///
/// # Errors
/// [`EngineError::Open`]; [`EngineError::Forked`] in a child whose parent was opening one;
/// [`EngineError::Refused`] on a visit to another store.
pub(crate) fn enter(
    directory: &Path,
    create: bool,
    door: impl FnOnce(&Arc<Hub>) -> Option<Arc<dyn SqlDoor>>,
) -> Result<Guest, EngineError> {
    if let Some(hub) = visit::visited() {
        return enter_on_visit(hub, directory);
    }
    let entry = entry(directory)?;
    let mut slot = lock(&entry.open)?;
    if slot.as_ref().is_some_and(|o| !o.hub.is_of_this_process()) {
        // Its threads, its locks and its socket are the parent's: nothing of it can be given back here.
        std::mem::forget(slot.take());
    }
    let hub = match slot.as_mut() {
        Some(open) => {
            open.guests += 1;
            Arc::clone(&open.hub)
        }
        None => {
            let (options, control) = (environment::options()?, environment::control()?);
            let manager = Manager::open(directory, options.create(create))?;
            let hub = Arc::new(Hub::new(manager));
            let server = control.and_then(|options| {
                let options = match door(&hub) {
                    Some(door) => options.sql(door),
                    None => options,
                };
                serve(hub.manager(), options)
            });
            list(&entry, &hub)?;
            *slot = Some(Open {
                hub: Arc::clone(&hub),
                guests: 1,
                is_registered: false,
                server,
            });
            hub
        }
    };
    drop(slot);
    Ok(Guest {
        hub,
        entry: Some(entry),
    })
}

/// Whoever visits a store is in it already, and does not count.
fn enter_on_visit(hub: Arc<Hub>, directory: &Path) -> Result<Guest, EngineError> {
    if hub.manager().path() != directory {
        return Err(EngineError::Refused(
            format!("{} is another store", directory.display()).into(),
        ));
    }
    Ok(Guest { hub, entry: None })
}

/// Lets other processes ask. A store on a full or read-only device has no socket, and works.
fn serve(manager: &Manager, options: bop_control::Options) -> Option<Server> {
    let started = Server::start(manager, options);
    let started = started.inspect_err(|error| {
        tracing::warn!(%error, "there is no control socket");
    });
    started.ok()
}

/// Enters a store that its owner has opened.
///
/// # Errors
/// [`EngineError::Refused`] when its directory is open already.
pub(crate) fn register(manager: &Manager) -> Result<Guest, EngineError> {
    let entry = entry(&names::absolute(manager.path()))?;
    let mut slot = lock(&entry.open)?;
    if slot.is_some() {
        return Err(EngineError::Refused(
            format!("the store {} is registered", manager.path().display()).into(),
        ));
    }
    let hub = Arc::new(Hub::new(manager.clone()));
    list(&entry, &hub)?;
    *slot = Some(Open {
        hub: Arc::clone(&hub),
        guests: 1,
        is_registered: true,
        server: None,
    });
    drop(slot);
    Ok(Guest {
        hub,
        entry: Some(entry),
    })
}

fn entry(directory: &Path) -> Result<Arc<Entry>, EngineError> {
    let mut stores = lock(&STORES)?;
    if let Some(found) = stores.iter().find(|entry| entry.directory == directory) {
        return Ok(Arc::clone(found));
    }
    let made = Arc::new(Entry {
        directory: directory.to_owned(),
        open: Mutex::new(None),
    });
    stores.push(Arc::clone(&made));
    Ok(made)
}

/// The directories of open stores.
pub(crate) fn directories() -> Vec<PathBuf> {
    let open = OPEN.try_read_for(PATIENCE);
    open.iter()
        .flat_map(|open| open.iter())
        .map(|(path, _)| path.clone())
        .collect()
}

/// The open store that a full name, or that of a journal, is in.
pub(crate) fn holding(name: &str) -> Option<Arc<Hub>> {
    let is_in = |directory: &Path| {
        names::strip_directory(name, directory).is_some_and(|rest| !names::has_slash(rest))
    };
    if let Some(visited) = visit::visited().filter(|hub| is_in(hub.manager().path())) {
        return Some(visited);
    }
    let open = OPEN.try_read_for(PATIENCE)?;
    let mut open = open.iter();
    open.find(|(directory, _)| is_in(directory))
        .map(|(_, hub)| Arc::clone(hub))
}

fn list(entry: &Entry, hub: &Arc<Hub>) -> Result<(), EngineError> {
    let open = OPEN.try_write_for(PATIENCE);
    let mut open = open.ok_or(EngineError::Forked { operation: "open" })?;
    // One of before a fork is replaced.
    open.retain(|(directory, _)| *directory != entry.directory);
    open.push((entry.directory.clone(), Arc::clone(hub)));
    Ok(())
}

/// The files that a connection has open in other stores.
pub(crate) fn handles_elsewhere(here: &Arc<Hub>, connection: Connection) -> Vec<Arc<Handle>> {
    let open = OPEN.try_read_for(PATIENCE);
    let open = open.iter().flat_map(|open| open.iter());
    let others = open.filter(|(_, hub)| !Arc::ptr_eq(hub, here));
    others
        .flat_map(|(_, hub)| hub.handles_of(connection))
        .collect()
}

/// Whether a connection writes to a database of another store.
pub(crate) fn writes_elsewhere(here: &Arc<Hub>, connection: Connection) -> bool {
    let others = handles_elsewhere(here, connection);
    others.iter().any(|other| other.level() == Level::Writer)
}

/// The lock, unless it was held by a thread that did not come along into a forked child.
fn lock<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>, EngineError> {
    mutex
        .try_lock_for(PATIENCE)
        .ok_or(EngineError::Forked { operation: "open" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_opened_once_and_closed_with_its_last_guest() {
        let dir = tempfile::tempdir().unwrap();
        let path = names::absolute(&dir.path().join("store"));
        assert!(matches!(
            enter(&path, false, |_| None),
            Err(EngineError::Open(_))
        ));
        let first = enter(&path, true, |_| None).unwrap();
        let second = enter(&path, false, |_| None).unwrap();
        assert!(Arc::ptr_eq(first.hub(), second.hub()));
        let name = path.join("app-journal");
        assert!(holding(name.to_str().unwrap()).is_some());
        drop(first);
        assert!(second.hub().manager().databases().is_empty());
        drop(second);
        assert!(holding(name.to_str().unwrap()).is_none());
        // It is free for whoever comes next.
        Manager::open(&path, bop_storage::Options::new().create(false)).unwrap();
    }

    #[test]
    fn threads_that_open_and_close_a_store_at_once_all_get_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = names::absolute(dir.path());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let guest = enter(&path, true, |_| None).unwrap();
                        guest.hub().find("app", true).unwrap();
                    }
                });
            }
        });
        assert!(!directories().contains(&path));
    }

    #[test]
    fn a_registered_store_is_its_owners_to_close() {
        let dir = tempfile::tempdir().unwrap();
        let manager = Manager::open(dir.path(), bop_storage::Options::new()).unwrap();
        let registration = register(&manager).unwrap();
        assert!(register(&manager).is_err());
        let path = names::absolute(dir.path());
        let guest = enter(&path, false, |_| None).unwrap();
        drop(registration);
        assert!(Arc::ptr_eq(
            &guest
                .entry
                .as_ref()
                .unwrap()
                .open
                .lock()
                .as_ref()
                .unwrap()
                .hub,
            guest.hub()
        ));
        drop(guest);
        manager
            .create_database("still-open", bop_storage::DbKind::Raw)
            .unwrap();
        register(&manager).unwrap();
    }
}
