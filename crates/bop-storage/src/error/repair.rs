//! The errors of a repair.

use super::{ErrorCode, OpenError};

/// A manifest was not rebuilt. What was there is there, under its own name or in `damaged/`.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// There is nothing to repair.
    #[error("the manifest is sound")]
    Sound,
    /// The manifest cannot be read for reasons that have nothing to do with its bytes.
    #[error("whether the manifest is damaged cannot be told: {0}")]
    Unknown(#[source] Box<OpenError>),
    /// The store cannot be read, or the new manifest not be written.
    #[error("the manifest was not rebuilt: {0}")]
    Store(#[from] OpenError),
}

impl RepairError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Sound => ErrorCode::TargetExists,
            Self::Unknown(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }
}
