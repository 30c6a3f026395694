//! Making a backup: what stands frozen, into the directory, and the index at the end.
//!
//! Invariants
//! - nothing has its name in the directory that is not whole; the index is written when everything that it
//!   names is durable under its name;
//! - of the log nothing counts that was read after the lease was lost: each piece is asked for behind its read;
//! - a part of the log that is there is used again when its bytes are what was written, else copied anew;
//! - a chunk that is copied is what its row says; one that is linked is the store's, and proved with it; one
//!   that is there is used again by its name and length, and read when the backup is verified;
//! - the store is called damaged for its own bytes alone, never for those of a backup.
//!
//! Never: tries a failed write or sync again, removes what the last good backup needs before the next is one.

use super::super::engine::Engine;
use super::super::fresh_dir::is_inside;
use super::freeze::{Frozen, HeldChunk, LogPart, damaged_chunk};
use super::options::{BackupOptions, BackupProgress, BackupStage, Told};
use crate::backup::{
    Access, BackedChunk, BackedSegment, BackupIndex, CopyError, FileProof, FileSink, Shelf,
    StateOf, copy_file, digest_file, encode_rows, names,
};
use crate::error::{BackupError, Damage, OpenError, Place, ReadError, Reject};
use crate::ids::Lsn;
use crate::io::errno::{EACCES, EINVAL, EMLINK, ENOSYS, EOPNOTSUPP, EPERM, EXDEV};
use crate::io::{IoFailure, OpenMode, layout, remove_if_there};
use crate::manifest::SegmentRow;
use crate::pagestore::{ChunkHasher, ChunkReader};
use crate::superblock::Superblock;
use std::path::Path;

/// A backup that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// Its number in the directory.
    pub number: u64,
    /// Everything before this position of the log is in it, and nothing behind.
    pub lsn: Lsn,
    /// The time of the newest record in it, in microseconds since the Unix epoch.
    pub state_us: u64,
    /// When it was finished.
    pub made_us: u64,
    /// Bytes of its files, shared ones among them.
    pub bytes: u64,
    /// Bytes that were written for it.
    pub copied_bytes: u64,
    /// Its chunks.
    pub chunks: usize,
    /// Chunks that it shares with the store by a link that was made now.
    pub linked_chunks: usize,
    /// Chunks that were copied now.
    pub copied_chunks: usize,
    /// Databases in it, forks among them.
    pub databases: usize,
    /// Snapshots in it.
    pub snapshots: usize,
}

/// So often a backup is begun, if the log goes while it is copied.
const ATTEMPTS_MAX: usize = 3;

/// What is counted on the way.
#[derive(Default)]
struct Counts {
    copied_bytes: u64,
    linked_chunks: usize,
    copied_chunks: usize,
}

/// A backup that is being made.
struct Making<'a, 'p> {
    engine: &'a Engine,
    shelf: &'a Shelf,
    options: &'a BackupOptions,
    /// Chunks may be linked.
    links: bool,
    /// The newest good one.
    last: Option<&'a BackupIndex>,
    told: Told<'p>,
    counts: Counts,
}

impl Engine {
    pub(super) fn backup(
        &self,
        dir: &Path,
        options: &BackupOptions,
        progress: &mut dyn FnMut(BackupProgress),
    ) -> Result<BackupReport, BackupError> {
        let _span = tracing::info_span!("backup", dir = %dir.display()).entered();
        let _work = self.lifecycle.enter_work().ok_or(BackupError::Closed)?;
        let Some(_alone) = self.backing_up.alone.try_lock() else {
            let what = "another backup of this store is being made".to_owned();
            return Err(BackupError::Busy { what });
        };
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let given = options.disk.clone();
        if given.is_none() && is_inside(&dir, &self.path) {
            let (path, store) = (dir, self.path.clone());
            return Err(BackupError::InsideStore { path, store });
        }
        self.check_sound()?;
        let links = !options.copy && given.is_none();
        let shelf = Shelf::open(&dir, Access::Make, options.io, given)?;
        let (next, last) = self.lineage(&shelf)?;
        let mut attempts = 1;
        let report = loop {
            let frozen = self.frozen()?;
            self.check_ahead(&shelf, last.as_ref(), frozen.lsn)?;
            let log = frozen.log.iter().map(|part| part.proto().file_bytes());
            let chunks = frozen.chunks.iter().map(|held| held.chunk.bytes);
            let making = Making {
                engine: self,
                shelf: &shelf,
                options,
                links,
                last: last.as_ref(),
                told: Told::new(log.chain(chunks).sum(), progress),
                counts: Counts::default(),
            };
            match making.make(frozen, next) {
                // What is left of the log is short now: whoever begins anew has less to copy.
                Err(BackupError::LogReleased) if attempts < ATTEMPTS_MAX => attempts += 1,
                made => break made?,
            }
        };
        // It is good whatever becomes of what nobody needs any more, and of the note.
        if let Err(error) = shelf.sweep(options.keep.get()) {
            tracing::warn!(%error, "what older backups needed stays");
        }
        self.note_target(&dir);
        self.backing_up.watch.have_changed();
        tracing::info!(number = report.number, lsn = %report.lsn, "backed up");
        Ok(report)
    }

