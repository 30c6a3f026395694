//! A directory of backups: what is finished in it, and what nobody needs.
//!
//! ```text
//!   begun: chunks, log, rows under their names --directories synced--> index in scratch/ --renamed--> good
//!            '-- killed --> used by the next one, or removed with what no index names
//! ```
//! Invariants
//! - one at a time writes to it: it is locked as a store is;
//! - a directory that has anything else in it is not touched;
//! - what an index names stays as long as the index does, and an index that cannot be read keeps everything.
//!
//! Never: opens what an index does not name, but to remove it.

use super::format::Verified;
use super::index::{BackedChunk, BackedSegment, BackupIndex, FileProof};
use super::sink::{digest_file, write_file};
use crate::error::{BackupError, Damage, Place, Reject};
use crate::io::errno::{EACCES, EROFS};
use crate::io::{
    BLOCK_BYTES, Block, BufferPool, Disk, FileKind, IoBackend, IoFailure, LockFailure, NativeDisk,
    OpenDiskError, OpenMode, StoreLock, layout, remove_if_there, zeroed_blocks,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// The directory of indexes and rows.
const BACKUP_DIR: &str = "backups";
/// What may be in a directory of backups.
const OURS: [&str; 5] = [
    BACKUP_DIR,
    layout::CHUNK_DIR,
    layout::LOG_DIR,
    layout::SCRATCH_DIR,
    layout::LOCK,
];
/// An index is read whole: of a larger one nobody knows what it is.
const INDEX_BYTES_MAX: u64 = 4 << 30;

/// The names of files in it.
pub(crate) mod names {
    use super::{BACKUP_DIR, BackedChunk, BackedSegment, Path, PathBuf, layout};

    /// The index of a backup.
    pub(crate) fn index(number: u64) -> PathBuf {
        Path::new(BACKUP_DIR).join(format!("{number:016x}.backup"))
    }

    /// Its rows.
    pub(crate) fn rows(number: u64) -> PathBuf {
        Path::new(BACKUP_DIR).join(format!("{number:016x}.rows"))
    }

    /// That it was verified.
    pub(crate) fn verified(number: u64) -> PathBuf {
        Path::new(BACKUP_DIR).join(format!("{number:016x}.verified"))
    }

    /// A chunk.
    pub(crate) fn chunk(chunk: &BackedChunk) -> PathBuf {
        let (id, digest) = (chunk.id.get(), chunk.digest);
        Path::new(layout::CHUNK_DIR).join(format!("{id:016x}-{digest:032x}.chunk"))
    }

    /// A part of the log.
    pub(crate) fn segment(segment: &BackedSegment) -> PathBuf {
        let (id, life) = (segment.id.get(), segment.incarnation.get());
        let end = segment.end.get();
        Path::new(layout::LOG_DIR).join(format!("{id:016x}-{life:016x}-{end:016x}.seg"))
    }
}

/// What is to be done with the directory.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// It is made when it is missing, and locked.
    Make,
    /// It is locked, unless it can only be read, and nobody changes it then.
    Use,
    /// It is looked at while others may change it.
    Look,
}

/// A directory of backups.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    _lock: Option<Box<dyn StoreLock>>,
}

impl Shelf {
    /// Opens it; `given`: its files, in place of those of the directory.
    ///
    /// # Errors
    /// [`BackupError::NotFound`], [`BackupError::NotBackups`], [`BackupError::Busy`], or what the
    /// directory answers.
    pub(crate) fn open(
        dir: &Path,
        access: Access,
        io: IoBackend,
        given: Option<Arc<dyn Disk>>,
    ) -> Result<Self, BackupError> {
        let disk = match given {
            Some(disk) => disk,
            None => native(dir, access == Access::Make, io)?,
        };
        let target = BackupError::target(dir);
        let entries = disk.list(Path::new("")).map_err(&target)?;
        let strange = entries
            .iter()
            .find(|entry| !OURS.contains(&entry.name.as_str()));
        if let Some(strange) = strange {
            return Err(BackupError::NotBackups {
                dir: dir.to_owned(),
                found: strange.name.clone(),
            });
        }
        let is_one = entries.iter().any(|entry| entry.name == BACKUP_DIR);
        if !is_one && access != Access::Make {
            return Err(not_found(dir, None));
        }
        let lock = match access {
            Access::Look => None,
            Access::Make | Access::Use => locked(dir, disk.as_ref(), access)?,
        };
        let shelf = Self {
            dir: dir.to_owned(),
            disk,
            _lock: lock,
        };
        if access == Access::Make {
            shelf.furnish().map_err(target)?;
        }
        Ok(shelf)
    }

