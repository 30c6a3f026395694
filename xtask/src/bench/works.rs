//! The works: what is compared with what, and how much of the peer's speed is wanted.
//!
//! Never: runs anything.

/// One line of the table.
pub(crate) struct Work {
    /// Its name and its aims.
    pub(crate) want: Want,
    /// Whose programs do it, and how.
    pub(crate) kind: Kind,
}

/// What is wanted of a work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    /// The work's name.
    pub(crate) id: &'static str,
    /// The ratio that must be reached.
    pub(crate) at_least: f64,
    /// The ratio that is aimed at.
    pub(crate) aim: f64,
}

/// How a work is measured.
pub(crate) enum Kind {
    /// Slices in turns.
    Pairs(Pair),
    /// The same, with that number of threads at which each side is fastest.
    BestThreads(Pair),
    /// The time to open what a kill left, a process each time.
    Open(Pair),
    /// The time to verify a log, against reading its files.
    Verify(Pair),
}

/// Two programs, and the figure that is compared.
pub(crate) struct Pair {
    pub(crate) ours: Program,
    pub(crate) theirs: Program,
    pub(crate) figure: Figure,
}

/// One side of a pair.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// What people call it.
    pub(crate) name: &'static str,
    /// The executable.
    pub(crate) binary: &'static str,
    /// The work, in its words.
    pub(crate) work: &'static str,
    /// Databases, regions, logs.
    pub(crate) databases: usize,
    /// Threads that write.
    pub(crate) threads: usize,
}

/// What is read off a slice.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Figure {
    /// Commits a second.
    Rate,
    /// The same, of changes of the manifest.
    Changes,
    /// The same, of new databases.
    Databases,
    /// MiB a second, an operation being so many MiB; by side, ours first.
    Mib(f64, f64),
    /// Log bytes an operation.
    LogBytes,
    /// The latency that one in a hundred operations exceeds.
    P99,
    /// Seconds an operation.
    Seconds,
}

impl Figure {
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Rate => "commits/s",
            Self::Changes => "changes/s",
            Self::Databases => "databases/s",
            Self::Mib(..) => "MiB/s",
            Self::LogBytes => "bytes/commit",
            Self::P99 => "us",
            Self::Seconds => "s",
        }
    }

    /// Whether more is better.
    pub(crate) fn grows(self) -> bool {
        matches!(
            self,
            Self::Rate | Self::Changes | Self::Databases | Self::Mib(..)
        )
    }
}

/// Which works belong together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Set {
    /// All of them.
    Log,
    /// Through the page API.
    Pages,
    /// Through SQL.
    Sql,
}

impl Set {
    pub(crate) fn has(self, work: &Work) -> bool {
        let sql = work.want.id.starts_with("sql")
            || work.want.id.starts_with("bytes")
            || work.want.id.starts_with("create");
        match self {
            Self::Log => true,
            Self::Pages => !sql,
            Self::Sql => sql,
        }
    }
}

impl Program {
    const fn new(
        name: &'static str,
        binary: &'static str,
        work: &'static str,
        databases: usize,
        threads: usize,
    ) -> Self {
        Self {
            name,
            binary,
            work,
            databases,
            threads,
        }
    }

    pub(crate) const fn bop(work: &'static str, databases: usize, threads: usize) -> Self {
        Self::new("bop", "bench-bop", work, databases, threads)
    }

    const fn sqlite(work: &'static str, databases: usize, threads: usize) -> Self {
        Self::new("SQLite", "bench-sqlite", work, databases, threads)
    }

    const fn raft_engine(work: &'static str, regions: usize, threads: usize) -> Self {
        Self::new("raft-engine", "bench-raft-engine", work, regions, threads)
    }

    pub(crate) const fn raw(work: &'static str) -> Self {
        Self::new("raw device", "bench-raw", work, 1, 1)
    }

    const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

const fn pair(ours: Program, theirs: Program, figure: Figure) -> Pair {
    Pair {
        ours,
        theirs,
        figure,
    }
}

const fn sql(databases: usize, threads: usize) -> Pair {
    let ours = Program::bop("sql", databases, threads);
    pair(
        ours,
        Program::sqlite("sql", databases, threads),
        Figure::Rate,
    )
}

const fn bytes(databases: usize) -> Kind {
    let ours = Program::bop("sql", databases, databases);
    let theirs = Program::sqlite("bytes", databases, databases);
    Kind::Pairs(pair(ours, theirs, Figure::LogBytes))
}

const fn work(id: &'static str, at_least: f64, aim: f64, kind: Kind) -> Work {
    let want = Want { id, at_least, aim };
    Work { want, kind }
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

const OPEN: Pair = pair(
    Program::bop("open", 64, 64),
    Program::sqlite("open", 1, 1),
    Figure::Seconds,
);

const OPEN_RE: Pair = pair(
    Program::bop("open", 64, 64),
    Program::raft_engine("open", 64, 1),
    Figure::Seconds,
);

const VERIFY: Pair = pair(
    Program::bop("verify", 64, 64),
    Program::raw("read"),
    Figure::Seconds,
);

const FAIR: Pair = pair(
    Program::bop("fair-beside", 63, 63),
    Program::bop("fair-alone", 63, 63).named("bop alone"),
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
pub(crate) const ALL: &[Work] = &[
    work("sql-1db", 1.05, 1.2, Kind::Pairs(sql(1, 1))),
    work("sql-8db", 1.3, 1.7, Kind::Pairs(sql(8, 8))),
    work("sql-64db", 5.0, 10.0, Kind::Pairs(sql(64, 64))),
    work("sql-256db", 5.0, 9.0, Kind::Pairs(sql(256, 256))),
    work("sql-256db-best", 3.0, 5.0, Kind::BestThreads(sql(256, 256))),
    work("sql-relaxed", 2.0, 4.0, Kind::Pairs(SQL_RELAXED)),
    work("sql-10000db", 4.0, 8.0, Kind::Pairs(sql(10_000, 64))),
    work("page-64", 1.4, 2.0, Kind::Pairs(PAGE_64)),
    work("rec-64", 1.3, 2.0, records(64)),
    work("rec-256", 1.1, 1.6, records(256)),
    work("stream", 0.8, 0.95, Kind::Pairs(STREAM)),
    work("open-1g", 2.0, 10.0, Kind::Open(OPEN)),
    work("open-1g-re", 0.3, 1.0, Kind::Open(OPEN_RE)),
    work("verify-1g", 0.6, 0.9, Kind::Verify(VERIFY)),
    work("bytes-1", 1.0, 1.0, bytes(1)),
    work("bytes-64", 4.0, 10.0, bytes(64)),
    work("fair", 0.2, 0.5, Kind::Pairs(FAIR)),
    work("manifest-batch", 20.0, 50.0, Kind::Pairs(MANIFEST_BATCH)),
    work("create-10000", 5.0, 20.0, Kind::Pairs(CREATE_10000)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_has_its_own_name_and_an_aim_no_lower_than_what_must_be() {
        for (index, Work { want, .. }) in ALL.iter().enumerate() {
            assert!(want.at_least <= want.aim, "{}", want.id);
            let others = &ALL[index + 1..];
            assert!(
                others.iter().all(|other| other.want.id != want.id),
                "{}",
                want.id
            );
        }
    }

    #[test]
    fn the_two_halves_are_the_whole() {
        for work in ALL {
            assert!(Set::Log.has(work) && Set::Sql.has(work) != Set::Pages.has(work));
        }
    }
}
