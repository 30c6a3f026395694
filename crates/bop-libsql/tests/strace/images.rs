//! Power cuts of a real process, with LMDB's and SQLite's code in it: each call that changes a file is recorded
//! from outside, and what a disk may hold at any moment of that is opened and looked at.
//!
//! The engine's own crash suite simulates the disk, and the manifest's commits as a whole. Here log,
//! chunks and the pages of the manifest are cut together, as they reached the kernel.

use crate::child::{DATABASE, Shape, WIDTH, text_of};
use crate::medium::{Keep, Medium};
use crate::{Traced, common, made, strace_works, to_be_had, traced};
use bop_libsql::{Connection, Store};
use bop_storage::io::IoBackend;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// All calls that the kernel has for changing files, in case somebody begins to use them.
const RECORDED: &str = "trace=openat,open,creat,mkdir,mkdirat,unlink,unlinkat,rmdir,rename,renameat,renameat2,\
                        link,linkat,symlink,symlinkat,truncate,ftruncate,fallocate,lseek,write,writev,pwrite64,\
                        pwritev,pwritev2,copy_file_range,sendfile,splice,fsync,fdatasync,msync,sync,syncfs,\
                        sync_file_range,io_uring_enter";

const COMMITS: u32 = 150;

/// What is made of each cut.
const KEEPS: [Keep; 4] = [Keep::Nothing, Keep::Everything, Keep::Some, Keep::Some];

#[test]
fn whatever_a_power_cut_leaves_has_what_was_acknowledged_and_is_whole() {
    if !strace_works() {
        return;
    }
    let images = match std::env::var("BOP_RECORDED_IMAGES") {
        Ok(images) => images.parse().unwrap(),
        Err(_) => 80,
    };
    let shapes = to_be_had([
        (IoBackend::Std, Shape::RollingBuffered),
        (IoBackend::Direct, Shape::RollingDirect),
    ]);
    let each = images / shapes.len();
    for shape in shapes {
        let cut = cut_everywhere(shape, each);
        println!("proved: {cut} recorder images");
        assert!(cut >= each, "{shape:?}: {cut} images");
    }
}

/// Looks at so many images or more, of cuts from the child's first call to its last.
fn cut_everywhere(shape: Shape, images: usize) -> usize {
    let dir = made(shape);
    let mut medium = Medium::of(dir.path());
    let traced = traced(dir, shape, COMMITS, RECORDED, &[]);
    assert_eq!(traced.done().len(), COMMITS as usize, "{shape:?}");
    let mut random = common::Random::new();
    let mut moments: Vec<(usize, bool, usize)> = Vec::new();
    for (nth, call) in traced.calls.iter().enumerate() {
        moments.push((call.began, false, nth));
        moments.push((call.returned, true, nth));
    }
    moments.sort_unstable();
    let stride = (moments.len() * KEEPS.len() / images).max(1);
    let first = usize::try_from(random.below(stride as u64)).unwrap();
    let mut cut = 0;
    for (nth, (moment, has_returned, call)) in moments.into_iter().enumerate() {
        if nth % stride == first {
            let said = Said::before(moment, &traced);
            for keep in KEEPS {
                let image = TempDir::new().unwrap();
                medium.leave(image.path(), keep, &mut random);
                if let Err(why) = judge(image.path(), shape, WIDTH, &said) {
                    let kept = image.keep();
                    panic!(
                        "cut before line {moment}, {keep:?}: {why}; see {}",
                        kept.display()
                    );
                }
                cut += 1;
            }
        }
        let call = &traced.calls[call];
        match has_returned {
            false => medium.begin(call),
            true => medium.end(call),
        }
    }
    cut
}

/// What a child had announced when it ended.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Said {
    /// Commits that were acknowledged.
    pub(crate) done: i64,
    /// Commits that were begun.
    pub(crate) begun: i64,
}

impl Said {
    /// Before a line of the trace.
    fn before(moment: usize, traced: &Traced) -> Self {
        let count = |what: &str| {
            let before = traced.calls.iter().filter(|call| call.began < moment);
            let said = before.filter(|call| call.name == "write" && call.arguments.contains(what));
            i64::try_from(said.count()).unwrap()
        };
        Self {
            done: count("@done "),
            begun: count("@pending "),
        }
    }
}

/// Opens what is left, twice: all that was acknowledged is there, and no more than was begun, in whole
/// rows, and every checksum is right.
pub(crate) fn judge(image: &Path, shape: Shape, width: usize, said: &Said) -> Result<(), String> {
    let Said { done, begun } = *said;
    let mut before = None;
    for nth in ["first", "second"] {
        let store = Store::open(image, shape.options())
            .map_err(|error| format!("the {nth} opening: {error}"))?;
        let connection = store.connect(DATABASE).map_err(|error| error.to_string())?;
        let rows = entries(&connection).map_err(|error| error.to_string())?;
        let count = i64::try_from(rows.len()).unwrap();
        if !(done..=begun).contains(&count) {
            return Err(format!(
                "{count} rows, {done} were acknowledged and {begun} begun"
            ));
        }
        let right = (1..)
            .zip(rows)
            .all(|(nth, row)| row == (nth, text_of(nth).repeat(width)));
        if !right || before.is_some_and(|before| before != count) {
            return Err(format!(
                "other rows than were written, at the {nth} opening"
            ));
        }
        before = Some(count);
        let integrity = common::integrity(&connection);
        let report = store.manager().verify();
        if integrity != "ok" || !report.findings.is_empty() {
            return Err(format!(
                "{integrity}, {:?}, at the {nth} opening",
                report.findings
            ));
        }
        drop(connection);
        let closed = store.manager().close(Duration::from_secs(10));
        closed.map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn entries(connection: &Connection) -> Result<Vec<(u32, String)>, rusqlite::Error> {
    let mut all = connection.prepare("SELECT number, content FROM entry ORDER BY number")?;
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
