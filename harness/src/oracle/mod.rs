//! From evidence to verdict: pure functions on bytes.
