//! Commits that fail: what stands in a manifest's way.

use bop_storage::io::{IoFailure, IoOp};
use bop_storage::manifest::Gate;
use std::sync::Arc;

/// What the device says.
pub(crate) fn failure() -> IoFailure {
    IoFailure {
        op: IoOp::ManifestCommit,
        path: "manifest".into(),
        offset: None,
        errno: 5,
    }
}

/// Fails each commit.
pub(crate) fn power_cut() -> Gate {
    Arc::new(|| Err(failure()))
}
