//! The canaries, each with the tests that must find it. Data alone.

/// A planted bug and its hunt.
pub(super) struct Canary {
    /// As `bop_storage::canary` calls it.
    pub(super) name: &'static str,
    /// The test program: `PACKAGE` for a library's own tests, else `PACKAGE/TEST`.
    pub(super) program: &'static str,
    /// The tests in it.
    pub(super) filter: &'static str,
    /// What a hunt says that has found it.
    pub(super) words: &'static str,
}

const fn canary(
    name: &'static str,
    program: &'static str,
    filter: &'static str,
    words: &'static str,
) -> Canary {
    Canary {
        name,
        program,
        filter,
        words,
    }
}

const STORAGE: &str = "bop-storage";
const CRASH: &str = "bop-storage/crash";
const ENGINE: &str = "bop-storage/engine";
const PAST: &str = "bop-storage/past";

pub(super) const CANARIES: &[Canary] = &[
    canary(
        "ack-before-sync",
        CRASH,
        "images::power_cuts_of_real_files",
        "lost acknowledged commit",
    ),
    canary("retry-fsync", CRASH, "faults::one_change_fails", ""),
    canary("no-incarnation", STORAGE, "log::format::codec_tests::", ""),
    canary(
        "no-directory-sync",
        CRASH,
        "images::power_cuts_first_share",
        "",
    ),
    canary(
        "truncate-before-manifest",
        CRASH,
        "images::power_cuts_first_share",
        "",
    ),
    canary(
        "replay-past-predecessor-end",
        STORAGE,
        "log::recover::tests::abandoned::",
        "",
    ),
    canary(
        "later-batch-is-proof",
        CRASH,
        "images::power_cuts_first_share",
        "",
    ),
    canary("watermark-ignored", CRASH, "lies::", ""),
    canary(
        "append-after-torn-tail",
        CRASH,
        "images::power_cuts_first_share",
        "",
    ),
    canary("lsn-reused", CRASH, "images::power_cuts_first_share", ""),
    canary(
        "recycled-without-lease",
        "bop-storage/record_logs",
        "model::",
        "",
    ),
    canary("index-pruned-under-reader", ENGINE, "concurrent::", ""),
    canary("pages-apart-from-lsn", PAST, "window::", ""),
    canary(
        "waiter-publishes",
        STORAGE,
        "log::models::publication::",
        "",
    ),
    canary("lost-hand-off", STORAGE, "log::models::hand_off::", ""),
    canary("patch-base-unchecked", STORAGE, "db::resolve::tests::", ""),
    canary(
        "chain-committed-early",
        STORAGE,
        "log::recover::tests::damage::",
        "",
    ),
    canary("group-record-split", ENGINE, "ways_to_commit::", ""),
    canary("tombstone-ignored", ENGINE, "dropped::", ""),
    canary("chunk-id-reused", PAST, "model::without_a_window", ""),
    canary("holder-forgotten", PAST, "model::without_a_window", ""),
    canary(
        "cursor-ignored",
        "bop-storage/manifest",
        "commit_cursors::",
        "",
    ),
    canary("no-change-counter", "bop-sqlite", "", ""),
    canary("undo-before-reset", "bop-libsql", "session::tests::", ""),
];
