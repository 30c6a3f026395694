//! Page 1: the fields of SQLite's file header that say how a file was last written.
//!
//! Owns the two views of these fields. *Stored* (the engine's canonical form): the same content has
//! the same bytes, whoever wrote it, so that hashes can be compared between forks, exports and
//! replicas. *Shown*: what SQLite needs to find.
//!
//! | bytes | meaning | stored | shown |
//! |---|---|---|---|
//! | 18, 19 | file format for writing, for reading | 1, 1 | 1, 1 |
//! | 24..28 | change counter | 0 | a counter |
//! | 92..96 | the change counter for which the page count in 28..32 holds | 0 | the same counter |
//! | 96..100 | version of the SQLite that wrote it | 0 | ours |
//!
//! Invariant: the two counters shown are equal, since SQLite otherwise distrusts the page count at
//! byte 28 and asks for the file's size.
//!
//! Never: touches any other byte; assumes that the page is longer than SQLite's header.

/// Bytes of SQLite's file header, all of them in page 1.
pub use bop_storage::page_one::HEADER_BYTES;

/// Turns page 1 as SQLite wrote it into page 1 as it is stored.
pub use bop_storage::page_one::canonicalize as to_stored;

const COUNTER: std::ops::Range<usize> = 24..28;
const PAGE_COUNT: std::ops::Range<usize> = 28..32;
const COUNTER_OF_COUNT: std::ops::Range<usize> = 92..96;
const VERSION: std::ops::Range<usize> = 96..100;

/// Turns page 1 as it is stored into page 1 as SQLite reads it, under change counter `counter`.
pub fn to_shown(page: &mut [u8], counter: u32) {
    if page.len() < HEADER_BYTES {
        return;
    }
    page[COUNTER].copy_from_slice(&counter.to_be_bytes());
    page[COUNTER_OF_COUNT].copy_from_slice(&counter.to_be_bytes());
    page[VERSION].copy_from_slice(&SQLITE_VERSION.to_be_bytes());
}

/// The SQLite that this crate was built and tested with, as its header field has it.
pub const SQLITE_VERSION: u32 = 3_047_000;

/// `true` when a file's header says that SQLite keeps a WAL beside it.
pub fn is_wal_mode(header: &[u8]) -> bool {
    header
        .get(18..20)
        .is_some_and(|formats| formats.contains(&2))
}

/// Writes the page count, where a file last written by a SQLite before 3.7.0 has none that holds.
///
/// Such a file says so by two different counters, which the stored form has no room for.
pub fn settle_page_count(page: &mut [u8], page_count: u32) {
    if page.len() >= HEADER_BYTES && page[COUNTER] != page[COUNTER_OF_COUNT] {
        page[PAGE_COUNT].copy_from_slice(&page_count.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        (0..512u32).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn stored_form_forgets_who_wrote_the_page_and_nothing_else() {
        let (original, mut stored) = (sample(), sample());
        to_stored(&mut stored);
        let changed: Vec<usize> = (0..512).filter(|n| original[*n] != stored[*n]).collect();
        let expected: Vec<usize> = (18..20).chain(24..28).chain(92..100).collect();
        assert_eq!(changed, expected);
        assert_eq!(stored[18..20], [1, 1]);
        assert_eq!(stored[24..28], [0; 4]);
        assert_eq!(stored[92..100], [0; 8]);
    }

    #[test]
    fn stored_form_is_the_same_whatever_was_shown() {
        let mut stored = sample();
        to_stored(&mut stored);
        for counter in [0, 1, u32::MAX] {
            let mut page = stored.clone();
            to_shown(&mut page, counter);
            assert_eq!(page[24..28], page[92..96]);
            assert_eq!(page[24..28], counter.to_be_bytes());
            assert_eq!(page[96..100], 3_047_000u32.to_be_bytes());
            to_stored(&mut page);
            assert_eq!(page, stored);
        }
    }

    #[test]
    fn a_page_without_a_whole_header_is_left_alone() {
        let mut page = vec![7u8; HEADER_BYTES - 1];
        to_stored(&mut page);
        to_shown(&mut page, 9);
        settle_page_count(&mut page, 9);
        assert_eq!(page, vec![7u8; HEADER_BYTES - 1]);
    }

    #[test]
    fn a_page_count_is_settled_only_where_the_counters_disagree() {
        let mut page = sample();
        to_shown(&mut page, 5);
        let before = page.clone();
        settle_page_count(&mut page, 1234);
        assert_eq!(page, before);
        page[92] ^= 1;
        settle_page_count(&mut page, 1234);
        assert_eq!(page[28..32], 1234u32.to_be_bytes());
    }
}
