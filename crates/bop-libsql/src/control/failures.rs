//! Errors of opening, of imports and of exports, as people see them.
//!
//! Never: looks at the text of an error to decide what kind it is.

use crate::error::Error;
use crate::transfer::{ExportError, ImportError};
use bop_control::Failure;
use std::io;

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

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Catalogue(error) => error.into(),
            ExportError::SideFile { .. } => Self::new(error.code(), &error)
                .with_hint("choose another file, or let the program that uses this one close it"),
            ExportError::NotAFile { .. } => Self::new(error.code(), &error)
                .with_hint("choose another file; --force replaces regular files only"),
            ExportError::File { ref source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Self::new(error.code(), &error)
                    .with_hint("the directory of the file must exist: make it, or choose another")
            }
            ExportError::InsideStore { .. } => Self::new(error.code(), &error)
                .with_hint("choose a file outside the store's directory"),
            other => Self::new(other.code(), &other),
        }
    }
}
