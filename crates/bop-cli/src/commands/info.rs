//! `bop info`: what is known of one database. A damaged one is shown too, with exit status 3.

use super::Context;
use crate::errors::Failure;
use crate::session::{WhenMissing, with_store};
use bop_storage::DatabaseInfo;
use bop_storage::error::ErrorCode;
use serde_json::{Value, json};
use std::fmt::Write;

/// Runs the command.
pub(super) fn run(context: &Context, name: &str) -> Result<u8, Failure> {
    let info = with_store(&context.store, WhenMissing::Fail, |manager| {
        Ok(manager.info(name)?)
    })?;
    context.answer(to_text(&info), to_json(&info))?;
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
        ("scrubbed", scrubbed(info)),
        (
            "state",
            info.damage
                .as_ref()
                .map_or("ok".to_owned(), ToString::to_string),
        ),
    ];
    let mut text = String::new();
    let (of_pages, of_records) = (
        ["page size", "pages", "checksum", "scrubbed"],
        records_of(info),
    );
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

/// Microseconds since 1970 as a date, in UTC.
pub(super) fn utc(us: u64) -> String {
    let seconds = us / 1_000_000;
    let (mut year, mut day) = (1970_u64, seconds / 86_400);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let days_of = |year: u64| if leap(year) { 366 } else { 365 };
    while days_of(year) <= day {
        day -= days_of(year);
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!(
        "{year:04}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC",
        day + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399_000_000), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400_000_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_709_251_199_999_999), "2024-02-29 23:59:59 UTC");
        assert_eq!(utc(1_735_689_600_000_000), "2025-01-01 00:00:00 UTC");
    }
}
