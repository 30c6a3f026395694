//! The functions of a SQLite that run a session of SQL.
//!
//! Invariant: what is here was there: a SQLite that was built without one of them gives none of the others.
//!
//! Never: is linked with a SQLite.
#![allow(unsafe_code, reason = "functions are known by their addresses alone")]

use std::os::raw::{c_char, c_int, c_uchar, c_void};

pub(super) type Authorizer = unsafe extern "C" fn(
    *mut c_void,
    c_int,
    *const c_char,
    *const c_char,
    *const c_char,
    *const c_char,
) -> c_int;
pub(super) type Progress = unsafe extern "C" fn(*mut c_void) -> c_int;
type DbConfig = unsafe extern "C" fn(*mut c_void, c_int, ...) -> c_int;
type ErrorOffset = unsafe extern "C" fn(*mut c_void) -> c_int;

/// Makes both structs of one list.
macro_rules! functions {
    ($($name:ident: ($($argument:ty),*) -> $answer:ty,)*) => {
        /// The addresses, each of the function of SQLite's C interface `sqlite3_...` that has its name; null where
        /// it was left out.
        #[derive(Copy, Clone, Debug)]
        #[expect(missing_docs, reason = "SQLite documents its functions")]
        pub struct SqlAddresses {
            $(pub $name: *const (),)*
            pub db_config: *const (),
            /// Of version 3.38 or later.
            pub error_offset: *const (),
        }

        /// The same functions, with their types.
        #[derive(Copy, Clone, Debug)]
        pub struct SqlFunctions {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) -> $answer,)*
            pub(super) db_config: DbConfig,
            /// Which byte of a statement an error means.
            pub(super) error_offset: Option<ErrorOffset>,
        }

        impl SqlFunctions {
            /// Takes the addresses.
            ///
            /// # Errors
            /// The name of a function that was left out, of those that must be there.
            ///
            /// # Safety
            /// Each is null, or that of the function of its name, with the signature of SQLite's C interface; all are
            /// of the same SQLite, which is of version 3.31 or later and never unloaded.
            pub unsafe fn new(addresses: SqlAddresses) -> Result<Self, &'static str> {
                $(if addresses.$name.is_null() {
                    return Err(concat!("sqlite3_", stringify!($name)));
                })*
                if addresses.db_config.is_null() {
                    return Err("sqlite3_db_config");
                }
                // SAFETY: by the caller; none of them is null, but for the last one, which is optional.
                Ok(unsafe {
                    Self {
                        $($name: std::mem::transmute::<
                            *const (),
                            unsafe extern "C" fn($($argument),*) -> $answer,
                        >(addresses.$name),)*
                        db_config: std::mem::transmute::<*const (), DbConfig>(addresses.db_config),
                        error_offset: std::mem::transmute::<*const (), Option<ErrorOffset>>(
                            addresses.error_offset,
                        ),
                    }
                })
            }
        }
    };
}

functions! {
    prepare_v2: (*mut c_void, *const c_char, c_int, *mut *mut c_void, *mut *const c_char) -> c_int,
    step: (*mut c_void) -> c_int,
    finalize: (*mut c_void) -> c_int,
    stmt_isexplain: (*mut c_void) -> c_int,
    column_count: (*mut c_void) -> c_int,
    column_name: (*mut c_void, c_int) -> *const c_char,
    column_type: (*mut c_void, c_int) -> c_int,
    column_double: (*mut c_void, c_int) -> f64,
    column_text: (*mut c_void, c_int) -> *const c_uchar,
    column_blob: (*mut c_void, c_int) -> *const c_void,
    column_bytes: (*mut c_void, c_int) -> c_int,
    errmsg: (*mut c_void) -> *const c_char,
    extended_errcode: (*mut c_void) -> c_int,
    get_autocommit: (*mut c_void) -> c_int,
    limit: (*mut c_void, c_int, c_int) -> c_int,
    set_authorizer: (*mut c_void, Option<Authorizer>, *mut c_void) -> c_int,
    progress_handler: (*mut c_void, c_int, Option<Progress>, *mut c_void) -> (),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlite_without_an_authorizer_or_a_progress_handler_gives_nothing() {
        let there = abs as *const ();
        let whole = SqlAddresses {
            prepare_v2: there,
            step: there,
            finalize: there,
            stmt_isexplain: there,
            column_count: there,
            column_name: there,
            column_type: there,
            column_double: there,
            column_text: there,
            column_blob: there,
            column_bytes: there,
            errmsg: there,
            extended_errcode: there,
            get_autocommit: there,
            limit: there,
            set_authorizer: there,
            progress_handler: there,
            db_config: there,
            error_offset: std::ptr::null(),
        };
        // SAFETY: nothing of it is called.
        let taken = |addresses| unsafe { SqlFunctions::new(addresses) }.map(drop);
        assert_eq!(taken(whole), Ok(()));
        let without_authorizer = SqlAddresses {
            set_authorizer: std::ptr::null(),
            ..whole
        };
        assert_eq!(taken(without_authorizer), Err("sqlite3_set_authorizer"));
        let without_handler = SqlAddresses {
            progress_handler: std::ptr::null(),
            ..whole
        };
        assert_eq!(taken(without_handler), Err("sqlite3_progress_handler"));
    }

    fn abs() {}
}