    /// The directory's own directories; what an interrupted backup was writing goes.
    fn furnish(&self) -> Result<(), IoFailure> {
        let dirs = [
            layout::SCRATCH_DIR,
            layout::CHUNK_DIR,
            layout::LOG_DIR,
            BACKUP_DIR,
        ];
        for dir in dirs {
            self.disk.create_dir(Path::new(dir))?;
        }
        self.disk.sync_dir(Path::new(""))?;
        for left in self.disk.list(Path::new(layout::SCRATCH_DIR))? {
            if left.kind == FileKind::File {
                self.disk.remove(&layout::scratch(&left.name))?;
            }
        }
        Ok(())
    }

    /// What the directory answered, as an error.
    pub(crate) fn failed(&self, failure: IoFailure) -> BackupError {
        BackupError::target(&self.dir)(failure)
    }

    /// A file of it is damaged.
    pub(crate) fn damaged(path: &Path, reason: Reject) -> BackupError {
        let findings = vec![Damage::new(Place::File(path.to_owned()), reason)];
        BackupError::Damaged { findings }
    }

    /// The numbers of the finished backups, the oldest first.
    ///
    /// # Errors
    /// The directory's.
    pub(crate) fn numbers(&self) -> Result<Vec<u64>, BackupError> {
        let entries = self.disk.list(Path::new(BACKUP_DIR));
        let entries = entries.map_err(|failure| self.failed(failure))?;
        let numbers = entries.iter().filter_map(|entry| number_of(&entry.name));
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The number that is asked for, or the newest.
    ///
    /// # Errors
    /// [`BackupError::NotFound`], or the directory's.
    pub(crate) fn number(&self, asked: Option<u64>) -> Result<u64, BackupError> {
        let numbers = self.numbers()?;
        let found = match asked {
            Some(number) => numbers.contains(&number).then_some(number),
            None => numbers.last().copied(),
        };
        found.ok_or_else(|| not_found(&self.dir, asked))
    }

    /// The index of a finished backup, and its checksum.
    ///
    /// # Errors
    /// [`BackupError::Damaged`], or the directory's.
    pub(crate) fn index(&self, number: u64) -> Result<(BackupIndex, u64), BackupError> {
        let path = names::index(number);
        let file = self.read_whole(&path, INDEX_BYTES_MAX)?;
        let (index, checksum) =
            BackupIndex::decode(&file).map_err(|reason| Self::damaged(&path, reason))?;
        if index.number != number {
            let reason = Reject::Invalid("the index of a backup of another number");
            return Err(Self::damaged(&path, reason));
        }
        Ok((index, checksum))
    }

    /// A whole file that is no longer than `most`.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] when it is missing or too long, or the directory's.
    pub(crate) fn read_whole(&self, path: &Path, most: u64) -> Result<Vec<u8>, BackupError> {
        let unreadable = |failure: IoFailure| {
            if failure.is_not_found() {
                return Self::damaged(path, Reject::Missing);
            }
            Self::damaged(path, Reject::Unreadable(failure))
        };
        let file = self.disk.open(path, OpenMode::Read).map_err(unreadable)?;
        let bytes = file.bytes().map_err(unreadable)?;
        let length = usize::try_from(bytes).ok().filter(|_| bytes <= most);
        let Some(length) = length else {
            return Err(Self::damaged(
                path,
                Reject::Invalid("longer than it can be"),
            ));
        };
        let mut blocks = zeroed_blocks(length.div_ceil(BLOCK_BYTES));
        file.read_at(0, &mut blocks).map_err(unreadable)?;
        let mut content = blocks.as_bytes().to_vec();
        content.truncate(length);
        Ok(content)
    }

    /// Whether a file is there, with that length.
    ///
    /// # Errors
    /// The directory's.
    pub(crate) fn has(&self, path: &Path, bytes: u64) -> Result<bool, IoFailure> {
        match self.disk.open(path, OpenMode::Read) {
            Ok(file) => Ok(file.bytes()? == bytes),
            Err(failure) if failure.is_not_found() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Why the beginning of a file is not what proves it, if it is not.
    pub(crate) fn reject_of(&self, path: &Path, proof: FileProof) -> Option<Reject> {
        let read = || {
            let file = self.disk.open(path, OpenMode::Read)?;
            digest_file(file.as_ref(), proof.bytes)
        };
        match read() {
            Ok(found) => (found != proof).then_some(Reject::Checksum),
            Err(failure) if failure.is_not_found() => Some(Reject::Missing),
            // The medium does not give it back: as good as damaged.
            Err(failure) => Some(Reject::Unreadable(failure)),
        }
    }

    /// Makes the names of all files durable.
    ///
    /// # Errors
    /// The directory's.
    pub(crate) fn sync(&self) -> Result<(), IoFailure> {
        let dirs = [layout::CHUNK_DIR, layout::LOG_DIR, BACKUP_DIR];
        dirs.into_iter()
            .try_for_each(|dir| self.disk.sync_dir(Path::new(dir)))
    }

    /// Writes the index of a backup of which everything else is durable under its name. When this returns,
    /// the backup is good, and stays.
    ///
    /// # Errors
    /// The directory's; the backup may be there or not, and is whole if it is.
    pub(crate) fn write_index(&self, index: &BackupIndex) -> Result<(), IoFailure> {
        write_file(&self.disk, &names::index(index.number), &index.encode().0)
    }

    /// Records that a backup was verified.
    ///
    /// # Errors
    /// The directory's.
    pub(crate) fn write_verified(&self, verified: &Verified) -> Result<(), IoFailure> {
        let path = names::verified(verified.number);
        remove_if_there(self.disk.as_ref(), &path)?;
        write_file(&self.disk, &path, &verified.encode().0)
    }

    /// When a backup was verified last, by what is recorded of it; a record that is damaged or of another
    /// index is none.
    pub(crate) fn verified_us(&self, index: &BackupIndex, checksum: u64) -> Option<u64> {
        let bytes = self.read_whole(&names::verified(index.number), BLOCK_BYTES as u64);
        let mut block = Block::ZERO;
        let bytes = bytes.ok().filter(|bytes| bytes.len() == BLOCK_BYTES)?;
        block.0.copy_from_slice(&bytes);
        let found = Verified::decode(&block).ok()?;
        let is_of = found.store == index.store
            && found.number == index.number
            && found.index_checksum == checksum;
        is_of.then_some(found.verified_us)
    }

    /// Removes the finished backups before the newest `keep`, and whatever no finished one needs. Nothing
    /// goes while an index cannot be read: what that one needs is not known, nor whether it is good.
    ///
    /// # Errors
    /// The directory's.
    pub(crate) fn sweep(&self, keep: usize) -> Result<(), BackupError> {
        let numbers = self.numbers()?;
        let mut indexes = Vec::with_capacity(numbers.len());
        for number in numbers {
            match self.index(number) {
                Ok((index, _)) => indexes.push(index),
                Err(error) => {
                    tracing::warn!(%error, "nothing is removed beside a backup that cannot be read");
                    return Ok(());
                }
            }
        }
        let kept = indexes.split_off(indexes.len().saturating_sub(keep));
        let failed = |failure| self.failed(failure);
        for old in &indexes {
            self.disk
                .remove(&names::index(old.number))
                .map_err(failed)?;
        }
        // Before anything of theirs goes.
        self.disk.sync_dir(Path::new(BACKUP_DIR)).map_err(failed)?;
        let mut needed = BTreeSet::new();
        for index in &kept {
            let number = index.number;
            needed.extend([names::index, names::rows, names::verified].map(|name| name(number)));
            needed.extend(index.segments.iter().map(names::segment));
            needed.extend(index.chunks.iter().map(names::chunk));
        }
        self.remove_but(&needed).map_err(failed)
    }

    fn remove_but(&self, needed: &BTreeSet<PathBuf>) -> Result<(), IoFailure> {
        for dir in [layout::CHUNK_DIR, layout::LOG_DIR, BACKUP_DIR] {
            for entry in self.disk.list(Path::new(dir))? {
                let path = Path::new(dir).join(&entry.name);
                if entry.kind == FileKind::File && !needed.contains(&path) {
                    self.disk.remove(&path)?;
                }
            }
        }
        Ok(())
    }
}

/// The directory's lock; none of one that can only be read, if nothing is to be made in it.
fn locked(
    dir: &Path,
    disk: &dyn Disk,
    access: Access,
) -> Result<Option<Box<dyn StoreLock>>, BackupError> {
    match disk.lock() {
        Ok(lock) => Ok(Some(lock)),
        Err(LockFailure::Io(failure))
            if access == Access::Use && [EROFS, EACCES].contains(&failure.errno) =>
        {
            Ok(None)
        }
        Err(failure) => Err(BackupError::locked(dir, failure)),
    }
}

fn native(dir: &Path, make: bool, io: IoBackend) -> Result<Arc<dyn Disk>, BackupError> {
    /// Files are read and written in pieces of one buffer at a time.
    const POOL_BYTES: u64 = 4 << 20;
    match NativeDisk::open(dir, make, io, &BufferPool::new(POOL_BYTES)) {
        Ok(disk) => Ok(Arc::new(disk)),
        Err(OpenDiskError::Io(failure)) if failure.is_not_found() => Err(not_found(dir, None)),
        Err(OpenDiskError::Io(failure)) => Err(BackupError::target(dir)(failure)),
        Err(OpenDiskError::Unavailable(why)) => Err(BackupError::Open(Box::new(why.into()))),
    }
}

fn not_found(dir: &Path, number: Option<u64>) -> BackupError {
    BackupError::NotFound {
        dir: dir.to_owned(),
        number,
    }
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".backup")?;
    let canonical = digits.len() == 16 && !digits.bytes().any(|b| b.is_ascii_uppercase());
    canonical
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}
