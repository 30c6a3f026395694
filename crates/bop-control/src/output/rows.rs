//! The rows of statements, each as what they are: data, or the explanation of another statement.

use super::{Mode, Printer};
use crate::cells::{Cells, Explain};
use std::io::{self, Write};

/// Writes the rows of one statement after the other, with the printer that each needs.
pub struct RowPrinter {
    mode: Mode,
    plain: Box<dyn Printer>,
    /// Of the result that is being written.
    explainer: Option<Box<dyn Printer>>,
}

impl RowPrinter {
    /// In a mode; `header` as for [`Mode::printer`].
    pub fn new(mode: Mode, header: bool) -> Self {
        Self {
            mode,
            plain: mode.printer(header),
            explainer: None,
        }
    }

    /// Writes a row; `is_first` says that a result starts.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn row(
        &mut self,
        cells: &mut dyn Cells,
        explain: Explain,
        is_first: bool,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if is_first {
            self.explainer = self.mode.explainer(explain);
        }
        self.printer().row(cells, is_first, out)
    }

    /// Ends a result that had rows.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.printer().end(out)
    }

    fn printer(&mut self) -> &mut dyn Printer {
        match &mut self.explainer {
            Some(explainer) => &mut **explainer,
            None => &mut *self.plain,
        }
    }
}

impl std::fmt::Debug for RowPrinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowPrinter")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
