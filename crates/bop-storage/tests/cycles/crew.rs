//! The threads inside a store. Each works until it is told to stop, or the store says `Closed`.

use crate::world::{Known, PAGE_BYTES, PAGES, PASSING, number_of, try_number_of};
use bop_storage::testing::SplitMix64;
use bop_storage::{
    CatalogueError, Db, DbId, DbKind, ErrorCode, Manager, PageNo, ReadTxn, WriteTxn,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// What the threads of a cycle share.
#[derive(Default)]
pub(crate) struct Cycle {
    stop: AtomicBool,
    done: Mutex<u64>,
    more: Condvar,
}

impl Cycle {
    /// Every thread ends after what it is doing.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Waits until the threads did `count` things.
    pub(crate) fn wait_for(&self, count: u64) {
        let mut done = self.done.lock().unwrap();
        while *done < count {
            done = self.more.wait(done).unwrap();
        }
    }

    fn goes_on(&self) -> bool {
        *self.done.lock().unwrap() += 1;
        self.more.notify_all();
        !self.stop.load(Ordering::Acquire)
    }
}

/// What may happen to a thread while others close, drop and fill the store.
fn expected(code: ErrorCode) -> bool {
    use ErrorCode as E;
    let expected = [
        E::Closed,
        E::DatabaseDropped,
        E::DatabaseNotFound,
        E::DatabaseExists,
        E::Busy,
        E::LogFull,
        E::Timeout,
        E::LimitReached,
    ];
    expected.contains(&code)
}

/// Whether the thread goes on after this.
fn check(what: &str, code: ErrorCode, error: &dyn std::fmt::Display) -> bool {
    assert!(expected(code), "{what}: {code:?}: {error}");
    code != ErrorCode::Closed
}

fn page(number: u32) -> PageNo {
    PageNo::new(number).unwrap()
}

/// Commits to a database, again and again.
pub(crate) fn write(cycle: &Cycle, known: &Mutex<Known>, db: &Db, mut random: SplitMix64) {
    while cycle.goes_on() {
        let wait = Duration::from_millis(random.below(4) * 10_000);
        let txn = match db.begin_write(wait) {
            Ok(txn) => txn,
            Err(error) => {
                if check("begin_write", error.code(), &error) {
                    continue;
                }
                return;
            }
        };
        match write_one(txn, &mut random) {
            Ok(None) => {}
            Ok(Some((after, number))) => {
                known.lock().unwrap().committed(db.id(), number);
                match try_number_of(&after) {
                    Ok(found) => assert_eq!(found, number),
                    Err(error) => assert!(expected(error.code()), "{error}"),
                }
            }
            Err((code, error)) => {
                if !check("commit", code, &error) || code == ErrorCode::DatabaseDropped {
                    return;
                }
            }
        }
    }
}

type Failed = (ErrorCode, String);

/// Writes the next number to every page, by detours; commits, mostly.
fn write_one(mut txn: WriteTxn, random: &mut SplitMix64) -> Result<Option<(ReadTxn, u64)>, Failed> {
    let failed = |code: ErrorCode, error: &dyn std::fmt::Display| (code, error.to_string());
    let mut number = 1;
    if txn.page_count() > 0 {
        let first = txn.read_page(page(1)).map_err(|e| failed(e.code(), &e))?;
        number += u64::from_le_bytes(first[..8].try_into().unwrap());
    }
    let mut content = vec![0; PAGE_BYTES];
    content[..8].copy_from_slice(&number.to_le_bytes());
    if random.chance(1, 4) {
        let savepoint = txn.savepoint();
        txn.write_page(page(PAGES + 3), &vec![0xee; PAGE_BYTES])
            .map_err(|e| failed(e.code(), &e))?;
        txn.truncate(1);
        txn.rollback_to(savepoint);
    }
    for number in 1..=PAGES {
        txn.write_page(page(number), &content)
            .map_err(|e| failed(e.code(), &e))?;
    }
    if random.chance(1, 8) {
        return Ok(None);
    }
    let after = txn.commit().map_err(|e| failed(e.code(), &e))?;
    Ok(Some((after, number)))
}

/// Reads snapshots, keeps some of them, and finds each as it was.
pub(crate) fn read(cycle: &Cycle, db: &Db, mut random: SplitMix64) {
    let mut kept: Vec<(ReadTxn, u64)> = Vec::new();
    while cycle.goes_on() {
        let read = match db.begin_read() {
            Ok(read) => read,
            Err(error) => return assert!(expected(error.code()), "{error}"),
        };
        kept.push((read, 0));
        if let Some(newest) = kept.last_mut() {
            match try_number_of(&newest.0) {
                Ok(number) => newest.1 = number,
                Err(error) => return assert!(expected(error.code()), "{error}"),
            }
        }
        for (read, number) in &kept {
            match try_number_of(read) {
                Ok(found) => assert_eq!(found, *number),
                Err(error) => return assert!(expected(error.code()), "{error}"),
            }
        }
        if kept.len() > 3 || random.chance(1, 3) {
            kept.clear();
        }
    }
}

/// Runs checkpoints, one after the other.
pub(crate) fn checkpoint(cycle: &Cycle, store: &Manager) {
    while cycle.goes_on() {
        store.keep_house();
        if let Err(error) = store.checkpoint()
            && !check("checkpoint", error.code(), &error)
        {
            return;
        }
    }
}

/// Creates, renames, drops and brings back databases, and writes to those that are there.
pub(crate) fn name(cycle: &Cycle, known: &Mutex<Known>, store: &Manager, mut random: SplitMix64) {
    while cycle.goes_on() {
        let [one, other] = [0; 2].map(|_| PASSING[random.index(PASSING.len())]);
        let done = match random.below(5) {
            0 => store.create_database(one, DbKind::Raw).map(|db| {
                let id = db.id();
                known
                    .lock()
                    .unwrap()
                    .databases
                    .insert(id, (one.to_owned(), 0));
            }),
            1 => store.rename_database(one, other).map(|()| {
                let mut known = known.lock().unwrap();
                let renamed = known.databases.values_mut().find(|(name, _)| name == one);
                renamed.unwrap().0 = other.to_owned();
            }),
            2 => store.drop_database(one).map(|()| {
                let known = &mut *known.lock().unwrap();
                let of_name = |_: &DbId, (name, _): &mut (String, u64)| name == one;
                let dropped = known.databases.extract_if(.., of_name);
                known
                    .dropped
                    .extend(dropped.map(|(id, (_, number))| (id, number)));
            }),
            3 => bring_back(known, store, one, &mut random),
            _ => store
                .database(one)
                .map(|db| pass_by(known, &db, &mut random)),
        };
        if let Err(error) = done
            && !check("catalogue", error.code(), &error)
        {
            return;
        }
    }
}

/// Takes a drop back: all that was committed before it must be there.
fn bring_back(
    known: &Mutex<Known>,
    store: &Manager,
    name: &str,
    random: &mut SplitMix64,
) -> Result<(), CatalogueError> {
    let dropped = store.dropped_databases();
    if dropped.is_empty() {
        return Ok(());
    }
    let id = dropped[random.index(dropped.len())].id;
    store.undrop_database_id(id, Some(name))?;
    let number = {
        let known = &mut *known.lock().unwrap();
        let number = known.dropped.remove(&id).unwrap_or(0);
        known.databases.insert(id, (name.to_owned(), number));
        number
    };
    match store.database(name)?.begin_read() {
        Ok(read) => match try_number_of(&read) {
            Ok(found) => assert!(number <= found, "{name} is at {found}, not at {number}"),
            Err(error) => assert!(expected(error.code()), "{error}"),
        },
        Err(error) => assert!(expected(error.code()), "{error}"),
    }
    Ok(())
}

/// One commit to a database that may be dropped at any moment.
fn pass_by(known: &Mutex<Known>, db: &Db, random: &mut SplitMix64) {
    let Ok(txn) = db.begin_write(Duration::ZERO) else {
        return;
    };
    match write_one(txn, random) {
        Ok(Some((_, number))) => known.lock().unwrap().committed(db.id(), number),
        Ok(None) => {}
        Err((code, error)) => assert!(expected(code), "{error}"),
    }
}

/// Opens databases by name while others drop and create them: what is found is whole.
pub(crate) fn look(cycle: &Cycle, store: &Manager, mut random: SplitMix64) {
    while cycle.goes_on() {
        let name = PASSING[random.index(PASSING.len())];
        match store.database(name) {
            Ok(db) => {
                if let Ok(read) = db.begin_read()
                    && let Err(error) = try_number_of(&read)
                {
                    assert!(expected(error.code()), "{error}");
                }
            }
            Err(error) => {
                if !check("database", error.code(), &error) {
                    return;
                }
            }
        }
        for info in store.databases() {
            assert!(!info.name.is_empty() && info.damage.is_none(), "{info:?}");
        }
    }
}

/// What a transaction says once its store is closed.
pub(crate) fn must_be_closed(read: &ReadTxn, mut write: WriteTxn) {
    let error = read.read_page(page(1)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Closed);
    assert_eq!(
        write.read_page(page(1)).unwrap_err().code(),
        ErrorCode::Closed
    );
    let error = write.write_page(page(1), &[1; PAGE_BYTES]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Closed);
    assert_eq!(write.commit().unwrap_err().code(), ErrorCode::Closed);
}

/// What handles say while the store is open.
pub(crate) fn must_be_open(db: &Db) {
    let read = db.begin_read().unwrap();
    number_of(&read);
}
