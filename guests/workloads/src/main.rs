//! `workloads NAME [KEY=VALUE]...`: builds the named situation, is checkpointed in it, checks itself; `workloads --list` names them all.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    crossthaw_workloads::main(&words)
}
