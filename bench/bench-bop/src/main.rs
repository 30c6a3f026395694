//! The benchmarks' work through bop: SQL over bop-libsql, pages over bop-storage.

#[cfg(not(any(feature = "mimalloc", feature = "snmalloc")))]
const ALLOCATOR: &str = "system allocator";

#[cfg(feature = "mimalloc")]
const ALLOCATOR: &str = "mimalloc";
#[cfg(feature = "mimalloc")]
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "snmalloc")]
const ALLOCATOR: &str = "snmalloc";
#[cfg(feature = "snmalloc")]
#[global_allocator]
static GLOBAL: snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc;

mod applications;
#[path = "../../sql/bank.rs"]
mod bank_sql;
mod cached;
mod checkpoints;
mod forks;
mod gigabyte;
mod manifest;
mod pages;
mod records;
mod selects;
mod socket;
mod space;
mod sql;
#[path = "../../sql/table.rs"]
mod table;

use bench_work::{Args, Result};
// The library that `table` measures.
pub(crate) use bop_libsql::rusqlite;

fn main() -> Result<()> {
    let args = Args::parse()?;
    match args.work.as_str() {
        "sql" => sql::inserts(&args, sql::Promise::Full),
        "sql-busy" => sql::inserts(&args.beside_others()?, sql::Promise::Full),
        "sql-relaxed" => sql::inserts(&args, sql::Promise::Relaxed),
        "create" => sql::creations(&args),
        "manifest" => manifest::batched(&args),
        "lmdb" => manifest::alone(&args),
        "rec" => records::appends(&args),
        "page" => pages::commits(&args),
        "stream" => pages::stream(&args),
        "fair-alone" => pages::fair(&args, false),
        "fair-beside" => pages::fair(&args, true),
        "socket-alone" => socket::inserts(&args, false),
        "socket-beside" => socket::inserts(&args, true),
        "fill" => gigabyte::fill(&args),
        "open" => gigabyte::open(&args),
        "verify" => gigabyte::verify(&args),
        "load" => selects::load(&args),
        "select" => selects::selects(&args),
        "scan" => selects::scans(&args),
        "scan-cold" => selects::scan_cold(&args),
        "checkpoint" => checkpoints::large(&args),
        "checkpoint-many" => checkpoints::many(&args),
        "commit-alone" => checkpoints::commits(&args, false),
        "commit-beside" => checkpoints::commits(&args, true),
        "fork-small" => forks::forks(&args, forks::SMALL),
        "fork-large" => forks::forks(&args, forks::LARGE),
        "fork-ranges" => forks::forks(&args, forks::RANGES),
        "copy-large" => forks::copies(&args),
        "cached-page" => cached::pages(&args),
        "quick-cache" => cached::bare(&args),
        "tpcb" => applications::transactions(&args),
        "bulk" => applications::bulk(&args),
        "ranges" => applications::ranges(&args),
        "mixed" => applications::mixed(&args),
        "open-one" => applications::open_one(&args),
        "one-db" => applications::one_database(&args),
        "space" => space::text(&args),
        _ => args.unknown(),
    }
}
