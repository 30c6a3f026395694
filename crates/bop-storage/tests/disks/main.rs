//! The backends: what each of them promises, and the simulated disk against a model of what a crash
//! may leave. What only the kernel's disk has is in `disk_native`, which starts processes.

mod sim;
mod sim_model;
mod suite;