    /// The number of the next backup, and the newest good one before it.
    fn lineage(&self, shelf: &Shelf) -> Result<(u64, Option<BackupIndex>), BackupError> {
        let numbers = shelf.numbers()?;
        let next = numbers.last().map_or(1, |last| last.saturating_add(1));
        for number in numbers.into_iter().rev() {
            match shelf.index(number) {
                Ok((index, _)) if index.store == self.store => return Ok((next, Some(index))),
                Ok((index, _)) => {
                    return Err(BackupError::OtherStore {
                        dir: shelf.dir.clone(),
                        found: index.store.to_string(),
                    });
                }
                Err(error) => tracing::warn!(%error, number, "an older backup is damaged"),
            }
        }
        Ok((next, None))
    }

    /// Refuses to put an older state behind a newer one: whoever restores the newest would lose what is between.
    fn check_ahead(
        &self,
        shelf: &Shelf,
        last: Option<&BackupIndex>,
        lsn: Lsn,
    ) -> Result<(), BackupError> {
        match last.map(|last| last.lsn).filter(|newest| lsn < *newest) {
            None => Ok(()),
            Some(newest) => Err(BackupError::Behind {
                dir: shelf.dir.clone(),
                newest,
                lsn,
            }),
        }
    }

    fn check_going_on(&self, options: &BackupOptions) -> Result<(), BackupError> {
        match (self.lifecycle.is_closing(), options.is_cancelled()) {
            (true, _) => Err(BackupError::Closed),
            (false, true) => Err(BackupError::Cancelled),
            (false, false) => Ok(()),
        }
    }

    fn superblock(&self) -> Result<Superblock, BackupError> {
        let missing = || {
            let place = Place::File(layout::SUPERBLOCK.into());
            BackupError::StoreDamaged(Damage::new(place, Reject::Missing))
        };
        match Superblock::read(self.disk.as_ref()) {
            Ok(found) => Ok(found.ok_or_else(missing)?.superblock),
            Err(OpenError::Damaged(damage)) => Err(BackupError::StoreDamaged(damage)),
            Err(error) => Err(BackupError::Open(Box::new(error))),
        }
    }
}

impl LogPart {
    /// As the index has it, without what proves it.
    fn proto(&self) -> BackedSegment {
        BackedSegment {
            id: self.segment.id,
            incarnation: self.segment.incarnation,
            capacity_bytes: self.segment.capacity_bytes,
            base: self.segment.base,
            end: self.end,
            digest: 0,
        }
    }
}

impl Making<'_, '_> {
    fn make(mut self, frozen: Frozen, number: u64) -> Result<BackupReport, BackupError> {
        let superblock = self.engine.superblock()?;
        let Frozen {
            rows,
            lsn,
            log,
            lease,
            chunks: held,
        } = frozen;
        let mut segments = Vec::with_capacity(log.len());
        for part in &log {
            let backed = self.copy_part(part, &|| lease.is_lost())?;
            segments.push(backed);
            lease.advance(part.end);
        }
        drop((lease, log));
        self.engine.shorten_for_cursors();
        for one in &held {
            self.check_going_on()?;
            self.take_chunk(one)?;
        }
        let registered = segments.iter().map(|segment| {
            let row = SegmentRow {
                incarnation: segment.incarnation,
                capacity_bytes: segment.capacity_bytes,
            };
            (segment.id, row)
        });
        let rows = rows.backed_up(registered).all_writes(self.engine.store)?;
        let engine = self.engine;
        let replayed = engine
            .replayed(self.shelf, &segments, &rows, superblock)
            .map_err(|found| self.blamed(found, &segments))?;
        let index = BackupIndex {
            store: engine.store,
            number,
            lsn,
            state_us: replayed.last_time_us,
            made_us: engine.runtime.clock.wall_us(),
            created_us: superblock.created_us,
            range_bytes: superblock.range_bytes,
            rows: self.write_rows(number, &rows)?,
            segments,
            chunks: held.iter().map(|held| held.chunk).collect(),
            states: replayed.states,
        };
        self.finish(&index)
    }

