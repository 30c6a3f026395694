//! A database as a file of bytes: what SQLite reads and writes by offset, over pages.
//!
//! ```text
//! offset 0        page size                      page count x page size
//! | page 1        | page 2        | ...          |   zeros, and "short read"
//!   24..28, 92..100 as they are shown
//! ```
//! Invariants
//! - page 1 goes into a transaction in its stored form, and not at all if that is what is there already:
//!   SQLite writes it at each commit, if only for its counter;
//! - every page below the end of a database exists: what SQLite left out is zeros;
//! - the page of the lock bytes is not there, reads as zeros, and is not written.
//!
//! Never: waits, or knows a lock.

use bop_sqlite_common::engine_error::EngineError;
use bop_sqlite_common::page_one::{self, HEADER_BYTES};
use bop_storage::{PageBytes, PageNo, PageSize, ReadTxn, WriteTxn};

/// Something that has pages.
pub(crate) trait Pages {
    /// Bytes in a page, once there is one.
    fn size(&self) -> Option<PageSize>;
    /// How many there are.
    fn count(&self) -> u32;
    /// One of them.
    fn page(&self, page: PageNo) -> Result<PageBytes, EngineError>;
}

impl Pages for ReadTxn {
    fn size(&self) -> Option<PageSize> {
        self.page_size()
    }

    fn count(&self) -> u32 {
        self.page_count()
    }

    fn page(&self, page: PageNo) -> Result<PageBytes, EngineError> {
        Ok(self.read_page(page)?)
    }
}

impl Pages for WriteTxn {
    fn size(&self) -> Option<PageSize> {
        self.page_size()
    }

    fn count(&self) -> u32 {
        self.page_count()
    }

    fn page(&self, page: PageNo) -> Result<PageBytes, EngineError> {
        Ok(self.read_page(page)?)
    }
}

/// Bytes of the file.
pub(crate) fn file_bytes(pages: &impl Pages) -> u64 {
    let size = pages.size().map_or(0, |size| u64::from(size.get()));
    u64::from(pages.count()) * size
}

/// Copies bytes of the file into `out`, zeros behind its end; `false` when it ends before `out` does.
pub(crate) fn read(
    pages: &impl Pages,
    counter: u32,
    mut offset: u64,
    mut out: &mut [u8],
) -> Result<bool, EngineError> {
    let end = file_bytes(pages);
    let Some(size) = pages.size() else {
        out.fill(0);
        return Ok(out.is_empty());
    };
    while !out.is_empty() {
        if offset >= end {
            out.fill(0);
            return Ok(false);
        }
        let (page, start) = place(offset, size)?;
        let bytes = (size.bytes() - start).min(out.len());
        let (now, later) = out.split_at_mut(bytes);
        if page.get() == size.lock_page() {
            now.fill(0);
        } else {
            let content = pages.page(page)?;
            now.copy_from_slice(&content[start..start + bytes]);
            if page == PageNo::FIRST && start < HEADER_BYTES {
                show_header(&content, counter, start, now);
            }
        }
        offset += bytes as u64;
        out = later;
    }
    Ok(true)
}

/// Puts the header as it is shown over the part of it that `out` has, from byte `start` of page 1.
fn show_header(content: &[u8], counter: u32, start: usize, out: &mut [u8]) {
    let Some(mut header) = content.first_chunk::<HEADER_BYTES>().copied() else {
        return;
    };
    page_one::to_shown(&mut header, counter);
    let part = &header[start..];
    let bytes = part.len().min(out.len());
    out[..bytes].copy_from_slice(&part[..bytes]);
}

/// What SQLite wrote into page 1 and is not stored.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct WrittenHeader {
    /// The change counter.
    pub(crate) counter: u32,
    /// The file says that there is a WAL beside it; what is stored and shown does not.
    pub(crate) wal_mode: bool,
}

/// Writes bytes of the file. Answers with what was said in page 1, if that was among them.
pub(crate) fn write(
    txn: &mut WriteTxn,
    mut offset: u64,
    mut content: &[u8],
) -> Result<Option<WrittenHeader>, EngineError> {
    let size = settle_page_size(txn, content.len())?;
    let mut header = None;
    while !content.is_empty() {
        let (page, start) = place(offset, size)?;
        let bytes = (size.bytes() - start).min(content.len());
        let (now, later) = content.split_at(bytes);
        if page.get() != size.lock_page() {
            if bytes != size.bytes() {
                let written = write_part(txn, page, start, now)?;
                header = written.or(header);
            } else if page == PageNo::FIRST {
                header = Some(write_first(txn, now)?);
            } else {
                txn.write_page(page, now)?;
            }
        }
        offset += bytes as u64;
        content = later;
    }
    Ok(header)
}

/// Writes a part of a page.
fn write_part(
    txn: &mut WriteTxn,
    page: PageNo,
    start: usize,
    content: &[u8],
) -> Result<Option<WrittenHeader>, EngineError> {
    let size = txn.page_size().map_or(content.len(), PageSize::bytes);
    let mut whole = match page.get() <= txn.page_count() {
        true => txn.read_page(page)?.to_vec(),
        false => vec![0; size],
    };
    whole[start..start + content.len()].copy_from_slice(content);
    if page != PageNo::FIRST {
        txn.write_page(page, &whole)?;
        return Ok(None);
    }
    let header = write_first(txn, &whole)?;
    Ok((start == 0 && content.len() >= HEADER_BYTES).then_some(header))
}

