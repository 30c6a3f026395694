//! The `bop` command.
mod output;
mod sql;
fn main() {}
