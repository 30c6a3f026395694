//! A deep verification of a store whose databases come and go meanwhile. What SQLite answers is made up.

use bop_control::{
    Call, ExportWanted, Failure, Request, SqlDoor, SqlSession, SqlWanted, Terminal, Transferred,
};
use bop_storage::error::ErrorCode;
use bop_storage::{DbKind, Manager};
use serde_json::{Value, json};
use std::path::Path;

/// Answers as told to the check of each database.
struct Answering<F>(F);

impl<F> SqlDoor for Answering<F>
where
    F: Fn(&str) -> Result<Vec<String>, String> + Send + Sync,
{
    fn integrity_check(&self, database: &str, _max: usize) -> Result<Vec<String>, String> {
        (self.0)(database)
    }

    fn open(&self, _wanted: &SqlWanted) -> Result<Box<dyn SqlSession>, Failure> {
        unreachable!("a verification opens no session")
    }

    fn import(
        &self,
        _database: &str,
        _file: &Path,
        _progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Transferred, Failure> {
        unreachable!("a verification imports nothing")
    }

    fn export(
        &self,
        _wanted: &ExportWanted<'_>,
        _progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Transferred, Failure> {
        unreachable!("a verification exports nothing")
    }
}

/// Verifies a store with the databases `a` and `b`; `check` has the store, too.
fn verified(
    check: impl Fn(&Manager, &str) -> Result<Vec<String>, String> + Send + Sync,
) -> Result<(u8, Value), Failure> {
    let dir = tempfile::tempdir().unwrap();
    let store = Manager::open(dir.path(), bop_storage::Options::new()).unwrap();
    for name in ["a", "b"] {
        store.create_database(name, DbKind::Sqlite).unwrap();
    }
    let door = Answering(|database: &str| check(&store, database));
    let mut answer = Terminal::into(Vec::new());
    let call = Call::new(&store, Some(&door), true, &mut answer);
    let request = Request::Verify {
        deep: true,
        database: None,
    };
    let status = bop_control::run(call, &request)?;
    let answer = answer.into_output()?;
    Ok((status, serde_json::from_slice(&answer).unwrap()))
}

/// SQLite only knows that it did not get a page.
fn damage() -> Result<Vec<String>, String> {
    Ok(vec!["unable to get the page. error code=10".to_owned()])
}

#[test]
fn damage_of_a_database_is_found() {
    let found = verified(|_, database| match database {
        "a" => damage(),
        _ => Err("disk I/O error".to_owned()),
    });
    let (status, answer) = found.unwrap();
    assert_eq!((status, &answer["integrity_checked"]), (3, &json!(2)));
    assert_eq!(answer["findings"][0]["database"], "a");
    assert_eq!(answer["findings"][1]["message"], "disk I/O error");
}

#[test]
fn a_database_that_is_dropped_meanwhile_is_passed_by() {
    for told in [damage(), Err("no database named \"a\"".to_owned())] {
        let found = verified(|store, database| {
            if database == "b" {
                return Ok(Vec::new());
            }
            store.drop_database("a").unwrap();
            told.clone()
        });
        let (status, answer) = found.unwrap();
        assert_eq!((status, &answer["integrity_checked"]), (0, &json!(1)));
        assert_eq!(answer["healthy"], true);
    }
}

#[test]
fn a_database_that_is_renamed_meanwhile_is_looked_at_under_its_new_name() {
    let found = verified(|store, database| match database {
        "a" => {
            store.rename_database("a", "new").unwrap();
            Err("no database named \"a\"".to_owned())
        }
        "new" => damage(),
        _ => Ok(Vec::new()),
    });
    let (status, answer) = found.unwrap();
    assert_eq!((status, &answer["integrity_checked"]), (3, &json!(2)));
    assert_eq!(answer["findings"][0]["database"], "new");
}

#[test]
fn a_store_that_is_closed_meanwhile_is_no_damaged_one() {
    for told in [damage(), Err("the store is closed".to_owned())] {
        let found = verified(|store, _| {
            store.close(crate::LONG).unwrap();
            told.clone()
        });
        let refused = found.unwrap_err();
        assert_eq!(
            (refused.code, refused.exit_status()),
            (ErrorCode::Closed, 1)
        );
    }
}
