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
        "images::power_cuts_first_share",
        "lost acknowledged commit",
    ),
    canary(
        "retry-fsync",
        CRASH,
        "faults::one_change_fails",
        "one_change_fails",
    ),
    canary(
        "no-incarnation",
        STORAGE,
        "log::format::codec_tests::",
        "in_its_place_and_nowhere_else",
    ),
    canary(
        "no-directory-sync",
        CRASH,
        "images::power_cuts_first_share",
        "finds damage",
    ),
    canary(
        "truncate-before-manifest",
        CRASH,
        "images::power_cuts_first_share",
        "watermarks_are_monotone",
    ),
    canary(
        "replay-past-predecessor-end",
        STORAGE,
        "log::recover::judge::tests::",
        "what_the_next_segment_cuts_off_is_dead",
    ),
    canary(
        "later-batch-is-proof",
        STORAGE,
        "log::recover::tests::ordinary::",
        "a_torn_tail_ends_the_log",
    ),
    canary(
        "watermark-ignored",
        CRASH,
        "lies::",
        "a_lost_write_is_found",
    ),
    canary(
        "append-after-torn-tail",
        CRASH,
        "images::power_cuts_first_share",
        "finds damage",
    ),
    canary(
        "lsn-reused",
        ENGINE,
        "ways_to_commit::no_place",
        "somebody_has_seen",
    ),
    canary(
        "recycled-without-lease",
        "bop-storage/record_logs",
        "model::",
        "Damaged",
    ),
    canary(
        "index-pruned-under-reader",
        ENGINE,
        "concurrent::",
        "of the snapshot at",
    ),
    canary(
        "pages-apart-from-lsn",
        PAST,
        "window::",
        "every_place_of_a_random_history",
    ),
    canary(
        "waiter-publishes",
        STORAGE,
        "log::models::publication::",
        "and not visible",
    ),
    canary(
        "lost-hand-off",
        STORAGE,
        "log::models::hand_off::",
        "deadlock",
    ),
    canary(
        "patch-base-unchecked",
        STORAGE,
        "db::resolve::tests::",
        "never_a_page",
    ),
    canary(
        "chain-committed-early",
        STORAGE,
        "log::recover::tests::damage::",
        "a_missing_fragment",
    ),
    canary(
        "group-record-split",
        ENGINE,
        "ways_to_commit::",
        "a_group_is_there_as_a_whole",
    ),
    canary(
        "tombstone-ignored",
        ENGINE,
        "dropped::",
        "a_drop_is_taken_back",
    ),
    canary(
        "chunk-id-reused",
        PAST,
        "model::without_a_window",
        "snapshots_and_forks_keep_what_they_name",
    ),
    canary(
        "holder-forgotten",
        PAST,
        "model::without_a_window",
        "snapshots_and_forks_keep_what_they_name",
    ),
    canary(
        "cursor-ignored",
        "bop-storage/manifest",
        "commit_cursors::",
        "cursor_log_bytes",
    ),
    canary(
        "no-change-counter",
        "bop-sqlite",
        "",
        "those_of_others_do_not",
    ),
    canary(
        "undo-before-reset",
        "bop-libsql",
        "session::tests::",
        "undo_forgets_first",
    ),
];
