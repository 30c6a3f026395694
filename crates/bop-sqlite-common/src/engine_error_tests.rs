//! Every error of the engine and its result code, one by one.

use super::*;
use bop_storage::error::{Damage, LogFailure, Place, Reject};
use bop_storage::ids::{DbId, Lsn, PageNo};
use bop_storage::io::{IoFailure, IoOp};
use std::time::Duration;

fn damage() -> Damage {
    let place = Place::Page {
        database: DbId::new(3),
        page: PageNo::FIRST,
    };
    Damage::new(place, Reject::Checksum)
}

fn failure() -> IoFailure {
    IoFailure {
        op: IoOp::WriteDurable,
        path: "log/1.seg".into(),
        offset: Some(4096),
        errno: 5,
    }
}

fn log_failure() -> Arc<LogFailure> {
    Arc::new(LogFailure::Io(failure()))
}

fn begin_errors() -> Vec<(EngineError, c_int)> {
    let (snapshot, head) = (Lsn::new(8), Lsn::new(16));
    [
        (BeginError::Busy, codes::SQLITE_BUSY),
        (
            BeginError::BusySnapshot { snapshot, head },
            codes::SQLITE_BUSY_SNAPSHOT,
        ),
        (BeginError::Damaged(damage()), codes::SQLITE_CORRUPT),
        (BeginError::Dropped, codes::SQLITE_IOERR_DELETE_NOENT),
        (
            BeginError::Poisoned(log_failure()),
            codes::SQLITE_IOERR_WRITE,
        ),
        (BeginError::Closed, codes::SQLITE_IOERR_CLOSE),
    ]
    .map(|(error, code)| (error.into(), code))
    .into()
}

fn read_errors() -> Vec<(ReadError, c_int)> {
    vec![
        (ReadError::Damaged(damage()), codes::SQLITE_IOERR_DATA),
        (ReadError::Io(failure()), codes::SQLITE_IOERR_READ),
        (ReadError::Dropped, codes::SQLITE_IOERR_DELETE_NOENT),
        (ReadError::Closed, codes::SQLITE_IOERR_CLOSE),
    ]
}

fn rejections() -> Vec<(Rejection, c_int)> {
    let waited = Duration::from_secs(5);
    let mut all = vec![
        (Rejection::Timeout { waited }, codes::SQLITE_FULL),
        (Rejection::OutOfSpace { needed: 1 }, codes::SQLITE_FULL),
        (Rejection::LogFull { bytes: 1 }, codes::SQLITE_FULL),
        (
            Rejection::TooLarge { bytes: 2, limit: 1 },
            codes::SQLITE_FULL,
        ),
        (
            Rejection::Poisoned(log_failure()),
            codes::SQLITE_IOERR_WRITE,
        ),
        (Rejection::Dropped, codes::SQLITE_IOERR_DELETE_NOENT),
        (Rejection::Invalid("x"), codes::SQLITE_IOERR_WRITE),
        (Rejection::Spill(failure()), codes::SQLITE_IOERR_WRITE),
        (
            Rejection::Spill(IoFailure {
                errno: 28,
                ..failure()
            }),
            codes::SQLITE_FULL,
        ),
        (Rejection::Closed, codes::SQLITE_IOERR_CLOSE),
    ];
    all.extend(
        read_errors()
            .into_iter()
            .map(|(error, code)| (error.into(), code)),
    );
    all
}

fn commit_errors() -> Vec<(CommitError, c_int)> {
    let cause = log_failure();
    let lsn = Lsn::new(8);
    let unknown = (
        CommitError::Unknown { lsn, cause },
        codes::SQLITE_IOERR_WRITE,
    );
    let rejected = rejections()
        .into_iter()
        .map(|(error, code)| (error.into(), code));
    rejected.chain([unknown]).collect()
}

#[test]
fn errors_of_beginning_have_their_codes() {
    for (error, code) in begin_errors() {
        assert_eq!(error.sqlite_code(), code, "{error}");
    }
}

#[test]
fn errors_of_reading_are_of_the_io_family() {
    for (error, code) in read_errors() {
        let error = EngineError::from(error);
        assert_eq!(error.sqlite_code(), code, "{error}");
        assert_eq!(code & 0xff, codes::SQLITE_IOERR, "{error}");
    }
}

