//! The works of the page store and the cache: `cargo xtask bench pages`.
//!
//! Never: runs anything.

use super::log_works::{OPEN_1G, OPEN_1G_RE, VERIFY_1G};
use super::works::{Figure, Kind, Pair, Program, Work, pair, work};

/// Selects that a side counts as one operation.
const SELECTS: f64 = 100.0;
/// The same, of reads of a page.
const READS: f64 = 1000.0;

const fn table(what: &'static str, threads: usize, figure: Figure) -> Pair {
    let ours = Program::bop(what, 1, threads);
    pair(ours, Program::sqlite(what, 1, threads), figure)
}

const fn selects(threads: usize) -> Kind {
    Kind::Pairs(table("select", threads, Figure::Reads(SELECTS)))
}

const fn checkpoint(what: &'static str, databases: usize) -> Kind {
    let ours = Program::bop(what, databases, 1);
    let theirs = Program::sqlite(what, databases, 1);
    Kind::Pairs(pair(ours, theirs, Figure::Seconds))
}

const SCAN_WARM: Kind = Kind::Pairs(table("scan", 1, Figure::Seconds));

const SCAN_COLD: Kind = Kind::Open(table("scan-cold", 1, Figure::Seconds), "load");

/// Forks against something that is done in as many seconds, or more.
const fn forks(what: &'static str, against: &'static str, named: &'static str) -> Kind {
    let theirs = Program::bop(against, 1, 1).named(named);
    Kind::Pairs(pair(Program::bop(what, 1, 1), theirs, Figure::Seconds))
}

const P99_CKPT: Pair = pair(
    Program::bop("commit-beside", 16, 16),
    Program::bop("commit-alone", 16, 16).named("bop alone"),
    Figure::P99,
);

const CACHED_PAGE: Pair = pair(
    Program::bop("cached-page", 1, 1),
    Program::bop("quick-cache", 1, 1).named("quick_cache"),
    Figure::Reads(READS),
);

const SPACE: Kind = Kind::Shared(table("space", 1, Figure::StoredBytes));

/// The table.
pub(super) const PAGES: &[Work] = &[
    work("select-1t", 1.0, 1.3, selects(1)),
    work("select-2t", 1.0, 1.3, selects(2)),
    work("scan-warm", 0.9, 1.2, SCAN_WARM),
    work("scan-cold", 1.0, 2.0, SCAN_COLD),
    work(
        "fork-2g",
        500.0,
        5000.0,
        forks("fork-large", "copy-large", "a copy with fsync"),
    ),
    work(
        "fork-flat",
        0.5,
        1.0,
        forks("fork-large", "fork-small", "20 MiB"),
    ),
    work(
        "fork-flat-ranges",
        0.5,
        1.0,
        forks("fork-ranges", "fork-small", "one range"),
    ),
    work("ckpt-1g", 2.0, 5.0, checkpoint("checkpoint", 1)),
    work(
        "ckpt-10000",
        2.0,
        6.0,
        checkpoint("checkpoint-many", 10_000),
    ),
    work("p99-ckpt", 0.33, 0.67, Kind::Pairs(P99_CKPT)),
    work("open-1g", 2.0, 10.0, OPEN_1G),
    work("open-1g-re", 0.3, 1.0, OPEN_1G_RE),
    work("verify-1g", 0.6, 0.9, VERIFY_1G),
    work("cached-page", 0.5, 0.8, Kind::Pairs(CACHED_PAGE)),
    work("space", 0.9, 2.0, SPACE),
];
