//! From evidence to verdict: pure functions on bytes and values.

pub mod exec_check;
pub mod golden;
pub mod image;
pub mod kernel_log;
pub mod leak;
pub mod refusal;
pub mod self_check;
pub mod state;
pub mod usage;
mod verdict;

pub(crate) use verdict::chain;
pub use verdict::{Oracle, Verdict};
