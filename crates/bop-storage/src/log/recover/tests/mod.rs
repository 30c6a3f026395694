//! Recovery, scenario by scenario.

mod abandoned;
mod contradictions;
mod damage;
mod files;
mod flips;
mod indexed;
mod model;
mod ordinary;
mod reach;
mod torn;
mod vouched;
mod writer;
