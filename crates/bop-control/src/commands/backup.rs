//! `bop backup`: the store as it is now, into a directory. It ends when nobody waits for it any more: the next
//! one goes on with what was copied.

use super::Call;
use crate::failure::Failure;
use bop_storage::{BackupError, BackupOptions, BackupReport};
use serde_json::json;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs the command. `dir` is absolute.
pub(super) fn run(
    call: &mut Call<'_>,
    dir: &str,
    keep: NonZeroUsize,
    copy: bool,
) -> Result<u8, Failure> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let options = BackupOptions::new().keep(keep).copy(copy);
    let options = options.cancelled_by(Arc::clone(&cancelled));
    let Call {
        manager, caller, ..
    } = call;
    let made = manager.backup(dir, &options, &mut |progress| {
        caller.progress(progress.done_bytes, progress.total_bytes);
        if !caller.is_waiting() {
            cancelled.store(true, Ordering::Release);
        }
    });
    let made = match made {
        Err(BackupError::Cancelled) => return Err(Failure::ended()),
        made => made?,
    };
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
