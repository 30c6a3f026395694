//! `bop retention` and `bop quota`: what the owner of a database sets for it. Without a value they show
//! what is set.

use super::Call;
use crate::failure::Failure;
use crate::request::RetentionChange;
use bop_storage::Retention;
use serde_json::json;
use std::time::Duration;

/// Shows or sets how much of the past of a database is kept.
pub(super) fn retention(
    call: &mut Call<'_>,
    name: &str,
    change: RetentionChange,
) -> Result<u8, Failure> {
    let retention = {
        let before = call.manager.info(name)?.policy.retention;
        let mut wanted = if change.default {
            Retention::DEFAULT
        } else {
            before
        };
        if let Some(window_us) = change.window_us {
            wanted.window_us = window_us;
        }
        if let Some(bytes) = change.bytes {
            wanted.bytes = bytes;
        }
        if wanted != before {
            call.manager.set_retention(name, wanted)?;
        }
        wanted
    };
    let window_us = Some(retention.window_us).filter(|us| *us != Retention::DEFAULT_WINDOW_US);
    let bytes = Some(retention.bytes).filter(|bytes| *bytes != u64::MAX);
    let window = window_us.map_or("the store's default".to_owned(), |us| {
        humantime::format_duration(Duration::from_micros(us)).to_string()
    });
    let most = bytes.map_or(String::new(), |bytes| format!(", at most {bytes} bytes"));
    call.answer(
        format_args!("{name} keeps its past for {window}{most}"),
        json!({ "name": name, "window_us": window_us, "bytes": bytes }),
    )?;
    Ok(0)
}

/// Shows or sets how large a database may grow.
pub(super) fn quota(
    call: &mut Call<'_>,
    name: &str,
    bytes: Option<u64>,
    none: bool,
) -> Result<u8, Failure> {
    let quota = match bytes {
        None if !none => {
            let before = call.manager.info(name)?.policy.quota_bytes;
            Some(before).filter(|bytes| *bytes > 0)
        }
        wanted => {
            call.manager.set_quota(name, wanted)?;
            wanted
        }
    };
    let text = match quota {
        Some(bytes) => format!("{name} may grow to {bytes} bytes"),
        None => format!("{name} has no quota"),
    };
    call.answer(text, json!({ "name": name, "quota_bytes": quota }))?;
    Ok(0)
}
