//! `bop retention` and `bop quota`: what the owner of a database sets for it. Without a value they show
//! what is set.

use super::Context;
use crate::args::RetentionArgs;
use crate::errors::Failure;
use crate::session::{WhenMissing, with_store};
use bop_storage::Retention;
use bytesize::ByteSize;
use serde_json::json;
use std::time::Duration;

/// Shows or sets how much of the past of a database is kept.
pub(super) fn retention(context: &Context, args: &RetentionArgs) -> Result<u8, Failure> {
    let name = &args.database;
    let retention = with_store(&context.store, WhenMissing::Fail, |manager| {
        let before = manager.info(name)?.policy.retention;
        let mut wanted = if args.default {
            Retention::DEFAULT
        } else {
            before
        };
        if let Some(window) = args.window {
            wanted.window_us = Retention::window(window.into()).window_us;
        }
        if let Some(bytes) = args.bytes {
            wanted.bytes = bytes.as_u64();
        }
        if wanted != before {
            manager.set_retention(name, wanted)?;
        }
        Ok(wanted)
    })?;
    let window_us = Some(retention.window_us).filter(|us| *us != Retention::DEFAULT_WINDOW_US);
    let bytes = Some(retention.bytes).filter(|bytes| *bytes != u64::MAX);
    let window = window_us.map_or("the store's default".to_owned(), |us| {
        humantime::format_duration(Duration::from_micros(us)).to_string()
    });
    let most = bytes.map_or(String::new(), |bytes| format!(", at most {bytes} bytes"));
    context.answer(
        format_args!("{name} keeps its past for {window}{most}"),
        json!({ "name": name, "window_us": window_us, "bytes": bytes }),
    )?;
    Ok(0)
}

/// Shows or sets how large a database may grow.
pub(super) fn quota(
    context: &Context,
    name: &str,
    size: Option<ByteSize>,
    none: bool,
) -> Result<u8, Failure> {
    let quota = with_store(&context.store, WhenMissing::Fail, |manager| {
        let before = manager.info(name)?.policy.quota_bytes;
        match size {
            Some(size) => manager.set_quota(name, Some(size.as_u64()))?,
            None if none => manager.set_quota(name, None)?,
            None => return Ok(Some(before).filter(|bytes| *bytes > 0)),
        }
        Ok(size.map(|size| size.as_u64()))
    })?;
    let text = match quota {
        Some(bytes) => format!("{name} may grow to {bytes} bytes"),
        None => format!("{name} has no quota"),
    };
    context.answer(text, json!({ "name": name, "quota_bytes": quota }))?;
    Ok(0)
}
