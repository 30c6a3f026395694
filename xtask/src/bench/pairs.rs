//! Slices in turns: both processes alive, one of them idle.

use super::report::Row;
use super::side::{Side, Slice};
use super::works::{Figure, Pair, Program, Want};
use super::{Place, failed};
use crate::tasks::Failure;
use std::fs;
use std::path::Path;

/// Length of a slice of a rate or a latency, in milliseconds.
const SLICE_MS: u32 = 2000;
/// Length of a slice in which bytes are counted: they do not depend on the disk's mood.
const COUNT_MS: u32 = 500;
/// Threads among which each side has its best.
const THREADS: [usize; 5] = [4, 8, 16, 64, 256];

/// Runs the slices of a pair.
pub(super) fn alternate(
    want: &Want,
    pair: &Pair,
    place: &Place,
    dir: &Path,
    slices: usize,
) -> Result<Row, Failure> {
    let mut ours = Side::start(place, &pair.ours, &dir.join("ours"))?;
    let mut theirs = Side::start(place, &pair.theirs, &dir.join("theirs"))?;
    let ms = match pair.figure {
        Figure::LogBytes => COUNT_MS,
        _ => SLICE_MS,
    };
    // Both meet an empty table and a cold device once, uncounted.
    ours.slice(ms)?;
    theirs.slice(ms)?;
    let mut row = Row::new(want, pair, &ours.version, &theirs.version);
    for index in 0..slices {
        let (mine, other) = in_turn(index, || ours.slice(ms), || theirs.slice(ms))?;
        row.add(mine, other)?;
    }
    ours.end()?;
    theirs.end()?;
    Ok(row)
}

/// Calls both, and changes who goes first.
pub(super) fn in_turn<A, B>(
    index: usize,
    ours: impl FnOnce() -> Result<A, Failure>,
    theirs: impl FnOnce() -> Result<B, Failure>,
) -> Result<(A, B), Failure> {
    if index.is_multiple_of(2) {
        let mine = ours()?;
        Ok((mine, theirs()?))
    } else {
        let other = theirs()?;
        Ok((ours()?, other))
    }
}

/// Runs the slices of a pair, each side with the threads that suit it.
pub(super) fn at_best(
    want: &Want,
    pair: &Pair,
    place: &Place,
    dir: &Path,
    slices: usize,
) -> Result<Row, Failure> {
    let best = Pair {
        ours: best_of(&pair.ours, place, &dir.join("try"))?,
        theirs: best_of(&pair.theirs, place, &dir.join("try"))?,
        figure: pair.figure,
    };
    let mut row = alternate(want, &best, place, dir, slices)?;
    let (ours, theirs) = (best.ours.threads, best.theirs.threads);
    row.note = format!("{ours} / {theirs} threads");
    Ok(row)
}

/// The program with the number of threads at which it was fastest in its second slice.
fn best_of(program: &Program, place: &Place, dir: &Path) -> Result<Program, Failure> {
    let mut best: Option<(f64, Program)> = None;
    for threads in THREADS {
        let program = Program {
            threads,
            ..program.clone()
        };
        let mut side = Side::start(place, &program, dir)?;
        side.slice(SLICE_MS / 2)?;
        let rate = Slice::rate(&side.slice(SLICE_MS / 2)?);
        side.end()?;
        fs::remove_dir_all(dir).map_err(|source| failed("remove", dir.display(), source))?;
        if best.as_ref().is_none_or(|(fastest, _)| *fastest < rate) {
            best = Some((rate, program));
        }
    }
    let best = best.map(|(_, program)| program);
    best.ok_or_else(|| failed("choose", program.name, "nothing was tried"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn who_goes_first_changes() {
        let order = RefCell::new(String::new());
        let note = |who| {
            order.borrow_mut().push(who);
            Ok(who)
        };
        for index in 0..3 {
            assert_eq!(
                in_turn(index, || note('a'), || note('b')).unwrap(),
                ('a', 'b')
            );
        }
        assert_eq!(*order.borrow(), "abbaab");
    }
}
