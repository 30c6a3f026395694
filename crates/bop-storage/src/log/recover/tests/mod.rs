//! Recovery, scenario by scenario.

mod abandoned;
mod contradictions;
mod damage;
mod files;
mod flips;
mod indexed;
mod model;
mod ordinary;
mod torn;
mod writer;
