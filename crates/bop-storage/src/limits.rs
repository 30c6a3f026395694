//! Every bound of a store, in one struct that checks itself.
//!
//! Invariant: a [`ValidLimits`] exists only when every bound is inside its range and they fit each
//! other, so nothing behind [`Limits::validated`] checks them again.
//!
//! Never: grows a bound at run time.

use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Lsns that may have been given out and never became durable: after an unclean stop the next base
/// lies this far behind everything that was seen.
pub(crate) const UNCLEAN_GAP_BYTES: u64 = 128 * MIB;

/// The bounds of a store. Units stand last in each name.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The first segments of a store are this large.
    pub segment_bytes_min: u64,
    /// Segments double up to this size.
    pub segment_bytes_max: u64,
    /// Spare segments kept ready. While more than half of them are left, others are made when no segment was
    /// filled for a tenth of a second.
    pub segments_spare_min: u32,
    /// The log's cap: a checkpoint starts at half at the latest, commits get slower from three quarters on
    /// and wait at full. What was let in before may begin a segment, which comes on top.
    pub log_bytes_max: u64,
    /// Bytes of the log that are kept for cursors over commits alone: segments that nobody else needs. It
    /// is part of the log's cap, and gives way where the log itself comes near that: more than half of
    /// `log_bytes_max` counts as half. 0 keeps nothing for them.
    pub cursor_log_bytes_max: u64,
    /// A checkpoint starts when the log is as large as the chunks, but not below this.
    pub checkpoint_log_bytes_min: u64,
    /// Bytes of the device that are kept for checkpoints, for when it has no others: as many as the log has,
    /// but not more than these. 0 keeps none.
    pub checkpoint_reserve_bytes_max: u64,
    /// Bytes of small batches that are in memory until a checkpoint has them, so that it need not read the blocks that
    /// they take in the log. 0 keeps none.
    pub log_kept_bytes_max: u64,
    /// Sealed segments that start a checkpoint, however small they are.
    pub log_sealed_segments_max: u32,
    /// A larger record is cut into fragments, of half as much: one is written while the next waits and another
    /// is made.
    pub fragment_bytes_max: u64,
    /// Dirty pages of a transaction kept in memory; the rest goes to a private temporary file.
    pub transaction_memory_bytes_max: u64,
    /// Page index entries of the store: a checkpoint starts at half, commits wait at full.
    pub index_entries_max: u64,
    /// Bytes of memory that pages in the shared cache take.
    pub cache_bytes_max: u64,
    /// Chunk files that are open at a time. Each keeps the index of what was read from it: 48 bytes
    /// for a page.
    pub chunks_open_max: usize,
    /// Bytes of pages in one section of a chunk, of a store that is made now: an existing one keeps
    /// what it was made with.
    pub range_bytes: u64,
    /// Bytes of one chunk shared by several databases.
    pub pack_bytes_max: u64,
    /// Databases of a store, dropped ones that are still remembered included.
    pub databases_max: u32,
    /// Named snapshots of one database.
    pub snapshots_max: u32,
    /// How long the past of a database is kept whose owner has not said; today, how long a drop can be
    /// taken back.
    pub retention: Duration,
    /// Dropped databases that are kept so that they can be brought back.
    pub dropped_databases_max: u32,
    /// Bytes of their pages, or of the chunk files that are there for them alone, whichever is more. The
    /// newest one is kept whatever its size.
    pub dropped_bytes_max: u64,
    /// Live entries of all record logs, whose index is in memory: 32 bytes each.
    pub record_entries_max: u64,
    /// Bytes of payloads of record logs kept in memory.
    pub record_cache_bytes_max: u64,
    /// Bytes of the hard state of a record log.
    pub record_vote_bytes_max: u32,
    /// Bytes a second of record logs that are written again so that old segments can be released.
    /// Faster only while committers wait for room.
    pub relocate_bytes_per_second_max: u64,
    /// Bytes a second of chunks that are read in the background to find damage.
    pub scrub_bytes_per_second_max: u64,
    /// How often all chunks are read, though nobody asks for it; zero: never.
    pub scrub_interval: Duration,
    /// How long a writer waits for the database, or a commit for room in the log.
    pub writer_wait: Duration,
    /// Records that wait for the next batch.
    pub queue_records_max: usize,
    /// Bytes of the records that wait for the next batch.
    pub queue_bytes_max: u64,
    /// Bytes of one batch, unless a single record is larger.
    pub batch_bytes_max: u64,
    /// How long a committer waits for a write that does not return; a call that takes longer is
    /// reported as stalled. The committer whose thread is itself in the call, since it leads the
    /// batch, comes back only when the kernel lets it go, whatever the backend. Whoever needs a
    /// segment waits as long for another thread that makes one, and for another transaction of the
    /// manifest.
    pub io_deadline: Duration,
    /// A batch that failed is written into fresh segments so often, then the log is poisoned.
    pub write_retries_max: u32,
    /// The wait before the first of these attempts; it doubles with each.
    pub retry_delay_min: Duration,
    /// The longest wait between two of them.
    pub retry_delay_max: Duration,
    /// A batch whose write has not returned after this long is written into a fresh segment.
    pub stall_limit: Duration,
    /// Bytes of the aligned buffers that chunks are written and verified with.
    pub buffer_pool_bytes_max: u64,
    /// After this long without another batch, a note tells how far the log is durable.
    pub idle_note_delay: Duration,
    /// The manifest's memory map starts at this size and doubles up to the next bound.
    pub manifest_map_bytes_min: u64,
    /// The manifest never grows past this.
    pub manifest_map_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes_min: MIB,
            segment_bytes_max: 64 * MIB,
            segments_spare_min: 2,
            log_bytes_max: 1024 * MIB,
            cursor_log_bytes_max: 256 * MIB,
            checkpoint_log_bytes_min: 32 * MIB,
            checkpoint_reserve_bytes_max: 256 * MIB,
            log_kept_bytes_max: 8 * MIB,
            log_sealed_segments_max: 16,
            fragment_bytes_max: 4 * MIB,
            transaction_memory_bytes_max: 32 * MIB,
            index_entries_max: 1_500_000,
            cache_bytes_max: 256 * MIB,
            chunks_open_max: 512,
            range_bytes: 64 * MIB,
            pack_bytes_max: 64 * MIB,
            databases_max: 1_000_000,
            snapshots_max: 1024,
            retention: Duration::from_secs(24 * 60 * 60),
            dropped_databases_max: 1000,
            dropped_bytes_max: 1024 * MIB,
            record_entries_max: 4_000_000,
            record_cache_bytes_max: 16 * MIB,
            record_vote_bytes_max: 4096,
            relocate_bytes_per_second_max: 64 * MIB,
            scrub_bytes_per_second_max: 64 * MIB,
            scrub_interval: Duration::from_secs(30 * 24 * 60 * 60),
            writer_wait: Duration::from_secs(5),
            queue_records_max: 4096,
            queue_bytes_max: 64 * MIB,
            batch_bytes_max: 4 * MIB,
            io_deadline: Duration::from_secs(30),
            write_retries_max: 8,
            retry_delay_min: Duration::from_millis(10),
            retry_delay_max: Duration::from_secs(5),
            stall_limit: Duration::from_secs(120),
            buffer_pool_bytes_max: 64 * MIB,
            idle_note_delay: Duration::from_millis(50),
            manifest_map_bytes_min: MIB,
            manifest_map_bytes_max: 4096 * MIB,
        }
    }
}

