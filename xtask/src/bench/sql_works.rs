//! The works of applications over SQL: `cargo xtask bench sql`.
//!
//! Never: runs anything.

use super::works::{Figure, Kind, Program, Work, pair, work};

/// Reads that an operation of `mixed` has.
const SELECTS: f64 = 10.0;

const fn over_sql(what: &'static str, databases: usize, threads: usize, figure: Figure) -> Kind {
    let ours = Program::bop(what, databases, threads);
    let theirs = Program::sqlite(what, databases, threads);
    Kind::Pairs(pair(ours, theirs, figure))
}

const fn tpcb(databases: usize) -> Kind {
    over_sql("tpcb", databases, databases, Figure::Rate)
}

const fn tpcb_ext(databases: usize) -> Kind {
    let ours = Program::extension("tpcb-ext", databases, databases);
    let theirs = Program::sqlite("tpcb", databases, databases);
    Kind::Pairs(pair(ours, theirs, Figure::Rate))
}

/// The table.
pub(super) const SQL: &[Work] = &[
    work("tpcb-1", 1.05, 1.2, tpcb(1)),
    work("tpcb-16", 1.3, 2.5, tpcb(16)),
    work("tpcb-256", 4.0, 7.0, tpcb(256)),
    work("tpcb-ext-1", 0.9, 1.1, tpcb_ext(1)),
    work("tpcb-ext-16", 1.0, 1.3, tpcb_ext(16)),
    work("tpcb-ext-256", 2.0, 3.0, tpcb_ext(256)),
    work("bulk", 0.9, 1.5, over_sql("bulk", 1, 1, Figure::Seconds)),
    work(
        "ranges",
        1.0,
        1.3,
        over_sql("ranges", 1, 1, Figure::Reads(11.0)),
    ),
    work(
        "mixed",
        1.0,
        1.5,
        over_sql("mixed", 1, 9, Figure::Reads(SELECTS)),
    ),
    work(
        "open-one",
        2.0,
        5.0,
        over_sql("open-one", 10_000, 1, Figure::Databases),
    ),
    work(
        "one-db-64",
        1.0,
        2.0,
        over_sql("one-db", 1, 64, Figure::Rate),
    ),
];
