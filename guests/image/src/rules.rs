//! Fields that need not be equal in an image and in that of the restored tree: one row a field, each with its reason.
//!
//! What has no row here must be equal. Contents of memory are compared by address.

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// By the object that it stands for.
    Reference,
    /// It may shrink, by no more than the time that has passed.
    Remaining,
    /// It may grow, by no more than the time that has passed.
    Advancing,
    /// It may grow.
    Growing,
    /// The mark of a task that checkpointed itself may go; its other bits must be equal.
    SelfMark,
    /// These bits of a register may go; the others must be equal.
    BitsGo(u64),
    /// Mappings that lie side by side and differ in nothing else count as one.
    Merged,
    /// Not at all.
    Volatile,
}

use How::{Advancing, BitsGo, Growing, Merged, Reference, Remaining, SelfMark, Volatile};

/// A field that has a rule of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// The struct, a register set, or `CPU` for the words of a CPU record.
    pub(crate) of: &'static str,
    /// The field, register or word.
    pub(crate) name: &'static str,
    pub(crate) how: How,
    pub(crate) reason: &'static str,
}

/// `MSR_VEC`, `MSR_VSX` and `MSR_FP` of ppc64.
const PPC_UNITS: u64 = 0x0280_2000;

const NUMBERS: &str = "objrefs are numbers of one image; what they stand for is compared";

const USED: &str = "the restored task has run for a moment before it was frozen again";

const CLOCKS: &str = "the clocks of a time namespace go on from the restart on";

const fn row(of: &'static str, name: &'static str, how: How, reason: &'static str) -> Rule {
    Rule {
        of,
        name,
        how,
        reason,
    }
}

