//! The store that users open: [`Manager`], [`Db`] and their transactions.
//!
//! ```text
//! Manager, Db, ReadTxn, WriteTxn   handles, cheap to clone or to hold; all share ...
//!   Engine                         ... log, catalogue, manifest, views; its drop is a close
//!     open -> recovery -> Engine      commit: overlay -> record -> log -> published view
//!     housekeeper -> checkpoint       read:   pin -> view -> cache -> log or chunk
//! ```
//!
//! Never: formats bytes, decides what damage means.

mod checkpoint;
mod checkpoint_rows;
mod chunks;
mod close;
mod closed;
mod commit;
mod copy;
mod database;
mod engine;
mod housekeeper;
mod leftovers;
mod lifecycle;
mod manager;
mod names;
mod open;
mod options;
mod overlay;
mod read;
mod reader;
mod recovery;
mod registry;
mod replay;
mod report;
mod savepoints;
mod signals;
mod slot;
mod spill;
mod start;
mod state;
mod strangers;
mod unfinished;
mod verify_log;
mod write;

pub use database::Db;
pub use housekeeper::Housekeeping;
pub use manager::Manager;
pub use options::Options;
pub use read::ReadTxn;
pub use report::{DatabaseInfo, Health, StoreStatus, VerifyReport};
pub use savepoints::Savepoint;
pub use unfinished::Unfinished;
pub use write::WriteTxn;
