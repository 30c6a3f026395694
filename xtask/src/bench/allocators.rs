//! `cargo xtask bench allocators`: bop with another allocator, against bop with the system's.

use super::report::Row;
use super::works::{Figure, Pair, Program, Want};
use super::{Place, Plan, pairs};
use crate::tasks::Failure;
use std::fs;
use std::path::Path;

/// The features of `bench-bop`, and the work that each does.
const OTHERS: [(&str, &str, usize); 4] = [
    ("mimalloc", "mimalloc, 64 databases", 64),
    ("mimalloc", "mimalloc, 1 database", 1),
    ("snmalloc", "snmalloc, 64 databases", 64),
    ("snmalloc", "snmalloc, 1 database", 1),
];

/// The program with an allocator, as it is called in `target/release`.
fn binary(feature: &str) -> &'static str {
    match feature {
        "mimalloc" => "bench-bop-mimalloc",
        _ => "bench-bop-snmalloc",
    }
}

/// Builds a program for each allocator.
pub(super) fn build(root: &Path) -> Result<(), Failure> {
    let target = root.join("target");
    for feature in ["mimalloc", "snmalloc"] {
        let package = ["--package", "bench-bop", "--features", feature];
        super::build(root, &target, &package)?;
        let release = target.join("release");
        let (from, to) = (release.join("bench-bop"), release.join(binary(feature)));
        fs::copy(&from, &to).map_err(|source| super::failed("copy", from.display(), source))?;
    }
    Ok(())
}

/// Each allocator in turns with the system's.
pub(super) fn rows(place: &Place, plan: &Plan) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (feature, id, databases) in OTHERS {
        let system = Program::bop("sql", databases, databases);
        let pair = Pair {
            ours: Program {
                binary: binary(feature),
                ..system.clone()
            },
            theirs: Program {
                name: "system",
                ..system
            },
            figure: Figure::Rate,
        };
        let want = Want {
            id,
            at_least: 0.0,
            aim: 1.0,
        };
        let dir = place.data.join(binary(feature)).join(databases.to_string());
        rows.push(pairs::alternate(&want, &pair, place, &dir, plan.slices())?);
    }
    Ok(rows)
}
