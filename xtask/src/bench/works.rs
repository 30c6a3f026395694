//! What a work is: what is compared with what, and how much of the peer's speed is wanted.
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
    /// The same, of databases that stay open: as many as a process may have files for.
    Opened(Pair),
    /// The same, with that number of threads at which each side is fastest.
    BestThreads(Pair),
    /// The time of the first thing that is done with what a kill left, by a new process each time;
    /// what it left was made by this work of the same program.
    Open(Pair, &'static str),
    /// The time to verify a log, against reading its files.
    Verify(Pair),
    /// Slices in turns, of sides that need the script of the shared data.
    Shared(Pair),
}

/// Two programs, and the figure that is compared.
#[derive(Clone, Debug)]
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
    /// Reads a second, an operation being so many.
    Reads(f64),
    /// Bytes of the files.
    StoredBytes,
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
            Self::Reads(_) => "reads/s",
            Self::StoredBytes => "bytes",
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
            Self::Rate | Self::Changes | Self::Databases | Self::Reads(_) | Self::Mib(..)
        )
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

    pub(crate) const fn sqlite(work: &'static str, databases: usize, threads: usize) -> Self {
        Self::new("SQLite", "bench-sqlite", work, databases, threads)
    }

    /// Stock SQLite on a store.
    pub(crate) const fn extension(work: &'static str, databases: usize, threads: usize) -> Self {
        Self::new("extension", "bench-sqlite", work, databases, threads)
    }

    pub(crate) const fn raft_engine(work: &'static str, regions: usize, threads: usize) -> Self {
        Self::new("raft-engine", "bench-raft-engine", work, regions, threads)
    }

    pub(crate) const fn raw(work: &'static str) -> Self {
        Self::new("raw device", "bench-raw", work, 1, 1)
    }

    /// An engine that does nothing.
    pub(crate) const fn ceiling(work: &'static str, databases: usize, threads: usize) -> Self {
        Self::new("nothing", "bench-ceiling", work, databases, threads)
    }

    pub(crate) const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

pub(crate) const fn pair(ours: Program, theirs: Program, figure: Figure) -> Pair {
    Pair {
        ours,
        theirs,
        figure,
    }
}

pub(crate) const fn work(id: &'static str, at_least: f64, aim: f64, kind: Kind) -> Work {
    let want = Want { id, at_least, aim };
    Work { want, kind }
}
