//! `bop info`: what is known of one database. A damaged one is shown too, with exit status 3.

use super::Call;
use crate::failure::Failure;
use crate::output::utc;
use bop_storage::DatabaseInfo;
use bop_storage::error::ErrorCode;
use serde_json::{Value, json};
use std::fmt::Write;

/// Runs the command.
pub(super) fn run(call: &mut Call<'_>, name: &str) -> Result<u8, Failure> {
    let info = call.manager.info(name)?;
    call.answer(to_text(&info), to_json(&info))?;
    Ok(info.damage.map_or(0, |_| ErrorCode::Corrupt.exit_status()))
}

/// The database as an object.
pub(super) fn to_json(info: &DatabaseInfo) -> Value {
    json!({
        "name": info.name,
        "id": info.id.get(),
        "kind": info.kind.name(),
        "page_size": info.page_size.map(|size| size.get()),
        "page_count": info.page_count,
        "bytes": bytes(info),
        "head": info.head.get(),
        "rolling_checksum": info.rolling_checksum.to_string(),
        "created_us": info.created_us,
        "fork_of": info.fork_of.as_ref().map(|origin| json!({
            "id": origin.id.get(),
            "name": origin.name,
            "lsn": origin.lsn.get(),
            "time_us": origin.time_us,
        })),
        "snapshots": info.snapshots,
        "quota_bytes": Some(info.policy.quota_bytes).filter(|bytes| *bytes > 0),
        "log": info.records.map(|records| json!({
            "first_index": records.bounds.first,
            "next_index": records.bounds.next,
            "last_term": records.bounds.last_term,
            "vote_bytes": records.vote_bytes,
        })),
        "last_scrub": info.last_scrub.map(|scrub| json!({
            "job": scrub.job.get(),
            "finished_us": scrub.finished_us,
            "pages": scrub.pages,
            "bytes": scrub.bytes,
        })),
        "damage": info.damage.as_ref().map(ToString::to_string),
    })
}

fn bytes(info: &DatabaseInfo) -> u64 {
    if let Some(records) = info.records {
        return records.payload_bytes;
    }
    info.page_size
        .map_or(0, |size| u64::from(size.get()) * u64::from(info.page_count))
}

fn to_text(info: &DatabaseInfo) -> String {
    let page_size = info.page_size.map_or("not chosen yet".to_owned(), |size| {
        format!("{} bytes", size.get())
    });
    let quota = match info.policy.quota_bytes {
        0 => "none".to_owned(),
        bytes => format!("{bytes} bytes"),
    };
    let lines = [
        ("name", info.name.clone()),
        ("id", info.id.to_string()),
        ("kind", info.kind.name().to_owned()),
        ("page size", page_size),
        ("pages", info.page_count.to_string()),
        ("bytes", bytes(info).to_string()),
        ("head", format!("lsn {}", info.head)),
        ("checksum", info.rolling_checksum.to_string()),
        ("created", utc(info.created_us)),
        ("fork of", fork_of(info)),
        ("snapshots", info.snapshots.to_string()),
        ("quota", quota),
        ("scrubbed", scrubbed(info)),
        (
            "state",
            info.damage
                .as_ref()
                .map_or("ok".to_owned(), ToString::to_string),
        ),
    ];
    let mut text = String::new();
    let of_pages = [
        "page size",
        "pages",
        "checksum",
        "fork of",
        "snapshots",
        "quota",
        "scrubbed",
    ];
    let of_records = records_of(info);
    let lines = lines.into_iter().filter(|(name, _)| {
        // A record log has no pages.
        info.records.is_none() || !of_pages.contains(name)
    });
    for (name, value) in lines.chain(of_records) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<10}{value}");
    }
    text.trim_end().to_owned()
}

/// What it started from.
fn fork_of(info: &DatabaseInfo) -> String {
    info.fork_of
        .as_ref()
        .map_or("nothing".to_owned(), |origin| {
            let (name, lsn) = (&origin.name, origin.lsn);
            format!(
                "{name}, id {}, as it was at lsn {lsn}, {}",
                origin.id,
                utc(origin.time_us)
            )
        })
}

/// When its chunks were read last and nothing was wrong.
fn scrubbed(info: &DatabaseInfo) -> String {
    info.last_scrub.map_or("never".to_owned(), |scrub| {
        format!("{}, {} pages", utc(scrub.finished_us), scrub.pages)
    })
}

/// What a record log has, as a line.
fn records_of(info: &DatabaseInfo) -> Option<(&'static str, String)> {
    let records = info.records?;
    let (first, next) = (records.bounds.first, records.bounds.next);
    let vote = records.vote_bytes.map_or("no vote".to_owned(), |bytes| {
        format!("a vote of {bytes} bytes")
    });
    Some((
        "entries",
        format!("{} from index {first} on, {vote}", next - first),
    ))
}
