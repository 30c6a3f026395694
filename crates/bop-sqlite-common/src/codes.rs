//! Result codes of SQLite, as far as the doors answer them. Their numbers are part of its interface and
//! never change (<https://sqlite.org/rescode.html>).
#![allow(missing_docs, reason = "SQLite documents them")]

use std::os::raw::c_int;

pub const SQLITE_OK: c_int = 0;
pub const SQLITE_OK_LOAD_PERMANENTLY: c_int = 1 << 8;
pub const SQLITE_ERROR: c_int = 1;
pub const SQLITE_PERM: c_int = 3;
pub const SQLITE_BUSY: c_int = 5;
pub const SQLITE_BUSY_SNAPSHOT: c_int = 5 | (2 << 8);
pub const SQLITE_LOCKED: c_int = 6;
pub const SQLITE_NOMEM: c_int = 7;
pub const SQLITE_READONLY: c_int = 8;
pub const SQLITE_IOERR: c_int = 10;
pub const SQLITE_IOERR_READ: c_int = 10 | (1 << 8);
pub const SQLITE_IOERR_SHORT_READ: c_int = 10 | (2 << 8);
pub const SQLITE_IOERR_WRITE: c_int = 10 | (3 << 8);
pub const SQLITE_IOERR_FSYNC: c_int = 10 | (4 << 8);
pub const SQLITE_IOERR_TRUNCATE: c_int = 10 | (6 << 8);
pub const SQLITE_IOERR_FSTAT: c_int = 10 | (7 << 8);
pub const SQLITE_IOERR_UNLOCK: c_int = 10 | (8 << 8);
pub const SQLITE_IOERR_DELETE: c_int = 10 | (10 << 8);
pub const SQLITE_IOERR_ACCESS: c_int = 10 | (13 << 8);
pub const SQLITE_IOERR_LOCK: c_int = 10 | (15 << 8);
pub const SQLITE_IOERR_CLOSE: c_int = 10 | (16 << 8);
pub const SQLITE_IOERR_DELETE_NOENT: c_int = 10 | (23 << 8);
pub const SQLITE_IOERR_DATA: c_int = 10 | (32 << 8);
pub const SQLITE_CORRUPT: c_int = 11;
pub const SQLITE_NOTFOUND: c_int = 12;
pub const SQLITE_FULL: c_int = 13;
pub const SQLITE_CANTOPEN: c_int = 14;
pub const SQLITE_TOOBIG: c_int = 18;
pub const SQLITE_CONSTRAINT: c_int = 19;
pub const SQLITE_MISUSE: c_int = 21;
pub const SQLITE_AUTH: c_int = 23;
pub const SQLITE_ROW: c_int = 100;
pub const SQLITE_DONE: c_int = 101;

/// Types of a value.
pub const SQLITE_INTEGER: c_int = 1;
pub const SQLITE_FLOAT: c_int = 2;
pub const SQLITE_TEXT: c_int = 3;
pub const SQLITE_BLOB: c_int = 4;