/// All of them.
pub(crate) const RULES: &[Rule] = &[
    row(
        "ckpt_rec_header",
        "id",
        Volatile,
        "counts the checkpoints of a kernel",
    ),
    row(
        "ckpt_rec_header",
        "time",
        Volatile,
        "when the checkpoint began",
    ),
    row(
        "ckpt_rec_trailer",
        "bytes",
        Volatile,
        "follows from what is before it, which is compared",
    ),
    row(
        "ckpt_rec_trailer",
        "checksum",
        Volatile,
        "follows from what is before it, which is compared",
    ),
    row(
        "ckpt_rec_restart_block",
        "time_left",
        Remaining,
        "time runs out from the restart on",
    ),
    row(
        "ckpt_itimer",
        "value",
        Remaining,
        "time runs out from the restart on",
    ),
    row(
        "ckpt_posix_timer",
        "time_left",
        Remaining,
        "time runs out from the restart on",
    ),
    row(
        "ckpt_rec_timerfd",
        "time_left",
        Remaining,
        "time runs out from the restart on",
    ),
    row(
        "ckpt_rec_lease",
        "break_left",
        Remaining,
        "time runs out from the restart on",
    ),
    row(
        "ckpt_rec_lease",
        "downgrade_left",
        Remaining,
        "time runs out from the restart on",
    ),
    row("ckpt_rec_time_ns", "monotonic", Advancing, CLOCKS),
    row("ckpt_rec_time_ns", "boottime", Advancing, CLOCKS),
    row("ckpt_usage", "utime", Advancing, USED),
    row("ckpt_usage", "stime", Advancing, USED),
    row("ckpt_usage", "voluntary", Growing, USED),
    row("ckpt_usage", "involuntary", Growing, USED),
    row("ckpt_usage", "minor_faults", Growing, USED),
    row("ckpt_usage", "major_faults", Growing, USED),
    row("ckpt_rec_usage", "runtime", Advancing, USED),
    row("ckpt_rec_usage", "shown_utime", Advancing, USED),
    row("ckpt_rec_usage", "shown_stime", Advancing, USED),
    row("ckpt_rec_usage", "group_shown_utime", Advancing, USED),
    row("ckpt_rec_usage", "group_shown_stime", Advancing, USED),
    row("ckpt_rec_usage", "max_rss", Growing, USED),
    row(
        "ckpt_rec_usage",
        "age",
        Volatile,
        "only the privileged choose it; otherwise a task is as old as its restart",
    ),
    row(
        "ckpt_rec_usage",
        "boot_age",
        Volatile,
        "only the privileged choose it; otherwise a task is as old as its restart",
    ),
    row(
        "ckpt_rec_cpu",
        "flags",
        SelfMark,
        "a task checkpointed itself, and was checkpointed from outside after the restart",
    ),
    row(
        "ckpt_rec_mm",
        "nr_vmas",
        Merged,
        "a fork keeps the kernel from merging mappings; what is mapped is compared",
    ),
    row(
        "NT_PRSTATUS",
        "msr",
        BitsGo(PPC_UNITS),
        "on ppc64 they say which units hold the registers of a task that checkpoints itself; one that does not run has none, and restart(2) ignores them",
    ),
    row("ckpt_rec_task_objs", "cred", Reference, NUMBERS),
    row("ckpt_rec_task_objs", "files", Reference, NUMBERS),
    row("ckpt_rec_task_objs", "fs", Reference, NUMBERS),
    row("ckpt_rec_task_objs", "sighand", Reference, NUMBERS),
    row("ckpt_rec_task_objs", "mm", Reference, NUMBERS),
    row("ckpt_rec_task_objs", "uts_ns", Reference, NUMBERS),
    row("ckpt_rec_task_objs", "ipc_ns", Reference, NUMBERS),
    row("ckpt_rec_task_objs", "time_ns", Reference, NUMBERS),
    row("ckpt_rec_task_objs", "seccomp", Reference, NUMBERS),
    row("ckpt_rec_task_objs", "pid_ns", Reference, NUMBERS),
    row("ckpt_rec_exit", "cred", Reference, NUMBERS),
    row("ckpt_rec_exit", "sighand", Reference, NUMBERS),
    row("ckpt_rec_file", "objref", Reference, NUMBERS),
    row("ckpt_rec_file", "cred", Reference, NUMBERS),
    row("ckpt_rec_file", "object", Reference, NUMBERS),
    row("ckpt_rec_files", "objref", Reference, NUMBERS),
    row("ckpt_fd", "file", Reference, NUMBERS),
    row("ckpt_rec_fs", "objref", Reference, NUMBERS),
    row("ckpt_rec_sighand", "objref", Reference, NUMBERS),
    row("ckpt_rec_cred", "objref", Reference, NUMBERS),
    row("ckpt_rec_mm", "objref", Reference, NUMBERS),
    row("ckpt_rec_mm", "exe", Reference, NUMBERS),
    row("ckpt_rec_vma", "file", Reference, NUMBERS),
    row("ckpt_rec_mm_end", "objref", Reference, NUMBERS),
    row("ckpt_rec_shmem", "objref", Reference, NUMBERS),
    row("ckpt_rec_shmem_end", "objref", Reference, NUMBERS),
    row("ckpt_rec_memfd", "objref", Reference, NUMBERS),
    row("ckpt_rec_unlinked", "objref", Reference, NUMBERS),
    row("ckpt_rec_timerfd", "objref", Reference, NUMBERS),
    row("ckpt_rec_epoll", "objref", Reference, NUMBERS),
    row("ckpt_rec_epoll_item", "file", Reference, NUMBERS),
    row("ckpt_rec_epoll_item", "sighand", Reference, NUMBERS),
    row("ckpt_rec_lock", "file", Reference, NUMBERS),
    row("ckpt_rec_lock", "owner", Reference, NUMBERS),
    row("ckpt_rec_lease", "file", Reference, NUMBERS),
    row("ckpt_rec_owner", "file", Reference, NUMBERS),
    row("ckpt_rec_pipe", "cred", Reference, NUMBERS),
    row("ckpt_rec_pipe", "objref", Reference, NUMBERS),
    row("ckpt_rec_pipe_buf", "objref", Reference, NUMBERS),
    row("ckpt_rec_uts_ns", "objref", Reference, NUMBERS),
    row("ckpt_rec_ipc_ns", "objref", Reference, NUMBERS),
    row("ckpt_rec_time_ns", "objref", Reference, NUMBERS),
    row("ckpt_rec_pid_ns", "objref", Reference, NUMBERS),
    row("ckpt_rec_pid_ns", "parent", Reference, NUMBERS),
    row("ckpt_rec_seccomp", "objref", Reference, NUMBERS),
    row("ckpt_rec_seccomp", "before", Reference, NUMBERS),
    row("ckpt_rec_error", "objref", Reference, NUMBERS),
];

/// The rule of a field; `None` where it must be equal.
pub(crate) fn rule(of: &str, name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name && rule.of == of)
}
