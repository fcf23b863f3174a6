//! The machine that the harness runs on: packages, toolchains, acceleration.
