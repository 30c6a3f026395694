//! The `bop` command.
fn main() {}
