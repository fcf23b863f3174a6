//! What an image cannot hold (yet): each refuses the checkpoint, and goes on unharmed.
//!
//! When a kernel learns to hold one of these, its workload moves to the family of its kind: the checks afterwards are those of a restored one already.

mod attributes;
mod descriptors;
mod ipc;
mod memory;
mod outside;
mod processor;
mod tasks;

pub(crate) use attributes::{other_namespace, pids_for_children};
pub(crate) use descriptors::{
    device, dnotify, fifo, inotify, memfd, pidfd, pidfd_group, proc_file, socket, userfaultfd,
};
pub(crate) use ipc::{aio, message_queue, posix_queue, semaphore_undo, semaphores};
pub(crate) use memory::{hugetlb, odd_name, sealed_vdso, sysv_shm, unlinked_mapping};
pub(crate) use outside::outside_user;
pub(crate) use processor::processor;
pub(crate) use tasks::{
    deleted_cwd, io_context, outside_group, posix_timer, seccomp_listener, shared_mm_leader,
    traced, vfork,
};
