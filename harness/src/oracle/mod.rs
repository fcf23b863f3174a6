//! From evidence to verdict: pure functions on bytes and values.

mod verdict;

pub use verdict::{Oracle, Verdict};