    fn check_going_on(&self) -> Result<(), BackupError> {
        self.engine.check_going_on(self.options)
    }

    /// Everything is there: it becomes a backup.
    fn finish(self, index: &BackupIndex) -> Result<BackupReport, BackupError> {
        let failed = |failure| self.shelf.failed(failure);
        let contradicts = |reason| Shelf::damaged(&names::index(index.number), reason);
        index.check().map_err(contradicts)?;
        self.check_going_on()?;
        self.shelf.sync().map_err(failed)?;
        self.shelf.write_index(index).map_err(failed)?;
        let of = |of: StateOf| index.states.iter().filter(|state| state.of == of).count();
        let Counts {
            copied_bytes,
            linked_chunks,
            copied_chunks,
        } = self.counts;
        Ok(BackupReport {
            number: index.number,
            lsn: index.lsn,
            state_us: index.state_us,
            made_us: index.made_us,
            bytes: index.file_bytes(),
            copied_bytes,
            chunks: index.chunks.len(),
            linked_chunks,
            copied_chunks,
            databases: of(StateOf::Database),
            snapshots: of(StateOf::Snapshot),
        })
    }

    /// The part of a segment, copied, or there already.
    fn copy_part(
        &mut self,
        part: &LogPart,
        is_lost: &dyn Fn() -> bool,
    ) -> Result<BackedSegment, BackupError> {
        let mut backed = part.proto();
        let (path, bytes) = (names::segment(&backed), backed.file_bytes());
        if let Some(digest) = self.proved_part(part, is_lost)? {
            backed.digest = digest;
            self.told.done(BackupStage::Log, bytes);
            return Ok(backed);
        }
        let mut sink = self.begin(&path)?;
        let (engine, options, told) = (self.engine, self.options, &mut self.told);
        let file = part.segment.file.as_ref();
        let copied = copy_file(file, bytes, &mut sink, |piece| {
            engine.check_going_on(options)?;
            if is_lost() {
                return Err(BackupError::LogReleased);
            }
            told.done(BackupStage::Log, piece.len() as u64);
            Ok(())
        });
        copied.map_err(|error| self.of_copy(error))?;
        let finished = sink.finish(&path, None);
        backed.digest = finished
            .map_err(|failure| self.shelf.failed(failure))?
            .digest;
        self.counts.copied_bytes += bytes;
        Ok(backed)
    }

    /// What proves the part of a segment that is there already; `None` when it is not there, or is not what was
    /// written: as the last good backup says it, or else as the store has it.
    fn proved_part(
        &self,
        part: &LogPart,
        is_lost: &dyn Fn() -> bool,
    ) -> Result<Option<u128>, BackupError> {
        let backed = part.proto();
        let (path, bytes) = (names::segment(&backed), backed.file_bytes());
        let there = self.shelf.has(&path, bytes);
        if !there.map_err(|failure| self.shelf.failed(failure))? {
            return Ok(None);
        }
        self.check_going_on()?;
        let wanted = match self.known_proof(&backed) {
            Some(known) => known,
            None => {
                let own = digest_file(part.segment.file.as_ref(), bytes)?;
                if is_lost() {
                    return Err(BackupError::LogReleased);
                }
                own
            }
        };
        match self.shelf.reject_of(&path, wanted) {
            None => Ok(Some(wanted.digest)),
            Some(reason) => {
                let file = path.display();
                tracing::warn!(%file, %reason, "a part of the log in the backup is copied anew");
                Ok(None)
            }
        }
    }

    /// What the last good backup says of a segment.
    fn known_proof(&self, backed: &BackedSegment) -> Option<FileProof> {
        let mut known = self.last.into_iter().flat_map(|last| &last.segments);
        let known = known.find(|known| {
            (known.id, known.incarnation, known.end) == (backed.id, backed.incarnation, backed.end)
        });
        known.map(BackedSegment::proof)
    }

    /// Why the log that was copied cannot be replayed: for the reason that was found, which is in the store
    /// then, unless a copy is not what was copied.
    fn blamed(&self, found: BackupError, segments: &[BackedSegment]) -> BackupError {
        let wrong = segments.iter().filter_map(|segment| {
            let path = names::segment(segment);
            let reason = self.shelf.reject_of(&path, segment.proof())?;
            Some(Damage::new(Place::File(path), reason))
        });
        let findings: Vec<Damage> = wrong.collect();
        match findings.is_empty() {
            true => found,
            false => BackupError::Damaged { findings },
        }
    }

