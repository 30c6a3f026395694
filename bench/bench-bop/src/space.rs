//! What text occupies.

use crate::selects::{budget_bytes, options};
use crate::table;
use bench_work::{Args, COPIES, Loop, Result, Side, occupied_bytes};
use bop_libsql::Store;

/// The store's files after a checkpoint: all of them, log and manifest included.
pub(crate) fn text(args: &Args) -> Result<()> {
    let path = args.dir.join("store");
    let store = Store::open(&path, options(1))?;
    let source = table::source(&args.dir)?;
    table::scale_up(&*store.connect("text")?, &source, COPIES)?;
    store.manager().checkpoint()?;
    store.manager().keep_house();
    let (all, chunks) = (
        occupied_bytes(&path)?,
        occupied_bytes(&path.join("chunks"))?,
    );
    let side = Side::new(format!("bop, {chunks} of its bytes are chunks"));
    let side = side.stored_bytes(all).budget_bytes(budget_bytes());
    side.serve(args, |post| post.serve(Loop::ONCE, |_| Ok(())))
}
