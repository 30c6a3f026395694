//! A file that is made: under a scratch name, digested while it is written, and durable before it gets its
//! own name.
//!
//! ```text
//! begin: scratch/file --append, append--> finish: whole blocks --> synced --> its own name
//!                                            '-- fails, dropped --> removed, or cleared by whoever comes next
//! ```
//! Invariants
//! - nothing has the final name that is not whole and durable; the name itself is durable when whoever made
//!   the file has synced the directory;
//! - a failed write or sync is never tried again.
//!
//! Never: replaces a file.

use super::index::FileProof;
use crate::checksum::Xxh128;
use crate::io::{
    BLOCK_BYTES, BUFFER_BLOCKS, BUFFER_BYTES, Block, Disk, DiskFile, IoFailure, OpenMode, layout,
    remove_if_there, zeroed_blocks,
};
use std::path::Path;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// The name of the one file that is being made. Who makes one has the directory's lock.
const DRAFT: &str = "file";

/// A file that is being made.
pub(crate) struct FileSink {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    buffer: Vec<Block>,
    /// Bytes in the buffer.
    filled: usize,
    /// Where the buffer belongs in the file.
    offset: u64,
    digest: Xxh128,
    finished: bool,
}

impl FileSink {
    /// # Errors
    /// The disk's.
    pub(crate) fn begin(disk: &Arc<dyn Disk>) -> Result<Self, IoFailure> {
        let draft = layout::scratch(DRAFT);
        remove_if_there(disk.as_ref(), &draft)?;
        Ok(Self {
            disk: Arc::clone(disk),
            file: disk.open(&draft, OpenMode::CreateNew)?,
            buffer: zeroed_blocks(BUFFER_BLOCKS),
            filled: 0,
            offset: 0,
            digest: Xxh128::new(),
            finished: false,
        })
    }

    /// # Errors
    /// The disk's; the file is of no use then.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), IoFailure> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = &mut self.buffer.as_mut_bytes()[self.filled..];
            let (now, later) = rest.split_at(rest.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            rest = later;
            if self.filled == BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what is in the buffer, with zeros up to a whole block.
    fn flush(&mut self) -> Result<(), IoFailure> {
        let blocks = self.filled.div_ceil(BLOCK_BYTES);
        let bytes = blocks * BLOCK_BYTES;
        self.buffer.as_mut_bytes()[self.filled..bytes].fill(0);
        let blocks = &self.buffer[..blocks];
        if !blocks.is_empty() {
            self.file.write_at(self.offset, blocks)?;
        }
        self.digest.update(blocks.as_bytes());
        self.offset += bytes as u64;
        self.filled = 0;
        Ok(())
    }

    /// The digest of what was appended so far; whole blocks of it.
    pub(crate) fn proof(&mut self) -> Result<FileProof, IoFailure> {
        self.flush()?;
        Ok(FileProof {
            bytes: self.offset,
            digest: self.digest.digest(),
        })
    }

    /// Makes the file durable and gives it its name; with `length`, longer by zeros that no digest is over.
    ///
    /// # Errors
    /// The disk's; the file is gone, or has neither name for sure.
    pub(crate) fn finish(mut self, to: &Path, length: Option<u64>) -> Result<FileProof, IoFailure> {
        let proof = self.proof()?;
        if let Some(length) = length {
            self.file.allocate(length)?;
        }
        self.file.sync()?;
        self.disk.rename(&layout::scratch(DRAFT), to)?;
        self.finished = true;
        Ok(proof)
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if !self.finished {
            // Whoever comes next removes it, if this cannot.
            let _ = self.disk.remove(&layout::scratch(DRAFT));
        }
    }
}

/// Makes a file of `bytes`; it is durable when this returns, its name too.
///
/// # Errors
/// The disk's; the file may be there or not, and is whole if it is.
pub(crate) fn write_file(disk: &Arc<dyn Disk>, to: &Path, bytes: &[u8]) -> Result<(), IoFailure> {
    let mut sink = FileSink::begin(disk)?;
    sink.append(bytes)?;
    sink.finish(to, None)?;
    disk.sync_dir(to.parent().unwrap_or(Path::new("")))
}

/// Why a file was not copied to its end.
#[derive(Debug)]
pub(crate) enum CopyError<E> {
    /// The file that is read, or whoever was told how far it is.
    From(E),
    /// The file that is written.
    To(IoFailure),
}

/// Appends the first `bytes` of a file to another one, in pieces; `piece` is told of each before it counts.
///
/// # Errors
/// See [`CopyError`].
pub(crate) fn copy_file<E: From<IoFailure>>(
    from: &dyn DiskFile,
    bytes: u64,
    to: &mut FileSink,
    mut piece: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), CopyError<E>> {
    read_file(from, bytes, |read| {
        piece(read).map_err(CopyError::From)?;
        to.append(read).map_err(CopyError::To)
    })
}

/// What proves the first `bytes` of a file.
///
/// # Errors
/// The disk's.
pub(crate) fn digest_file(from: &dyn DiskFile, bytes: u64) -> Result<FileProof, IoFailure> {
    let mut digest = Xxh128::new();
    let read = read_file(from, bytes, |read| {
        digest.update(read);
        Ok::<_, CopyError<IoFailure>>(())
    });
    match read {
        Err(CopyError::From(failure) | CopyError::To(failure)) => Err(failure),
        Ok(()) => Ok(FileProof {
            bytes,
            digest: digest.digest(),
        }),
    }
}

/// Reads in whole blocks, and hands out what was asked for; what is behind the file's end reads as zeros.
fn read_file<E: From<IoFailure>>(
    from: &dyn DiskFile,
    bytes: u64,
    mut piece: impl FnMut(&[u8]) -> Result<(), CopyError<E>>,
) -> Result<(), CopyError<E>> {
    let mut buffer = zeroed_blocks(BUFFER_BLOCKS);
    let mut offset = 0;
    while offset < bytes {
        let left = usize::try_from(bytes - offset).unwrap_or(usize::MAX);
        let wanted = left.min(BUFFER_BYTES);
        let blocks = &mut buffer[..wanted.div_ceil(BLOCK_BYTES)];
        from.read_at(offset, blocks)
            .map_err(|failure| CopyError::From(failure.into()))?;
        piece(&blocks.as_bytes()[..wanted])?;
        offset += wanted as u64;
    }
    Ok(())
}
