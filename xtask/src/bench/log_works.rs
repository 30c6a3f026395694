//! The works of the log: `cargo xtask bench log`.
//!
//! Never: runs anything.

use super::works::{Figure, Kind, Pair, Program, Work, pair, work};

const fn sql(databases: usize, threads: usize) -> Pair {
    let ours = Program::bop("sql", databases, threads);
    pair(
        ours,
        Program::sqlite("sql", databases, threads),
        Figure::Rate,
    )
}

/// Beside a thread for each processor that computes all the time.
const SQL_BUSY: Pair = pair(
    Program::bop("sql-busy", 8, 8),
    Program::sqlite("sql-busy", 8, 8),
    Figure::Rate,
);

const fn bytes(databases: usize) -> Kind {
    let ours = Program::bop("sql", databases, databases);
    let theirs = Program::sqlite("bytes", databases, databases);
    Kind::Pairs(pair(ours, theirs, Figure::LogBytes))
}

const PAGE_64: Pair = pair(
    Program::bop("page", 64, 64),
    Program::raft_engine("page", 64, 64),
    Figure::Rate,
);

const SQL_RELAXED: Pair = pair(
    Program::bop("sql-relaxed", 64, 64),
    Program::sqlite("sql-relaxed", 64, 64),
    Figure::Rate,
);

const fn records(logs: usize) -> Kind {
    let ours = Program::bop("rec", logs, logs);
    let theirs = Program::raft_engine("rec", logs, logs);
    Kind::Pairs(pair(ours, theirs, Figure::Rate))
}

/// A commit is 16 MiB, a raw write 1 MiB.
const STREAM: Pair = pair(
    Program::bop("stream", 1, 1),
    Program::raw("stream"),
    Figure::Mib(16.0, 1.0),
);

pub(super) const OPEN_1G: Kind = Kind::Open(
    pair(
        Program::bop("open", 64, 64),
        Program::sqlite("open", 1, 1),
        Figure::Seconds,
    ),
    "fill",
);

pub(super) const OPEN_1G_RE: Kind = Kind::Open(
    pair(
        Program::bop("open", 64, 64),
        Program::raft_engine("open", 64, 1),
        Figure::Seconds,
    ),
    "fill",
);

pub(super) const VERIFY_1G: Kind = Kind::Verify(pair(
    Program::bop("verify", 64, 64),
    Program::raw("read"),
    Figure::Seconds,
));

const FAIR: Pair = pair(
    Program::bop("fair-beside", 63, 63),
    Program::bop("fair-alone", 63, 63).named("bop alone"),
    Figure::P99,
);

const P99_SOCKET: Pair = pair(
    Program::bop("socket-beside", 64, 64),
    Program::bop("socket-alone", 64, 64).named("bop, unasked"),
    Figure::P99,
);

const MANIFEST_BATCH: Pair = pair(
    Program::bop("manifest", 64, 64),
    Program::bop("lmdb", 64, 64).named("LMDB"),
    Figure::Changes,
);

const CREATE_10000: Pair = pair(
    Program::bop("create", 10_000, 64),
    Program::sqlite("create", 10_000, 64),
    Figure::Databases,
);

/// The table.
pub(super) const LOG: &[Work] = &[
    work("sql-1db", 1.05, 1.2, Kind::Pairs(sql(1, 1))),
    work("sql-8db", 1.3, 1.7, Kind::Pairs(sql(8, 8))),
    work("sql-64db", 5.0, 10.0, Kind::Pairs(sql(64, 64))),
    work("sql-256db", 5.0, 9.0, Kind::Pairs(sql(256, 256))),
    work("sql-256db-best", 3.0, 5.0, Kind::BestThreads(sql(256, 256))),
    work("sql-8db-busy", 0.7, 1.0, Kind::Pairs(SQL_BUSY)),
    work("sql-relaxed", 2.0, 4.0, Kind::Pairs(SQL_RELAXED)),
    work("sql-10000db", 4.0, 8.0, Kind::Opened(sql(10_000, 64))),
    work("page-64", 1.4, 2.0, Kind::Pairs(PAGE_64)),
    work("rec-64", 1.3, 2.0, records(64)),
    work("rec-256", 1.1, 1.6, records(256)),
    work("stream", 0.8, 0.95, Kind::Pairs(STREAM)),
    work("open-1g", 2.0, 10.0, OPEN_1G),
    work("open-1g-re", 0.3, 1.0, OPEN_1G_RE),
    work("verify-1g", 0.6, 0.9, VERIFY_1G),
    work("bytes-1", 1.0, 1.0, bytes(1)),
    work("bytes-64", 4.0, 10.0, bytes(64)),
    work("fair", 0.2, 0.5, Kind::Pairs(FAIR)),
    work("p99-socket", 0.5, 0.8, Kind::Pairs(P99_SOCKET)),
    work("manifest-batch", 20.0, 50.0, Kind::Pairs(MANIFEST_BATCH)),
    work("create-10000", 5.0, 20.0, Kind::Pairs(CREATE_10000)),
];
