//! Artifacts by content hash, published with one rename.
