//! `EXPLAIN` and `EXPLAIN QUERY PLAN`, as the shell shows them in every mode: the program as
//! columns with its loops indented, the plan as a tree. (Mode `json` shows the plain rows.)
//!
//! Invariant: written at the end of the result, since a row's indent follows from later ones.

use super::{Printer, before_nul};
use crate::cells::Cells;
use std::io::{self, Write};

/// `EXPLAIN QUERY PLAN`.
#[derive(Default)]
pub(super) struct Plan {
    nodes: Vec<Node>,
}

struct Node {
    id: i64,
    parent: i64,
    text: Vec<u8>,
}

/// How deep a tree is drawn.
const DEPTH_MAX: usize = 31;

impl Printer for Plan {
    fn row(
        &mut self,
        statement: &mut dyn Cells,
        is_first: bool,
        _out: &mut dyn Write,
    ) -> io::Result<()> {
        if is_first {
            self.nodes.clear();
        }
        self.nodes.push(Node {
            id: number(statement, 0),
            parent: number(statement, 1),
            text: before_nul(statement.text(3).unwrap_or_default()).to_vec(),
        });
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"QUERY PLAN\n")?;
        self.level(0, "", 0, out)
    }
}

impl Plan {
    fn level(
        &self,
        parent: i64,
        prefix: &str,
        depth: usize,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let children: Vec<&Node> = self
            .nodes
            .iter()
            .filter(|node| node.parent == parent)
            .collect();
        for (index, node) in children.iter().enumerate() {
            let is_last = index + 1 == children.len();
            write!(out, "{prefix}{}", if is_last { "`--" } else { "|--" })?;
            out.write_all(&node.text)?;
            out.write_all(b"\n")?;
            if depth < DEPTH_MAX {
                let below = format!("{prefix}{}", if is_last { "   " } else { "|  " });
                self.level(node.id, &below, depth + 1, out)?;
            }
        }
        Ok(())
    }
}

/// `EXPLAIN`.
#[derive(Default)]
pub(super) struct Program {
    names: Vec<Vec<u8>>,
    steps: Vec<Step>,
}

struct Step {
    address: i64,
    p1: i64,
    p2: i64,
    cells: Vec<Option<Vec<u8>>>,
}

/// The widths of the columns; a longer value moves what stands behind it.
const WIDTHS: [usize; 8] = [4, 13, 4, 4, 4, 13, 2, 13];
/// The column of the opcode, which is indented.
const OPCODE: usize = 1;
/// The ends of loops, which jump back to their first step.
const LOOP_ENDS: [&str; 6] = ["Next", "Prev", "VPrev", "VNext", "SorterNext", "Return"];
/// Steps that begin what a `Goto` back repeats.
const LOOP_STARTS: [&str; 5] = ["Yield", "SeekLT", "SeekGT", "RowSetRead", "Rewind"];

impl Printer for Program {
    fn row(
        &mut self,
        statement: &mut dyn Cells,
        is_first: bool,
        _out: &mut dyn Write,
    ) -> io::Result<()> {
        let columns = statement.columns().min(WIDTHS.len());
        if is_first {
            self.steps.clear();
            self.names = (0..columns)
                .map(|column| statement.column_name(column))
                .collect();
        }
        self.steps.push(Step {
            address: number(statement, 0),
            p1: number(statement, 2),
            p2: number(statement, 3),
            cells: (0..columns)
                .map(|column| statement.text(column).map(|text| before_nul(text).to_vec()))
                .collect(),
        });
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let names = self.names.iter().zip(WIDTHS);
        let names: Vec<String> = names.map(|(name, width)| padded(name, width)).collect();
        writeln!(out, "{}", names.join("  "))?;
        let dashes: Vec<String> = WIDTHS
            .iter()
            .take(names.len())
            .map(|w| "-".repeat(*w))
            .collect();
        writeln!(out, "{}", dashes.join("  "))?;
        for (step, indent) in self.steps.iter().zip(self.indents()) {
            write_step(step, indent, out)?;
        }
        Ok(())
    }
}

impl Program {
    /// How far each step's opcode stands to the right: two for each loop around it.
    fn indents(&self) -> Vec<usize> {
        let mut indents = vec![0_usize; self.steps.len()];
        for (at, step) in self.steps.iter().enumerate() {
            // In the program of a trigger the addresses start anew.
            let shift = i64::try_from(at).unwrap_or(i64::MAX) - step.address;
            let Ok(target) = usize::try_from(step.p2 + shift) else {
                continue;
            };
            let opcode = |step: &Step, names: &[&str]| {
                let opcode = step
                    .cells
                    .get(OPCODE)
                    .and_then(Option::as_deref)
                    .unwrap_or_default();
                names.iter().any(|name| name.as_bytes() == opcode)
            };
            let repeats = self
                .steps
                .get(target)
                .is_some_and(|step| opcode(step, &LOOP_STARTS));
            let ends = opcode(step, &LOOP_ENDS) && 0 < target;
            let goes_back = opcode(step, &["Goto"]) && target < at && (repeats || step.p1 != 0);
            if ends || goes_back {
                let body = indents.get_mut(target..at).unwrap_or_default();
                body.iter_mut().for_each(|indent| *indent += 2);
            }
        }
        indents
    }
}

fn write_step(step: &Step, indent: usize, out: &mut dyn Write) -> io::Result<()> {
    let last = step.cells.len().saturating_sub(1);
    for (column, (cell, width)) in step.cells.iter().zip(WIDTHS).enumerate() {
        let cell = cell.as_deref().unwrap_or_default();
        let width = if column == last { 0 } else { width };
        let is_long = width < String::from_utf8_lossy(cell).chars().count();
        if column == OPCODE {
            write!(out, "{:indent$}", "")?;
        }
        out.write_all(padded(cell, width).as_bytes())?;
        out.write_all(match (column == last, is_long) {
            (true, _) => b"\n",
            (false, true) => b" ",
            (false, false) => b"  ",
        })?;
    }
    Ok(())
}

fn padded(text: &[u8], width: usize) -> String {
    format!("{:width$}", String::from_utf8_lossy(text))
}

fn number(statement: &mut dyn Cells, column: usize) -> i64 {
    let text = String::from_utf8_lossy(statement.text(column).unwrap_or_default()).into_owned();
    text.parse().unwrap_or(0)
}
