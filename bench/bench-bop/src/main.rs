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

mod gigabyte;
mod manifest;
mod pages;
mod records;
mod sql;

use bench_work::{Args, Result};

fn main() -> Result<()> {
    let args = Args::parse()?;
    match args.work.as_str() {
        "sql" => sql::inserts(&args, sql::Promise::Full),
        "sql-relaxed" => sql::inserts(&args, sql::Promise::Relaxed),
        "create" => sql::creations(&args),
        "manifest" => manifest::batched(&args),
        "lmdb" => manifest::alone(&args),
        "rec" => records::appends(&args),
        "page" => pages::commits(&args),
        "stream" => pages::stream(&args),
        "fair-alone" => pages::fair(&args, false),
        "fair-beside" => pages::fair(&args, true),
        "fill" => gigabyte::fill(&args),
        "open" => gigabyte::open(&args),
        "verify" => gigabyte::verify(&args),
        _ => args.unknown(),
    }
}
