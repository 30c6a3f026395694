//! An application that has a store open and lets others ask.
//!
//! Invariant: it is dropped before the files of its store are gone, and lets nothing hang then.

use super::faulty_disk::{Faults, FaultyDisk};
use bop_control::Server;
use bop_libsql::control::Door;
use bop_libsql::{Connection, Store};
use bop_storage::manifest::LmdbManifest;
use bop_storage::{Limits, Manager, Options};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long its end may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(60);

/// It.
pub(super) struct Application {
    store: Store,
    server: Option<Server>,
    faults: Option<Arc<Faults>>,
    aside: Option<JoinHandle<()>>,
}

impl Application {
    /// Opens the store at `path`.
    pub(super) fn open(path: &Path, options: Options) -> Self {
        let store = Store::open(path, options).unwrap();
        let options = bop_control::Options::new()
            .sql(Arc::new(Door::new(&store)))
            .allow_writes(true);
        // A disk that is full has no socket, and a store all the same.
        let server = Server::start(store.manager(), options).ok();
        Self {
            store,
            server,
            faults: None,
            aside: None,
        }
    }

    /// Opens it on a disk whose writes below `dir` may be made to fail.
    pub(super) fn on_faulty_disk(path: &Path, dir: &'static str, limits: Limits) -> Self {
        let valid = limits.clone().validated().unwrap();
        let manifest = LmdbManifest::open(path, &valid).unwrap();
        let disk = FaultyDisk::open(path, dir);
        let faults = Arc::clone(disk.faults());
        let options = Options::new().limits(limits);
        let options = options.disk(Arc::new(disk), Arc::new(manifest));
        let mut opened = Self::open(path, options);
        opened.faults = Some(faults);
        opened
    }

    pub(super) fn manager(&self) -> &Manager {
        self.store.manager()
    }

    /// What becomes of its writes.
    pub(super) fn faults(&self) -> &Faults {
        self.faults.as_ref().unwrap()
    }

    pub(super) fn connect(&self, database: &str) -> Connection {
        self.store.connect(database).unwrap()
    }

    /// Runs SQL.
    #[track_caller]
    pub(super) fn sql(&self, database: &str, sql: &str) {
        self.connect(database).execute_batch(sql).unwrap();
    }

    /// Runs SQL on a thread of its own, whatever becomes of it.
    pub(super) fn commit_aside(&mut self, database: &str, sql: &str) {
        let (db, sql) = (self.connect(database), sql.to_owned());
        let ran = move || {
            // It may be told that nobody knows.
            let _ = db.execute_batch(&sql);
        };
        self.aside = Some(std::thread::spawn(ran));
    }

    #[track_caller]
    pub(super) fn checkpoint(&self) {
        self.manager().checkpoint().unwrap();
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        if let Some(faults) = &self.faults {
            faults.heal();
        }
        if let Some(aside) = self.aside.take() {
            aside.join().unwrap();
        }
        // What a stage has made of it may not let it close cleanly.
        let _ = self.store.manager().close(CLOSE_DEADLINE);
        drop(self.server.take());
    }
}
