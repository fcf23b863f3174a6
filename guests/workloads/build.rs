//! Assembles the register tests with the target's C compiler.

use std::env;

fn main() {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let file = format!("asm/{arch}.S");
    println!("cargo::rerun-if-changed={file}");
    println!("cargo::rerun-if-changed=build.rs");
    cc::Build::new()
        .file(&file)
        .flag("-Wa,--noexecstack")
        .compile("crossthaw_workloads_asm");
}
