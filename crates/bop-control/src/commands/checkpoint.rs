//! `bop checkpoint`: what the log holds goes into chunk files, and the log is released.

use super::Call;
use crate::failure::Failure;
use serde_json::json;

/// Runs the command.
pub(super) fn run(call: &mut Call<'_>) -> Result<u8, Failure> {
    let (report, status) = {
        let report = call.manager.checkpoint()?;
        (report, call.manager.status())
    };
    let left_out = match report.databases_skipped {
        0 => String::new(),
        count => format!(", {count} databases left out for damage: see `bop verify`"),
    };
    call.answer(
        format_args!(
            "checkpointed {} databases: {} pages in {} chunks of {} bytes, \
             {} log segments released, {} bytes of log left{left_out}",
            report.databases,
            report.pages,
            report.chunks,
            report.chunk_bytes,
            report.segments_released,
            status.log_bytes
        ),
        json!({
            "databases": report.databases,
            "databases_skipped": report.databases_skipped,
            "pages": report.pages,
            "chunks": report.chunks,
            "chunk_bytes": report.chunk_bytes,
            "checkpointed": report.checkpointed.get(),
            "segments_released": report.segments_released,
            "log_bytes": status.log_bytes,
        }),
    )?;
    Ok(0)
}
