//! Errors of opening and of imports, as people see them.
//!
//! Never: looks at the text of an error to decide what kind it is.

use crate::error::Error;
use crate::transfer::ImportError;
use bop_control::Failure;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Open(error) => error.into(),
            Error::Catalogue(error) => error.into(),
            other => Self::new(other.code(), &other),
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Catalogue(error) => error.into(),
            other => Self::new(other.code(), &other),
        }
    }
}
