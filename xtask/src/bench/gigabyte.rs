//! What a kill left, such as a log of 1 GiB: how long to open it, to scan or to verify it.
//!
//! ```text
//!   fill --ready, SIGKILL--> [open: a new process, page cache cold --> SIGKILL] again and again
//! ```
//!
//! Each open meets a store that was not closed, since the one before was killed too.

use super::Place;
use super::pairs::in_turn;
use super::report::Row;
use super::side::{Side, Slice};
use super::works::{Pair, Program, Want};
use crate::tasks::Failure;
use std::path::Path;
use std::time::{Duration, Instant};

/// After this long no further runs are begun, however few there were.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens in turns.
pub(super) fn opens(
    want: &Want,
    (pair, work): (&Pair, &'static str),
    place: &Place,
    dir: &Path,
    runs: usize,
) -> Result<Row, Failure> {
    let (ours, theirs) = (dir.join("ours"), dir.join("theirs"));
    let filled = (
        fill(place, &pair.ours, work, &ours)?,
        fill(place, &pair.theirs, work, &theirs)?,
    );
    let mut row = Row::new(want, pair, &filled.0, &filled.1);
    let started = Instant::now();
    for index in (0..runs).take_while(|index| *index == 0 || started.elapsed() < PATIENCE) {
        let (mine, other) = in_turn(
            index,
            || open(place, &pair.ours, &ours),
            || open(place, &pair.theirs, &theirs),
        )?;
        row.add(mine, other)?;
    }
    Ok(row)
}

/// Verifies a store in turns with reading the files of its log.
pub(super) fn verifies(
    want: &Want,
    pair: &Pair,
    place: &Place,
    dir: &Path,
    runs: usize,
) -> Result<Row, Failure> {
    fill(place, &pair.ours, "fill", dir)?;
    let mut ours = Side::start(place, &pair.ours, dir)?;
    let mut theirs = Side::start(place, &pair.theirs, &dir.join("store/log"))?;
    let mut row = Row::new(want, pair, &ours.version, &theirs.version);
    let started = Instant::now();
    for index in (0..runs).take_while(|index| *index == 0 || started.elapsed() < PATIENCE) {
        let (mine, other) = in_turn(index, || ours.slice(1), || theirs.slice(1))?;
        row.add(mine, other)?;
    }
    ours.kill()?;
    theirs.end()?;
    Ok(row)
}

/// Lets a program write what is opened later and kills it; what it said.
fn fill(
    place: &Place,
    program: &Program,
    work: &'static str,
    dir: &Path,
) -> Result<String, Failure> {
    let fill = Program {
        work,
        ..program.clone()
    };
    let side = Side::start(place, &fill, dir)?;
    let said = side.version.clone();
    side.kill()?;
    Ok(said)
}

/// One open of what was left, then left as before.
fn open(place: &Place, program: &Program, dir: &Path) -> Result<Slice, Failure> {
    let mut side = Side::start(place, program, dir)?;
    let slice = side.slice(1)?;
    side.kill()?;
    Ok(slice)
}
