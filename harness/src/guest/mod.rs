//! Guest programs and the initramfs, from source to artifact.