#[test]
fn errors_of_writing_and_committing_drop_sqlites_cache_and_end_the_transaction() {
    let written = rejections()
        .into_iter()
        .map(|(e, code)| (EngineError::from(e), code));
    let committed = commit_errors()
        .into_iter()
        .map(|(e, code)| (EngineError::from(e), code));
    for (error, code) in written.chain(committed) {
        assert_eq!(error.sqlite_code(), code, "{error}");
        let family = code & 0xff;
        assert!(
            family == codes::SQLITE_IOERR || family == codes::SQLITE_FULL,
            "{error}: {code}"
        );
    }
}

fn journal(errno: i32) -> EngineError {
    EngineError::Journal(Arc::new(std::io::Error::from_raw_os_error(errno)))
}

#[test]
fn the_other_errors_have_their_codes() {
    let not_found = CatalogueError::NotFound {
        name: "x".into(),
        nearest: None,
    };
    let no_state = EngineError::At {
        name: "a@x".to_owned(),
        source: "x".parse::<bop_storage::At>().unwrap_err(),
    };
    let size = EngineError::PageSize {
        found: 512,
        expected: 4096,
    };
    let panic = EngineError::Panic {
        callback: "xFrames",
        message: "x".into(),
    };
    let cases = [
        (EngineError::from(not_found), codes::SQLITE_CANTOPEN),
        (CatalogueError::Closed.into(), codes::SQLITE_CANTOPEN),
        (
            PastError::from(BeginError::Dropped).into(),
            codes::SQLITE_CANTOPEN,
        ),
        (no_state, codes::SQLITE_CANTOPEN),
        (EngineError::State, codes::SQLITE_READONLY),
        (
            OpenError::NotFound { path: "x".into() }.into(),
            codes::SQLITE_CANTOPEN,
        ),
        (EngineError::Refused("x".into()), codes::SQLITE_PERM),
        (
            EngineError::Deadlock { name: "x".into() },
            codes::SQLITE_LOCKED,
        ),
        (
            EngineError::Forked { operation: "read" },
            codes::SQLITE_IOERR,
        ),
        (journal(28), codes::SQLITE_FULL),
        (journal(5), codes::SQLITE_IOERR_WRITE),
        (CheckpointError::Closed.into(), codes::SQLITE_IOERR_CLOSE),
        (CheckpointError::Limit("x").into(), codes::SQLITE_FULL),
        (
            CheckpointError::Io(failure()).into(),
            codes::SQLITE_IOERR_WRITE,
        ),
        (
            CheckpointError::Read(ReadError::Damaged(damage())).into(),
            codes::SQLITE_IOERR_DATA,
        ),
        (
            EngineError::NoTransaction { operation: "read" },
            codes::SQLITE_IOERR_READ,
        ),
        (
            EngineError::NoTransaction { operation: "write" },
            codes::SQLITE_IOERR_WRITE,
        ),
        (size, codes::SQLITE_IOERR_WRITE),
        (panic, codes::SQLITE_IOERR_WRITE),
    ];
    for (error, code) in cases {
        assert_eq!(error.sqlite_code(), code, "{error}");
    }
}

#[test]
fn an_error_names_the_place_and_stays_until_the_next_one() {
    let slot = ErrorSlot::default();
    assert!(slot.latest().is_none());
    assert_eq!(
        slot.record(ReadError::Damaged(damage()).into()),
        codes::SQLITE_IOERR_DATA
    );
    let error = slot.latest().unwrap();
    assert_eq!(
        error.to_string(),
        "read: page 1 of database id 3 is damaged: checksum mismatch"
    );
    slot.record(BeginError::Busy.into());
    assert_eq!(slot.latest().unwrap().code(), ErrorCode::Busy);
}

#[test]
fn a_thread_finds_its_own_error_beside_those_of_others_in_the_same_slot() {
    let slot = ErrorSlot::default();
    slot.record(BeginError::Closed.into());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(ErrorSlot::take_of_this_thread().is_none());
            slot.record(BeginError::Busy.into());
        });
    });
    let own = ErrorSlot::take_of_this_thread().map(|error| error.code());
    assert_eq!(own, Some(ErrorCode::Closed));
    assert!(ErrorSlot::take_of_this_thread().is_none());
}
