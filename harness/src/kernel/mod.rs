//! Kernels, from source to artifact.
