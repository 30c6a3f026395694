//! The temporary file of one write transaction whose pages do not fit its memory bound.
//!
//! Invariants
//! - the file is nobody else's, is never made durable, and is gone when the transaction is: it loses
//!   its name as soon as it is open, so that nobody has to remove it later, when the store may be
//!   closed;
//! - a slot is reused only after it was released.
//!
//! Never: read after a crash (what a crash leaves in `scratch/` is cleared at open).

use crate::checksum::PageHash;
use crate::ids::{PageNo, PageSize};
use crate::io::errno::EIO;
use crate::io::{
    BLOCK_BYTES, Disk, DiskFile, IoFailure, IoOp, OpenMode, blocks_for, layout, zeroed_blocks,
};
use crate::page::PageBytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::IntoBytes;

/// Where a store's temporary files are made.
#[derive(Debug)]
pub(crate) struct SpillSpace {
    disk: Arc<dyn Disk>,
    /// Tells the files apart; a leftover of an earlier process was cleared at open.
    next: AtomicU64,
}

impl SpillSpace {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        let next = AtomicU64::new(0);
        Self { disk, next }
    }
}

/// The file.
#[derive(Debug)]
pub(crate) struct SpillFile {
    file: Arc<dyn DiskFile>,
    /// The name that it had, for errors.
    path: PathBuf,
    page_size: PageSize,
    slots: u64,
    free: Vec<u64>,
}

impl SpillFile {
    /// An empty file in `scratch/`.
    pub(crate) fn create(space: &SpillSpace, page_size: PageSize) -> Result<Self, IoFailure> {
        let number = space.next.fetch_add(1, Ordering::Relaxed);
        let path = layout::scratch(&format!("transaction-{number:016x}"));
        let file = space.disk.open(&path, OpenMode::CreateScratch)?;
        space.disk.remove(&path)?;
        Ok(Self {
            file,
            path,
            page_size,
            slots: 0,
            free: Vec::new(),
        })
    }

    /// Writes a page and returns its slot.
    pub(crate) fn append(&mut self, content: &[u8]) -> Result<u64, IoFailure> {
        let slot = self.free.last().copied().unwrap_or(self.slots);
        let mut blocks = zeroed_blocks(self.slot_blocks());
        blocks.as_mut_bytes()[..content.len()].copy_from_slice(content);
        self.file.write_at(self.offset(slot), &blocks)?;
        if self.free.pop().is_none() {
            self.slots += 1;
        }
        Ok(slot)
    }

    /// The page in a slot, which must have the hash that it had when it was put there: what the
    /// device did not keep must not be committed.
    pub(crate) fn read(
        &self,
        slot: u64,
        page: PageNo,
        hash: PageHash,
    ) -> Result<PageBytes, IoFailure> {
        let mut blocks = zeroed_blocks(self.slot_blocks());
        self.file.read_at(self.offset(slot), &mut blocks)?;
        let content = &blocks.as_bytes()[..self.page_size.bytes()];
        if PageHash::of(page, content) != hash {
            return Err(IoFailure {
                op: IoOp::Read,
                path: self.path.clone(),
                offset: Some(self.offset(slot)),
                errno: EIO,
            });
        }
        Ok(PageBytes::copy_of(content))
    }

    /// The slot may be used again.
    pub(crate) fn release(&mut self, slot: u64) {
        self.free.push(slot);
    }

    /// Slots that the file has, in use or free.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> u64 {
        self.slots
    }

    fn slot_blocks(&self) -> usize {
        blocks_for(self.page_size.bytes())
    }

    fn offset(&self, slot: u64) -> u64 {
        slot * (self.slot_blocks() * BLOCK_BYTES) as u64
    }
}
