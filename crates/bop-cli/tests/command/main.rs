//! The built `bop`, each time as a process of its own: what it does, prints, asks and refuses.

mod commands;
mod errors;
mod full_disk;
mod manifest;
mod salvage;
mod shell_equal;
mod store;
mod terminal;
