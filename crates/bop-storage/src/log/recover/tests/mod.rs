//! Recovery, scenario by scenario.

mod damage;
mod files;
mod flips;
mod ordinary;
mod writer;
