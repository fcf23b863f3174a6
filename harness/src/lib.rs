//! Everything between a scenario file and a verdict.
//!
//! The layers, each using only those to its left:
//! arch -> process -> store -> build -> kernel, guest -> qemu -> scenario -> oracle -> trial -> report -> run -> mutants.

pub mod arch;
pub mod build;
pub mod guest;
pub mod host;
pub mod kernel;
pub mod mutants;
pub mod oracle;
pub mod process;
pub mod programs;
pub mod qemu;
pub mod report;
pub mod run;
pub mod scenario;
pub mod store;
pub mod trial;
