//! The file behind a connection to a plain database, read through SQLite's own file object.

use libsql_ffi as ffi;
use std::marker::PhantomData;
use std::os::raw::c_int;

/// The main file of a connection.
pub(crate) struct PlainFile<'connection> {
    file: *mut ffi::sqlite3_file,
    connection: PhantomData<&'connection rusqlite::Connection>,
}

impl<'connection> PlainFile<'connection> {
    /// The main file of `connection`.
    ///
    /// # Errors
    /// SQLite's result code.
    pub(crate) fn of(connection: &'connection rusqlite::Connection) -> Result<Self, c_int> {
        let mut file = std::ptr::null_mut::<ffi::sqlite3_file>();
        // SAFETY: the connection is open; this operation stores a pointer to its main file.
        let code = unsafe {
            ffi::sqlite3_file_control(
                connection.handle(),
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_FILE_POINTER,
                (&raw mut file).cast(),
            )
        };
        match code {
            ffi::SQLITE_OK if !file.is_null() => Ok(Self {
                file,
                connection: PhantomData,
            }),
            ffi::SQLITE_OK => Err(ffi::SQLITE_MISUSE),
            code => Err(code),
        }
    }

    /// Reads bytes of the file; zeros behind its end.
    ///
    /// # Errors
    /// SQLite's result code.
    pub(crate) fn read(&self, out: &mut [u8], offset: u64) -> Result<(), c_int> {
        let (Ok(bytes), Ok(offset)) = (c_int::try_from(out.len()), i64::try_from(offset)) else {
            return Err(ffi::SQLITE_MISUSE);
        };
        // SAFETY: the file lives as long as its connection, which is borrowed.
        let Some(read) = (unsafe { (*self.file).pMethods.as_ref() }).and_then(|m| m.xRead) else {
            return Err(ffi::SQLITE_MISUSE);
        };
        // SAFETY: `out` has room for `bytes` bytes.
        match unsafe { read(self.file, out.as_mut_ptr().cast(), bytes, offset) } {
            ffi::SQLITE_OK | ffi::SQLITE_IOERR_SHORT_READ => Ok(()),
            code => Err(code),
        }
    }
}
