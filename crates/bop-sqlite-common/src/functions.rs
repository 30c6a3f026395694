//! The functions of a SQLite that the VFS `bop` calls: those of whichever one it is registered with.
//!
//! A loadable extension gets them from the SQLite that loads it; a program that has SQLite linked knows
//! their addresses. So the VFS links no SQLite, and one program may have several.
//!
//! Never: calls them.

/// Addresses of functions of one SQLite, of version 3.31 or later.
#[derive(Copy, Clone, Debug)]
pub struct Functions(Addresses);

/// The addresses, each of the function of SQLite's C interface `sqlite3_...` that has its name.
#[derive(Copy, Clone, Debug)]
#[expect(missing_docs, reason = "SQLite documents its functions")]
pub struct Addresses {
    pub libversion_number: *const (),
    pub vfs_find: *const (),
    pub vfs_register: *const (),
    pub malloc64: *const (),
    pub uri_parameter: *const (),
    pub uri_boolean: *const (),
    pub log: *const (),
}

impl Functions {
    /// Takes the addresses.
    ///
    /// # Safety
    /// Each is that of the function of its name, with the signature of SQLite's C interface, all are of
    /// the same SQLite, and that is never unloaded.
    #[allow(unsafe_code, reason = "whoever calls it vouches for the addresses")]
    pub const unsafe fn new(addresses: Addresses) -> Self {
        Self(addresses)
    }

    /// The addresses that were taken.
    pub const fn addresses(&self) -> &Addresses {
        &self.0
    }
}
