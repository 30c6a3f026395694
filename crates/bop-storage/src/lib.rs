//! `bop-storage`: one process opens one *store* and gets thousands of databases on one durable log.
//!
//! Reading this file top to bottom is the life of a write. A module imports only what stands
//! before it; where a lower stage must tell a higher one, it owns a small trait.
#![deny(unsafe_code)]

pub mod checksum;
pub mod error;
pub mod ids;
pub mod io;
pub mod limits;
pub mod log;
pub mod runtime;
pub mod superblock;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
