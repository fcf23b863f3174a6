//! The matrix: YAML to cases.
