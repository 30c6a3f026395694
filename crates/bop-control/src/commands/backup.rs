//! `bop backup`: the store as it is now, into a directory.

use super::Call;
use crate::failure::Failure;
use bop_storage::{BackupOptions, BackupReport};
use serde_json::json;
use std::num::NonZeroUsize;

/// Runs the command. `dir` is absolute.
pub(super) fn run(
    call: &mut Call<'_>,
    dir: &str,
    keep: NonZeroUsize,
    copy: bool,
) -> Result<u8, Failure> {
    let options = BackupOptions::new().keep(keep).copy(copy);
    let Call {
        manager, caller, ..
    } = call;
    let made = manager.backup(dir, &options, &mut |progress| {
        caller.progress(progress.done_bytes, progress.total_bytes);
    })?;
    let BackupReport {
        number,
        lsn,
        chunks,
        copied_bytes,
        linked_chunks,
        copied_chunks,
        databases,
        snapshots,
        bytes,
        ..
    } = made;
    call.answer(
        format_args!(
            "backup {number} of {databases} databases and {snapshots} snapshots at lsn {lsn} is in {dir}\n\
             {bytes} bytes, of which {copied_bytes} were copied now; of {chunks} chunks {linked_chunks} were linked and {copied_chunks} copied"
        ),
        json!({
            "backup": number,
            "dir": dir,
            "lsn": lsn.get(),
            "state_us": made.state_us,
            "made_us": made.made_us,
            "bytes": bytes,
            "copied_bytes": copied_bytes,
            "chunks": chunks,
            "linked_chunks": linked_chunks,
            "copied_chunks": copied_chunks,
            "databases": databases,
            "snapshots": snapshots,
        }),
    )?;
    Ok(0)
}
