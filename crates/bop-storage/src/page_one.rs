//! Page 1 of a SQLite database as it is stored: without the bytes that depend on who reads it.
//!
//! ```text
//! 18, 19    file format write and read version: 1, whatever the journal mode
//! 24..28    file change counter: 0
//! 92..96    version-valid-for: 0, so that it equals the change counter and the page count holds
//! 96..100   number of the SQLite library that wrote it: 0
//! ```
//! (<https://sqlite.org/fileformat2.html#the_database_header>). So equal databases have equal pages,
//! whatever door they came through. Each door fills these bytes in when it hands the page out.

/// Bytes of the header of a SQLite file.
pub const HEADER_BYTES: usize = 100;

/// Makes page 1 canonical, in place. A page shorter than a header is left as it is.
///
/// # Example
/// ```
/// let mut page = vec![0xff; 512];
/// bop_storage::page_one::canonicalize(&mut page);
/// assert_eq!(page[17..20], [0xff, 1, 1]);
/// assert_eq!(page[24..28], [0; 4]);
/// ```
pub fn canonicalize(page: &mut [u8]) {
    if let Some(header) = page.first_chunk_mut::<HEADER_BYTES>() {
        header[18..20].fill(1);
        header[24..28].fill(0);
        header[92..100].fill(0);
    }
}

/// Refuses a page 1 that is not canonical.
pub(crate) fn check_canonical(page: &[u8]) -> Result<(), &'static str> {
    let header = page
        .first_chunk::<HEADER_BYTES>()
        .ok_or("page 1 is shorter than its header")?;
    let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    if header[18..20] == [1, 1] && zero(&header[24..28]) && zero(&header[92..100]) {
        Ok(())
    } else {
        Err("page 1 is not in canonical form")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_pages_are_accepted_and_others_are_not() {
        let mut page = [0x5a; 512];
        assert!(check_canonical(&page).is_err());
        canonicalize(&mut page);
        check_canonical(&page).unwrap();
        for byte in [18, 19, 24, 27, 92, 95, 96, 99] {
            let mut changed = page;
            changed[byte] ^= 1;
            assert!(check_canonical(&changed).is_err(), "byte {byte}");
        }
        assert!(check_canonical(&page[..99]).is_err());
    }
}
