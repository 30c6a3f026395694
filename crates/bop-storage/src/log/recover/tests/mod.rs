//! Recovery, scenario by scenario.

mod abandoned;
mod damage;
mod files;
mod flips;
mod model;
mod ordinary;
mod writer;
