//! The built `bop`, each time as a process of its own: what it does, prints, asks and refuses.

mod backup;
mod beside;
mod commands;
mod control;
mod cursors;
mod drop;
mod dump;
mod errors;
mod exporter;
mod full_disk;
mod import;
mod jobs;
mod manifest;
mod operations;
mod past;
mod salvage;
mod sessions;
mod shell;
mod shell_equal;
mod space;
mod store;
mod terminal;
