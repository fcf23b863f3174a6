//! One case, from clone to evidence.
