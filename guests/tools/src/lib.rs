//! What the `checkpoint`, `restart` and `nsexec` tools and the guest's init share: the system calls, forking into namespaces, errors that name the remedy.
//!
//! Linux only. Nothing here prints, and nothing exits but for forked children that have nobody to return to.

pub mod cgroup;
pub mod cgroups;
pub mod container;
pub mod coordinate;
pub mod errno;
pub mod fault;
pub mod fork;
pub mod head;
pub mod ids;
pub mod inspect;
pub mod launch;
pub mod log;
pub mod members;
pub mod mounts;
pub mod orphans;
pub mod plan;
pub mod remedy;
pub mod signal;
pub mod stream;
pub mod sys;
pub mod tmpfs;
pub mod wait;
