//! Pages between SQLite's form and the engine's: what a pager hands over becomes pages of a
//! transaction, and back.
//!
//! Invariant: every page of a database exists, and page 1 is stored in its canonical form only.
//!
//! Never: knows which transaction of a pager is on, or a C type.

use crate::engine_error::EngineError;
use crate::page_one;
use crate::shown::Shown;
use bop_storage::ids::{Lsn, PageNo, PageSize};
use bop_storage::{PageBytes, ReadTxn, WriteTxn};

/// Page 1's first bytes as SQLite's open probes them, before any transaction.
pub(crate) fn read_header(shown: &Shown, out: &mut [u8]) -> Result<bool, EngineError> {
    let read = shown.begin_read()?;
    let found = read.page_count() > 0;
    out.fill(0);
    if found {
        let page = read.read_page(PageNo::FIRST)?;
        let bytes = page.len().min(out.len());
        out[..bytes].copy_from_slice(&page[..bytes]);
        page_one::to_shown(out, change_counter(read.lsn()));
    }
    Ok(found)
}

/// Bytes of a database file with so many pages.
pub(crate) fn file_bytes(page_count: u32, page_size: Option<PageSize>) -> u64 {
    u64::from(page_count) * page_size.map_or(0, |size| u64::from(size.get()))
}

/// The page that begins at a place of a file of such pages; `None` where none does.
pub(crate) fn page_at(offset: u64, page_bytes: u64) -> Option<PageNo> {
    let before = offset.checked_div(page_bytes)?;
    let begins = offset.is_multiple_of(page_bytes);
    PageNo::new(u32::try_from(before).ok()?.checked_add(1)?).filter(|_| begins)
}

/// The change counter that is shown for a state: another one for every commit. A commit record is
/// at least eight bytes long, so neighbouring ones differ for 32 GiB of log.
pub(crate) fn change_counter(lsn: Lsn) -> u32 {
    u32::try_from((lsn.get() >> 3) & u64::from(u32::MAX)).unwrap_or_default()
}

/// Reads a page, or nothing where the database ends before it.
pub(crate) fn page_within<E: Into<EngineError>>(
    page: PageNo,
    page_count: u32,
    read: impl FnOnce() -> Result<PageBytes, E>,
) -> Result<Option<PageBytes>, EngineError> {
    if page.get() > page_count {
        return Ok(None);
    }
    read().map(Some).map_err(Into::into)
}

/// The first write fixes the page size; later ones must agree.
pub(crate) fn settle_page_size(write: &mut WriteTxn, found: i64) -> Result<(), EngineError> {
    let expected = write.page_size();
    let size = u32::try_from(found).ok().and_then(PageSize::new);
    match (expected, size) {
        (Some(expected), Some(size)) if expected == size => Ok(()),
        (_, Some(size)) if write.page_count() == 0 => Ok(write.set_page_size(size)?),
        _ => Err(EngineError::PageSize {
            found,
            expected: expected.map_or(0, PageSize::get),
        }),
    }
}

/// Writes page 1 in its stored form, unless that is what the database has already: SQLite puts page
/// 1 into every commit that has no other page, and counts in it.
pub(crate) fn write_page_one(
    read: &ReadTxn,
    write: &mut WriteTxn,
    content: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<(), EngineError> {
    scratch.clear();
    scratch.extend_from_slice(content);
    page_one::to_stored(scratch);
    let exists = read.page_count() > 0;
    if exists && write.read_page(PageNo::FIRST)?[..] == scratch[..] {
        return Ok(());
    }
    Ok(write.write_page(PageNo::FIRST, scratch)?)
}

/// Gives the database the size that SQLite says it has.
///
/// SQLite may allocate pages and never write them. They become zeros, so that every page of a
/// database exists and is part of its rolling checksum.
pub(crate) fn resize(
    write: &mut WriteTxn,
    old_count: u32,
    new_count: u32,
    touched: &[PageNo],
) -> Result<(), EngineError> {
    if write.page_count() > new_count {
        write.truncate(new_count);
    }
    let Some(size) = write.page_size() else {
        return Ok(());
    };
    let first_new = touched.partition_point(|page| page.get() <= old_count);
    let mut written = touched[first_new..].iter().peekable();
    for raw in old_count.saturating_add(1)..=new_count {
        if written.next_if(|page| page.get() == raw).is_some() || raw == size.lock_page() {
            continue;
        }
        if let Some(page) = PageNo::new(raw) {
            write.write_page_shared(page, PageBytes::zeroed(size))?;
        }
    }
    Ok(())
}
