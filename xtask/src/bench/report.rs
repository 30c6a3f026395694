//! What was measured: median and quartiles, as a table or as JSON.

use super::failed;
use super::side::Slice;
use super::works::{Figure, Pair, Want};
use crate::tasks::Failure;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use serde_json::json;

/// What a process may have beside the budget of its settings.
const OVER_BUDGET: f64 = (64 << 20) as f64;

/// A work and what came of it.
pub(crate) struct Row {
    pub(super) work: &'static str,
    peer: &'static str,
    figure: Figure,
    at_least: f64,
    aim: f64,
    ours: Vec<f64>,
    theirs: Vec<f64>,
    ratios: Vec<f64>,
    /// The most memory that our process had, and what its settings allow it.
    peak: (f64, Option<f64>),
    /// Of the newest slices.
    last: (Slice, Slice),
    /// Whatever else is to be known.
    pub(super) note: String,
    /// Of the paired ratios, larger being better for us.
    pub(super) ratio: Spread,
}

impl Row {
    pub(super) fn new(want: &Want, pair: &Pair, ours: &str, theirs: &str) -> Self {
        eprintln!("{}: {ours} | {theirs}", want.id);
        Self {
            work: want.id,
            peer: pair.theirs.name,
            figure: pair.figure,
            at_least: want.at_least,
            aim: want.aim,
            ours: Vec::new(),
            theirs: Vec::new(),
            ratios: Vec::new(),
            peak: (0.0, None),
            last: Default::default(),
            note: String::new(),
            ratio: Spread::of(Vec::new()),
        }
    }

    /// Adds two neighbouring slices.
    pub(super) fn add(&mut self, ours: Slice, theirs: Slice) -> Result<(), Failure> {
        let figure = |slice: &Slice, is_ours| {
            let figure = slice.figure(self.figure, is_ours);
            figure.ok_or_else(|| failed("read", self.work, "the figure is missing"))
        };
        let (mine, other) = (figure(&ours, true)?, figure(&theirs, false)?);
        self.ours.push(mine);
        self.theirs.push(other);
        self.ratios.push(match self.figure.grows() {
            true => mine / other,
            false => other / mine,
        });
        self.ratio = Spread::of(self.ratios.clone());
        self.peak = (self.peak.0.max(ours.peak_bytes), ours.budget_bytes);
        self.last = (ours, theirs);
        Ok(())
    }

    fn medians(&self) -> (f64, f64) {
        let median = |values: &[f64]| Spread::of(values.to_vec()).median;
        (median(&self.ours), median(&self.theirs))
    }

    /// Peak memory of our process in MiB, of what is allowed where that is known: the budget of its
    /// settings and what the program itself may have.
    fn memory(&self) -> String {
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        match self.peak {
            (peak, None) => format!("{:.0}", mib(peak)),
            (peak, Some(budget)) => {
                let over = if peak > budget + OVER_BUDGET { "!" } else { "" };
                let over_budget = mib(OVER_BUDGET);
                format!(
                    "{:.0}{over} of {:.0}+{over_budget:.0}",
                    mib(peak),
                    mib(budget)
                )
            }
        }
    }

    /// One line for whoever waits.
    pub(super) fn summary(&self) -> String {
        let (ours, theirs) = self.medians();
        let unit = self.figure.unit();
        format!(
            "{}: {} / {} {unit}, ratio {:.2}, from {:.2} to {:.2} in {} runs, peak MiB {} {}",
            self.work,
            short(ours),
            short(theirs),
            self.ratio.median,
            self.ratio.min,
            self.ratio.max,
            self.ratios.len(),
            self.memory(),
            self.note
        )
    }

    /// One line for programs. Memory and descriptors are those after the last slice.
    pub(super) fn json(&self) -> String {
        let (ours, theirs) = self.medians();
        json!({
            "work": self.work,
            "ours": ours,
            "peer": self.peer,
            "theirs": theirs,
            "unit": self.figure.unit(),
            "ratio": self.ratio.median,
            "q1": self.ratio.q1,
            "q3": self.ratio.q3,
            "runs": self.ratios.len(),
            "at_least": self.at_least,
            "aim": self.aim,
            "peak_bytes": self.peak.0,
            "budget_bytes": self.peak.1,
            "rss_bytes": [self.last.0.rss_bytes, self.last.1.rss_bytes],
            "descriptors": [self.last.0.descriptors, self.last.1.descriptors],
            "p99_us": [self.last.0.p99_us, self.last.1.p99_us],
        })
        .to_string()
    }
}

/// All rows for people.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "work", "ours", "peer", "theirs", "unit", "ratio", "q1", "q3", "runs", "at least", "aim",
        "p99 us", "RSS MiB", "peak MiB", "files", "",
    ]);
    for row in rows {
        let (ours, theirs) = row.medians();
        let both = |of: fn(&Slice) -> f64| format!("{:.0}/{:.0}", of(&row.last.0), of(&row.last.1));
        table.add_row([
            row.work.to_owned(),
            short(ours),
            row.peer.to_owned(),
            short(theirs),
            row.figure.unit().to_owned(),
            format!("{:.2}", row.ratio.median),
            format!("{:.2}", row.ratio.q1),
            format!("{:.2}", row.ratio.q3),
            row.ratios.len().to_string(),
            row.at_least.to_string(),
            row.aim.to_string(),
            both(|slice| slice.p99_us),
            both(|slice| slice.rss_bytes / f64::from(1 << 20)),
            row.memory(),
            both(|slice| slice.descriptors),
            row.note.clone(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Three digits are enough of anything small.
fn short(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.3}"),
        value => format!("{value:.0}"),
    }
}

/// The smallest, the quartiles, the middle and the largest of some numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) q1: f64,
    pub(crate) median: f64,
    pub(crate) q3: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Quartiles between two numbers are taken in proportion.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let quarter = |quarters: usize| {
            let place = values.len().saturating_sub(1) * quarters;
            let (index, part) = (place / 4, place % 4);
            let (low, high) = (at(index), at(index + usize::from(part > 0)));
            low + (high - low) * part as f64 / 4.0
        };
        Self {
            min: quarter(0),
            q1: quarter(1),
            median: quarter(2),
            q3: quarter(3),
            max: quarter(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_neighbours_in_proportion() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!((spread.min, spread.max), (1.0, 4.0));
        assert_eq!((spread.q1, spread.median, spread.q3), (1.75, 2.5, 3.25));
        assert_eq!(Spread::of(vec![7.0]).q3, 7.0);
        assert!(Spread::of(Vec::new()).median.is_nan());
    }
}
