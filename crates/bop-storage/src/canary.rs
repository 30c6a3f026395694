//! Bugs on purpose: each is one that an engine of this kind has had, planted where it would be made. A suite
//! that does not find it proves nothing about it.
//!
//! They are in builds with `--cfg bop_canary` alone, where the environment variable `BOP_CANARY` names the one
//! that is planted. `cargo xtask canaries` makes that build, once, and runs for each what must find it.
//!
//! Invariant: without the flag [`is_planted`] is a constant, and nothing of this is left in a build.
//!
//! Never: planted in a build that anybody uses.

/// A bug.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Canary {
    /// Commits are acknowledged that the device has not made durable.
    AckBeforeSync,
    /// A sync that failed is done again, and believed.
    RetryFsync,
    /// Checksums do not know in which of its lives a segment's file is.
    NoIncarnation,
    /// The names of new segments are not made durable.
    NoDirectorySync,
    /// The log is released before the manifest has what was in it.
    TruncateBeforeManifest,
    /// A segment is replayed past the place where the next one says that it ends.
    ReplayPastPredecessorEnd,
    /// A sound batch is taken for a proof that everything before it was durable.
    LaterBatchIsProof,
    /// The watermarks in batch headers count for nothing.
    WatermarkIgnored,
    /// After a torn tail the log goes on in the same segment.
    AppendAfterTornTail,
    /// After a crash the log goes on with positions that may have been given out.
    LsnReused,
    /// Segments are released whoever needs them.
    RecycledWithoutLease,
    /// A checkpoint takes the layers from readers of older commits, too.
    IndexPrunedUnderReader,
    /// The pages of a state are looked up apart from its commit.
    PagesApartFromLsn,
    /// The end of the log is told before the commits are visible, as if each waiter published its own.
    WaiterPublishes,
    /// A leader that ends leaves the turn to nobody.
    LostHandOff,
    /// A patch is believed on whatever page it is laid.
    PatchBaseUnchecked,
    /// A large transaction counts though parts of it are missing.
    ChainCommittedEarly,
    /// A transaction over several databases is one record for each.
    GroupRecordSplit,
    /// A drop leaves its database in the catalogue, as it was.
    TombstoneIgnored,
    /// After a restart chunks get numbers that others have had.
    ChunkIdReused,
    /// One state too few is counted as needed.
    HolderForgotten,
    /// The log is released whatever cursors have not read.
    CursorIgnored,
    /// SQLite is not told that somebody else has committed.
    NoChangeCounter,
    /// A rollback reads pages back while the private ones are still there.
    UndoBeforeReset,
}

#[cfg(bop_canary)]
use Canary::*;

/// Each with its name.
#[cfg(bop_canary)]
const NAMES: [(&str, Canary); 24] = [
    ("ack-before-sync", AckBeforeSync),
    ("retry-fsync", RetryFsync),
    ("no-incarnation", NoIncarnation),
    ("no-directory-sync", NoDirectorySync),
    ("truncate-before-manifest", TruncateBeforeManifest),
    ("replay-past-predecessor-end", ReplayPastPredecessorEnd),
    ("later-batch-is-proof", LaterBatchIsProof),
    ("watermark-ignored", WatermarkIgnored),
    ("append-after-torn-tail", AppendAfterTornTail),
    ("lsn-reused", LsnReused),
    ("recycled-without-lease", RecycledWithoutLease),
    ("index-pruned-under-reader", IndexPrunedUnderReader),
    ("pages-apart-from-lsn", PagesApartFromLsn),
    ("waiter-publishes", WaiterPublishes),
    ("lost-hand-off", LostHandOff),
    ("patch-base-unchecked", PatchBaseUnchecked),
    ("chain-committed-early", ChainCommittedEarly),
    ("group-record-split", GroupRecordSplit),
    ("tombstone-ignored", TombstoneIgnored),
    ("chunk-id-reused", ChunkIdReused),
    ("holder-forgotten", HolderForgotten),
    ("cursor-ignored", CursorIgnored),
    ("no-change-counter", NoChangeCounter),
    ("undo-before-reset", UndoBeforeReset),
];

/// Whether the bug is in this run: never, in an ordinary build.
#[cfg(not(bop_canary))]
#[inline]
pub const fn is_planted(_: Canary) -> bool {
    false
}

/// Whether the bug is in this run.
///
/// # Panics
/// When the environment names one that there is not: a run without a bug would prove the wrong thing.
#[cfg(bop_canary)]
pub fn is_planted(canary: Canary) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Canary>> = std::sync::OnceLock::new();
    let chosen = || {
        let name = std::env::var("BOP_CANARY").ok()?;
        let found = NAMES.iter().find(|(one, _)| *one == name);
        assert!(
            found.is_some(),
            "BOP_CANARY={name}: there is no such canary"
        );
        found.map(|(_, canary)| *canary)
    };
    *CHOSEN.get_or_init(chosen) == Some(canary)
}