/// Writes page 1. Mostly nothing of it is stored: SQLite has changed its counter.
fn write_first(txn: &mut WriteTxn, page: &[u8]) -> Result<WrittenHeader, EngineError> {
    let Some((shown, rest)) = page.split_first_chunk::<HEADER_BYTES>() else {
        return Err(EngineError::Refused("a page 1 without a header".into()));
    };
    let mut stored = *shown;
    page_one::to_stored(&mut stored);
    let is_there = |before: &[u8]| {
        let before = before.split_first_chunk();
        before.is_some_and(|(header, others)| *header == stored && others == rest)
    };
    if txn.page_count() == 0 || !is_there(&txn.read_page(PageNo::FIRST)?) {
        let whole = [&stored, rest].concat();
        txn.write_page(PageNo::FIRST, &whole)?;
    }
    Ok(WrittenHeader {
        counter: u32::from_be_bytes([shown[24], shown[25], shown[26], shown[27]]),
        wal_mode: page_one::is_wal_mode(shown),
    })
}

/// The first write chooses the page size; SQLite writes whole pages.
fn settle_page_size(txn: &mut WriteTxn, bytes: usize) -> Result<PageSize, EngineError> {
    if let Some(size) = txn.page_size().filter(|_| txn.page_count() > 0) {
        // A vacuum that would change it writes page 1 first, and whole.
        return Ok(size);
    }
    let found = u32::try_from(bytes).ok().and_then(PageSize::new);
    let size = found.ok_or(EngineError::PageSize {
        found: i64::try_from(bytes).unwrap_or(i64::MAX),
        expected: txn.page_size().map_or(0, PageSize::get),
    })?;
    txn.set_page_size(size)?;
    Ok(size)
}

/// Refuses pages of another size than those of the database.
pub(crate) fn check_page_size(
    txn: &WriteTxn,
    offset: u64,
    content: &[u8],
) -> Result<(), EngineError> {
    let Some(size) = txn.page_size().filter(|_| txn.page_count() > 0) else {
        return Ok(());
    };
    let header = content
        .first_chunk::<HEADER_BYTES>()
        .filter(|_| offset == 0);
    let Some(header) = header else {
        return Ok(());
    };
    let said = match u32::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65_536,
        other => other,
    };
    match said == size.get() {
        true => Ok(()),
        false => Err(EngineError::PageSize {
            found: said.into(),
            expected: size.get(),
        }),
    }
}

/// Cuts the file, or lets it grow by zeros.
pub(crate) fn resize(txn: &mut WriteTxn, bytes: u64) -> Result<(), EngineError> {
    let Some(size) = txn.page_size() else {
        return Ok(());
    };
    let count = u32::try_from(bytes.div_ceil(u64::from(size.get()))).unwrap_or(u32::MAX);
    if count <= txn.page_count() {
        txn.truncate(count);
        return Ok(());
    }
    match PageNo::new(count) {
        Some(last) if count != size.lock_page() => {
            Ok(txn.write_page_shared(last, PageBytes::zeroed(size))?)
        }
        _ => Ok(()),
    }
}

/// Makes a transaction ready to be committed: the database has the size that page 1 says, which SQLite
/// tells the file only after a commit, and every page of it is there.
pub(crate) fn settle(txn: &mut WriteTxn, old_count: u32) -> Result<(), EngineError> {
    if txn.page_count() == 0 {
        return Ok(());
    }
    let first = txn.read_page(PageNo::FIRST)?;
    let said = first.first_chunk::<HEADER_BYTES>().map_or(0, |header| {
        u32::from_be_bytes([header[28], header[29], header[30], header[31]])
    });
    if (1..txn.page_count()).contains(&said) {
        txn.truncate(said);
    }
    fill_holes(txn, old_count)
}

/// Makes zeros of the pages that SQLite has let the database grow over and never written.
fn fill_holes(txn: &mut WriteTxn, old_count: u32) -> Result<(), EngineError> {
    let Some(size) = txn.page_size() else {
        return Ok(());
    };
    let count = txn.page_count();
    if count <= old_count {
        return Ok(());
    }
    let touched = txn.touched_pages();
    let first_new = touched.partition_point(|page| page.get() <= old_count);
    let mut written = touched[first_new..].iter().peekable();
    for raw in old_count.saturating_add(1)..=count {
        if written.next_if(|page| page.get() == raw).is_some() || raw == size.lock_page() {
            continue;
        }
        if let Some(page) = PageNo::new(raw) {
            txn.write_page_shared(page, PageBytes::zeroed(size))?;
        }
    }
    Ok(())
}

/// The page of an offset, and the byte in it.
fn place(offset: u64, size: PageSize) -> Result<(PageNo, usize), EngineError> {
    let bytes = u64::from(size.get());
    let page = u32::try_from(offset / bytes + 1).ok().and_then(PageNo::new);
    let start = usize::try_from(offset % bytes).unwrap_or_default();
    page.map(|page| (page, start))
        .ok_or_else(|| EngineError::Refused("an offset that no database has".into()))
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
