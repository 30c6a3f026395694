//! Record logs: one entry an append, durable when it returns.

use crate::ALLOCATOR;
use bench_work::{Args, Loop, Result, Side, share};
use bop_storage::{Manager, NewEntry, Options, RecordLog};

/// Bytes of an entry.
const ENTRY_BYTES: usize = 128;
/// Entries that a log keeps.
const KEPT: u64 = 256;

/// One thread a share of the logs.
pub(crate) fn appends(args: &Args) -> Result<()> {
    let manager = Manager::open(args.dir.join("store"), Options::new())?;
    let side = Side::new(format!("bop, record logs, defaults, {ALLOCATOR}"));
    let side = side.log_bytes(|| Ok(manager.status().published.get()));
    side.serve(args, |post| {
        let mut logs = share(post.thread(), args.threads, args.databases)
            .map(|number| {
                let log = manager.create_record_log(&format!("log-{number}"))?;
                Ok((log, 1_u64))
            })
            .collect::<Result<Vec<(RecordLog, u64)>>>()?;
        let (mut turn, mut payload) = (0, [0; ENTRY_BYTES]);
        post.serve(Loop::TIMED, |random| {
            let (log, next) = &mut logs[turn];
            random.fill(&mut payload);
            log.append(&[NewEntry {
                index: *next,
                term: 1,
                payload: &payload,
            }])?;
            *next += 1;
            if next.is_multiple_of(KEPT) && *next > KEPT {
                log.purge(*next - KEPT)?;
            }
            turn = (turn + 1) % logs.len();
            Ok(())
        })
    })
}
