//! What an engine that does nothing reaches where this runs: `cargo xtask bench ceilings`. The works with durable commits, against the
//! same peers.
//!
//! Never: runs anything.

use super::works::{Figure, Kind, Pair, Program, Work, pair, work};

const fn over_sql(what: &'static str, databases: usize, threads: usize) -> Pair {
    let ours = Program::ceiling(what, databases, threads);
    let theirs = Program::sqlite(what, databases, threads);
    pair(ours, theirs, Figure::Rate)
}

const fn sql(databases: usize) -> Kind {
    Kind::Pairs(over_sql("sql", databases, databases))
}

const fn tpcb(databases: usize) -> Kind {
    Kind::Pairs(over_sql("tpcb", databases, databases))
}

const SQL_10000: Kind = Kind::Opened(over_sql("sql", 10_000, 64));

const PAGE_64: Kind = Kind::Pairs(pair(
    Program::ceiling("page", 64, 64),
    Program::raft_engine("page", 64, 64),
    Figure::Rate,
));

/// The table.
pub(super) const CEILINGS: &[Work] = &[
    work("sql-1db", 1.05, 1.2, sql(1)),
    work("sql-8db", 1.3, 1.7, sql(8)),
    work("sql-64db", 5.0, 10.0, sql(64)),
    work("sql-256db", 5.0, 9.0, sql(256)),
    work("sql-10000db", 4.0, 8.0, SQL_10000),
    work("page-64", 1.4, 2.0, PAGE_64),
    work("tpcb-1", 1.05, 1.2, tpcb(1)),
    work("tpcb-16", 1.3, 2.5, tpcb(16)),
    work("tpcb-256", 4.0, 7.0, tpcb(256)),
];
