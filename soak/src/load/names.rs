//! Databases that come and go.

use super::{Load, WAIT, same};
use crate::Result;
use crate::stop::Stop;
use bop_libsql::Store;
use bop_storage::{DbKind, ErrorCode, PageNo};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many were made.
pub(super) struct Names {
    made: u64,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { made: 0 }
    }
}

impl Load for Names {
    fn name(&self) -> String {
        "names".to_owned()
    }

    fn run(&mut self, store: &Store, stop: &Stop, commits: &AtomicU64) -> Result<()> {
        let manager = store.manager();
        while !stop.is_set() {
            self.made += 1;
            let (first, second) = (format!("new-{}", self.made), format!("old-{}", self.made));
            if self.made.is_multiple_of(4) {
                let connection = store.connect(&first)?;
                connection.execute_batch("create table t(a); insert into t values (1)")?;
                drop(connection);
            } else if self.made.is_multiple_of(4 + 1) {
                manager.create_record_log(&first)?.set_vote(b"vote")?;
            } else {
                let db = manager.create_database(&first, DbKind::Raw)?;
                let mut write = db.begin_write(WAIT)?;
                write.write_page(PageNo::FIRST, &[7; 4096])?;
                write.commit()?;
            }
            manager.rename_database(&first, &second)?;
            // It is there under one name.
            manager.info(&second)?;
            manager.drop_database(&second)?;
            for gone in [&first, &second] {
                let code = manager.info(gone).err().map(|error| error.code());
                let expected = Some(ErrorCode::DatabaseNotFound);
                same("the info of a dropped database", &code, &expected)?;
            }
            // A record log has no way back.
            let newest = manager.dropped_databases().into_iter().next();
            if self.made.is_multiple_of(3) && newest.is_some_and(|one| one.name == second) {
                manager.undrop_database(&second, Some(&first))?;
                manager.info(&first)?;
                manager.drop_database_now(&first)?;
                commits.fetch_add(2, Ordering::Relaxed);
            }
            commits.fetch_add(4, Ordering::Relaxed);
        }
        Ok(())
    }
}