/// A bound outside its range.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{limit} is {value}, it must be {must_be}")]
pub struct LimitError {
    /// The bound's name.
    pub limit: &'static str,
    /// Its value.
    pub value: u64,
    /// The rule it breaks.
    pub must_be: &'static str,
}

/// Limits that were checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValidLimits(Limits);

impl ValidLimits {
    /// The limits of a store whose chunks are cut into ranges of `range_bytes`.
    pub(crate) fn of_store(self, range_bytes: u64) -> Self {
        debug_assert!(is_range(range_bytes));
        Self(Limits {
            range_bytes,
            ..self.0
        })
    }
}

/// Whether a range can be so large.
pub(crate) fn is_range(bytes: u64) -> bool {
    bytes.is_power_of_two() && (64 * KIB..=1024 * MIB).contains(&bytes)
}

impl std::ops::Deref for ValidLimits {
    type Target = Limits;

    fn deref(&self) -> &Limits {
        &self.0
    }
}

impl Limits {
    /// Small limits, so that a test rolls, fragments, spills and checkpoints within a few pages, and
    /// does not wait long for a device that will not heal.
    pub fn tiny() -> Self {
        Self {
            segment_bytes_min: 64 * KIB,
            segment_bytes_max: 64 * KIB,
            log_bytes_max: MIB,
            cursor_log_bytes_max: 256 * KIB,
            checkpoint_log_bytes_min: 256 * KIB,
            log_kept_bytes_max: 64 * KIB,
            log_sealed_segments_max: 8,
            fragment_bytes_max: 8 * KIB,
            transaction_memory_bytes_max: 16 * KIB,
            index_entries_max: 4096,
            cache_bytes_max: 64 * KIB,
            range_bytes: 64 * KIB,
            pack_bytes_max: 256 * KIB,
            databases_max: 1000,
            snapshots_max: 16,
            dropped_databases_max: 3,
            dropped_bytes_max: 256 * KIB,
            record_cache_bytes_max: 16 * KIB,
            retry_delay_min: Duration::from_millis(1),
            retry_delay_max: Duration::from_millis(4),
            ..Self::default()
        }
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// The first bound that is outside its range.
    pub fn validated(self) -> Result<ValidLimits, LimitError> {
        self.check_log()?;
        self.check_store()?;
        // Whoever makes the log smaller need not know of this one.
        let for_cursors = self.cursor_log_bytes_max.min(self.log_bytes_max / 2);
        Ok(ValidLimits(Self {
            cursor_log_bytes_max: for_cursors,
            ..self
        }))
    }

    fn check_log(&self) -> Result<(), LimitError> {
        let (min, max) = (self.segment_bytes_min, self.segment_bytes_max);
        let segment = |n: u64| n.is_power_of_two() && (64 * KIB..=1024 * MIB).contains(&n);
        check(
            segment(min),
            "segment_bytes_min",
            min,
            "a power of two from 64 KiB to 1 GiB",
        )?;
        check(
            segment(max),
            "segment_bytes_max",
            max,
            "a power of two from 64 KiB to 1 GiB",
        )?;
        check(
            min <= max,
            "segment_bytes_min",
            min,
            "at most segment_bytes_max",
        )?;
        let spares = u64::from(self.segments_spare_min);
        check(
            (2..=64).contains(&spares),
            "segments_spare_min",
            spares,
            "from 2 to 64",
        )?;
        let log = self.log_bytes_max;
        check(
            log >= 8 * max,
            "log_bytes_max",
            log,
            "at least eight segments of the largest size",
        )?;
        let fragment = self.fragment_bytes_max;
        check(
            (4 * KIB..=64 * MIB).contains(&fragment),
            "fragment_bytes_max",
            fragment,
            "from 4 KiB to 64 MiB",
        )?;
        // The rest of the gap is for headers and padding.
        let placed = self.queue_bytes_max.saturating_add(fragment);
        check(
            placed <= UNCLEAN_GAP_BYTES - 16 * MIB,
            "queue_bytes_max",
            self.queue_bytes_max,
            "at most 112 MiB together with fragment_bytes_max",
        )?;
        Ok(())
    }

    fn check_store(&self) -> Result<(), LimitError> {
        let range = self.range_bytes;
        check(
            is_range(range),
            "range_bytes",
            range,
            "a power of two from 64 KiB to 1 GiB",
        )?;
        let pool = self.buffer_pool_bytes_max;
        check(pool >= MIB, "buffer_pool_bytes_max", pool, "at least 1 MiB")?;
        let (map_min, map_max) = (self.manifest_map_bytes_min, self.manifest_map_bytes_max);
        check(
            map_min >= 64 * KIB,
            "manifest_map_bytes_min",
            map_min,
            "at least 64 KiB",
        )?;
        check(
            map_min <= map_max,
            "manifest_map_bytes_max",
            map_max,
            "at least the minimum",
        )?;
        check(
            self.index_entries_max > 0,
            "index_entries_max",
            0,
            "at least 1",
        )?;
        let open = self.chunks_open_max as u64;
        check(open > 0, "chunks_open_max", open, "at least 1")?;
        check(self.databases_max > 0, "databases_max", 0, "at least 1")?;
        check(
            self.record_entries_max > 0,
            "record_entries_max",
            0,
            "at least 1",
        )?;
        let vote = u64::from(self.record_vote_bytes_max);
        check(
            (1..=4096).contains(&vote),
            "record_vote_bytes_max",
            vote,
            "from 1 to 4096",
        )?;
        let rate = self.relocate_bytes_per_second_max;
        check(
            rate >= MIB,
            "relocate_bytes_per_second_max",
            rate,
            "at least 1 MiB",
        )?;
        let rate = self.scrub_bytes_per_second_max;
        check(
            rate >= MIB,
            "scrub_bytes_per_second_max",
            rate,
            "at least 1 MiB",
        )
    }
}

fn check(
    holds: bool,
    limit: &'static str,
    value: u64,
    must_be: &'static str,
) -> Result<(), LimitError> {
    if holds {
        Ok(())
    } else {
        Err(LimitError {
            limit,
            value,
            must_be,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_tiny_limits_are_valid() {
        Limits::default().validated().unwrap();
        Limits::tiny().validated().unwrap();
    }

    #[test]
    fn a_smaller_log_keeps_less_for_cursors() {
        let limits = Limits {
            log_bytes_max: 512 * MIB,
            cursor_log_bytes_max: 400 * MIB,
            ..Limits::default()
        };
        let valid = limits.validated().unwrap();
        assert_eq!(valid.cursor_log_bytes_max, 256 * MIB);
    }

    #[test]
    fn a_bound_out_of_range_is_named() {
        let error = Limits {
            segment_bytes_min: 100_000,
            ..Limits::default()
        }
        .validated();
        assert_eq!(error.unwrap_err().limit, "segment_bytes_min");
    }
}