    /// Removes what has a name that is needed: a file of another length, or the rows of a backup that was not
    /// finished.
    fn clear(&self, path: &Path) -> Result<(), BackupError> {
        let removed = remove_if_there(self.shelf.disk.as_ref(), path);
        removed.map_err(|failure| self.shelf.failed(failure))
    }

    fn begin(&self, path: &Path) -> Result<FileSink, BackupError> {
        self.clear(path)?;
        FileSink::begin(&self.shelf.disk).map_err(|failure| self.shelf.failed(failure))
    }

    fn take_chunk(&mut self, held: &HeldChunk) -> Result<(), BackupError> {
        let chunk = &held.chunk;
        let path = names::chunk(chunk);
        let shelf = self.shelf;
        let there = shelf.has(&path, chunk.bytes);
        if there.map_err(|failure| shelf.failed(failure))? {
            self.told.done(BackupStage::Chunks, chunk.bytes);
            return Ok(());
        }
        if self.links && self.link(chunk, &path)? {
            self.counts.linked_chunks += 1;
            self.told.done(BackupStage::Chunks, chunk.bytes);
            return Ok(());
        }
        self.copy_chunk(chunk, &path)?;
        self.counts.copied_chunks += 1;
        self.counts.copied_bytes += chunk.bytes;
        Ok(())
    }

    /// Gives the store's chunk one more name; `false` where there are no such names, and for the rest of
    /// the backup then.
    fn link(&mut self, chunk: &BackedChunk, path: &Path) -> Result<bool, BackupError> {
        self.clear(path)?;
        let to = self.shelf.dir.join(path);
        match self.engine.disk.link_out(&layout::chunk(chunk.id), &to) {
            Ok(()) => Ok(true),
            Err(failure) if is_no_link(&failure) => {
                tracing::debug!(%failure, "chunks are copied");
                self.links = failure.errno == EMLINK;
                Ok(false)
            }
            Err(failure) if failure.is_not_found() => Err(BackupError::StoreDamaged(Damage::new(
                Place::File(layout::chunk(chunk.id)),
                Reject::Missing,
            ))),
            Err(failure) => Err(self.shelf.failed(failure)),
        }
    }

    fn copy_chunk(&mut self, chunk: &BackedChunk, path: &Path) -> Result<(), BackupError> {
        let file = self
            .engine
            .disk
            .open(&layout::chunk(chunk.id), OpenMode::Read)?;
        // Its length and its footer, over which no digest is.
        let (disk, store) = (self.engine.disk.as_ref(), self.engine.store);
        match ChunkReader::open(disk, store, chunk.id, Some(&chunk.identity())) {
            Ok(_) => {}
            Err(ReadError::Damaged(damage)) => return Err(BackupError::StoreDamaged(damage)),
            Err(error) => return Err(error.into()),
        }
        let mut sink = self.begin(path)?;
        let mut digest = ChunkHasher::new(chunk.bytes);
        let (engine, options, told) = (self.engine, self.options, &mut self.told);
        let copied = copy_file(file.as_ref(), chunk.bytes, &mut sink, |piece| {
            engine.check_going_on(options)?;
            digest.update(piece);
            told.done(BackupStage::Chunks, piece.len() as u64);
            Ok(())
        });
        copied.map_err(|error| self.of_copy(error))?;
        if digest.finish() != chunk.identity().digest {
            return Err(damaged_chunk(chunk));
        }
        sink.finish(path, None)
            .map_err(|failure| self.shelf.failed(failure))?;
        Ok(())
    }

    fn write_rows(
        &mut self,
        number: u64,
        rows: &[crate::manifest::Write],
    ) -> Result<FileProof, BackupError> {
        let path = names::rows(number);
        let mut sink = self.begin(&path)?;
        let failed = |failure| self.shelf.failed(failure);
        encode_rows(rows, &mut sink).map_err(failed)?;
        let proof = sink.finish(&path, None).map_err(failed)?;
        self.counts.copied_bytes += proof.bytes;
        Ok(proof)
    }

    fn of_copy(&self, error: CopyError<BackupError>) -> BackupError {
        match error {
            CopyError::From(error) => error,
            CopyError::To(failure) => self.shelf.failed(failure),
        }
    }
}

/// Whether a file can have no other name there, as opposed to why it has none.
fn is_no_link(failure: &IoFailure) -> bool {
    let no = [EXDEV, EPERM, EACCES, EMLINK, ENOSYS, EINVAL, EOPNOTSUPP];
    no.contains(&failure.errno)
}
