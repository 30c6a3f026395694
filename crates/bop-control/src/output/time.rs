//! Moments for people.

use std::time::{Duration, UNIX_EPOCH};

/// The last second of the year 9999: what is later cannot be written.
const LAST_S: u64 = 253_402_300_799;

/// Microseconds since 1970 as a date of RFC 3339, in UTC.
pub fn utc(us: u64) -> String {
    let moment = UNIX_EPOCH + Duration::from_secs((us / 1_000_000).min(LAST_S));
    humantime::format_rfc3339_seconds(moment).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_of_the_calendar() {
        assert_eq!(utc(951_782_399_000_000), "2000-02-28T23:59:59Z");
        assert_eq!(utc(1_709_251_199_999_999), "2024-02-29T23:59:59Z");
        assert_eq!(utc(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
