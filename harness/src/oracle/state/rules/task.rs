//! Rules for what belongs to a task.

use super::super::canon::{
    below_the_tree, cgroup, dump_filter, inode, link, lock, mount, namespace, offsets, open_flags,
    scheduling, vm_flags, watched, without_rf, words,
};
use super::{Rule, always, never, one_arch, one_moment, relation};

/// What grows a little while a restored task is on its way into the freezer.
const GROWS: &str =
    "it grows until the restored task is frozen; the images say that it does not begin anew";
/// What was counted before.
const COUNTED: &str = "what was used differs from run to run";
const TASK_LINE: &str = "the task's first line has it";
const SIZES: &str = "programs and mappings are of other sizes on each architecture";
const LAYOUT: &str = "addresses are each architecture's own";
const HISTORY: &str = "counts what was; it is no part of what is";
const RESIDENT: &str =
    "what is in memory is the kernel's choice; contents are compared by their hash";
const MEMORY_SIZE: &str = "follows from the size of the guest's memory and of a task";
const KINDS: &str = "the golden has a line for each kind of mapping";
const TEXT_OF_STATUS: &str = "the status has it as text";
const MACHINE: &str = "as many processors and as much memory as the guest has";

pub(super) const RULES: &[Rule] = &[
    // Relations. The golden shows them in the task's first line, by place where pids are not the tree's own.
    one_arch("task.pid", TASK_LINE, "1"),
    one_arch("task.leader", TASK_LINE, "1"),
    one_moment(
        "task.parent",
        "one that checkpointed itself has another parent in the image's tree; the task's first line has it",
        "1",
    ),
    one_moment("task.group", "as the parent", "1"),
    one_moment("task.session", "as the parent", "1"),
    always("task.comm", "\"workloads\""),
    always("task.arguments", "[\"a\"]"),
    always("task.environment", "[\"A=1\"]"),
    always("link.*", "/scenario"),
    always("namespace.*", "net:[4026531840]").as_(
        namespace,
        "#1",
        "numbered by each kernel in the order of their making",
    ),
    relation(
        "shares.*",
        "the first of those that share it may not be in the image",
        "1",
    ),
    // /proc/PID/status
    one_arch("status.Name", "the line `comm` has it", "x"),
    always("status.Umask", "0022"),
    one_moment(
        "status.State",
        "all that are frozen sleep; it is the others that matter",
        "S (sleeping)",
    ),
    one_arch("status.Tgid", TASK_LINE, "1"),
    one_arch("status.Ngid", "the kernels have no NUMA", "0"),
    one_arch("status.Pid", TASK_LINE, "1"),
    one_moment("status.PPid", TASK_LINE, "0"),
    always("status.TracerPid", "0"),
    always("status.Uid", "0\t0\t0\t0").as_(words, "0 0 0 0", "columns are wider than they need be"),
    always("status.Gid", "0\t0\t0\t0").as_(words, "0 0 0 0", "columns are wider than they need be"),
    never(
        "status.FDSize",
        "the table of descriptors never shrinks; a restored one is as large as it must be",
        "64",
    ),
    always("status.Groups", "1 2 ").as_(words, "1 2", "a blank follows the last group"),
    one_arch("status.NStgid", TASK_LINE, "1"),
    one_arch("status.NSpid", TASK_LINE, "1"),
    one_moment("status.NSpgid", TASK_LINE, "1"),
    one_moment("status.NSsid", TASK_LINE, "1"),
    always("status.NStgidInner", "1"),
    always("status.NSpidInner", "1"),
    always("status.NSpgidInner", "0"),
    always("status.NSsidInner", "0"),
    one_arch("status.Kthread", "no kernel thread is part of a tree", "0"),
    never("status.VmPeak", HISTORY, "900 kB"),
    never("status.VmHWM", HISTORY, "900 kB"),
    one_moment("status.VmSize", SIZES, "900 kB"),
    one_arch("status.VmLck", "in pages", "0 kB"),
    one_arch("status.VmPin", "in pages", "0 kB"),
    one_moment("status.VmData", SIZES, "900 kB"),
    one_moment("status.VmStk", SIZES, "132 kB"),
    one_arch("status.VmExe", SIZES, "900 kB"),
    one_arch("status.VmLib", SIZES, "8 kB"),
    never("status.VmRSS", RESIDENT, "900 kB"),
    never("status.RssAnon", RESIDENT, "900 kB"),
    never("status.RssFile", RESIDENT, "900 kB"),
    never("status.RssShmem", RESIDENT, "900 kB"),
    never("status.VmPTE", RESIDENT, "44 kB"),
    never("status.VmSwap", RESIDENT, "0 kB"),
    always("status.Threads", "1"),
    never(
        "status.SigQ",
        "counts the signals of all tasks of the user; the queue itself is compared",
        "0/900",
    ),
    always("status.SigPnd", "0000000000000000"),
    always("status.ShdPnd", "0000000000000000"),
    always("status.SigBlk", "0000000000000200"),
    always("status.SigIgn", "0000000000001000"),
    always("status.SigCgt", "0000000000000440"),
    always("status.CapInh", "0000000000000000"),
    always("status.CapPrm", "000001ffffffffff"),
    always("status.CapEff", "000001ffffffffff"),
    always("status.CapBnd", "000001ffffffffff"),
    always("status.CapAmb", "0000000000000000"),
    always("status.NoNewPrivs", "0"),
    always("status.Seccomp", "0"),
    always("status.Seccomp_filters", "0"),
    one_arch(
        "status.Speculation*",
        "what a processor can be made to do is its own",
        "vulnerable",
    ),
    one_arch("status.Cpus_allowed*", MACHINE, "3"),
    one_arch("status.Mems_allowed*", MACHINE, "0"),
    never("status.voluntary_ctxt_switches", HISTORY, "7"),
    never("status.nonvoluntary_ctxt_switches", HISTORY, "7"),
    // /proc/PID/stat
    one_moment("stat.state", TEXT_OF_STATUS, "S"),
    one_moment("stat.ppid", TASK_LINE, "0"),
    one_moment("stat.pgrp", TASK_LINE, "1"),
    one_moment("stat.session", TASK_LINE, "1"),
    always("stat.tty_nr", "0"),
    one_arch("stat.tpgid", "as the terminal's line has it", "-1"),
    never(
        "stat.flags",
        "what the kernel notes for itself, such as that a task has forked since its exec, or is about to be frozen",
        "4194560",
    ),
    never("stat.minflt", GROWS, "9"),
    one_moment("stat.cminflt", COUNTED, "9"),
    never("stat.majflt", GROWS, "9"),
    one_moment("stat.cmajflt", COUNTED, "9"),
    never("stat.utime", GROWS, "9"),
    never("stat.stime", GROWS, "9"),
    one_moment("stat.cutime", COUNTED, "9"),
    one_moment("stat.cstime", COUNTED, "9"),
    one_arch("stat.priority", "follows from nice and policy", "20"),
    always("stat.nice", "0"),
    one_arch("stat.num_threads", TEXT_OF_STATUS, "1"),
    one_arch("stat.itrealvalue", "Linux always has 0 here", "0"),
    never(
        "stat.starttime",
        "in the time of a kernel that the restored one never saw",
        "99",
    ),
    one_moment("stat.vsize", SIZES, "9000"),
    never("stat.rss", RESIDENT, "9"),
    one_arch("stat.rsslim", "`limits` has it", "18446744073709551615"),
    one_arch("stat.startcode", LAYOUT, "4096"),
    one_arch("stat.endcode", LAYOUT, "4096"),
    one_arch("stat.startstack", LAYOUT, "4096"),
    one_arch(
        "stat.kstkesp",
        "the kernel shows 0 for a task that is not exiting",
        "0",
    ),
    one_arch(
        "stat.kstkeip",
        "the kernel shows 0 for a task that is not exiting",
        "0",
    ),
    one_arch("stat.signal", TEXT_OF_STATUS, "0"),
    one_arch("stat.blocked", TEXT_OF_STATUS, "512"),
    one_arch("stat.sigignore", TEXT_OF_STATUS, "4096"),
    one_arch("stat.sigcatch", TEXT_OF_STATUS, "1088"),
    one_moment(
        "stat.wchan",
        "1 for all that wait, in the freezer as elsewhere",
        "1",
    ),
    one_arch("stat.nswap", "Linux always has 0 here", "0"),
    one_arch("stat.cnswap", "Linux always has 0 here", "0"),
    always("stat.exit_signal", "17"),
    never(
        "stat.processor",
        "where it ran last is the scheduler's choice",
        "1",
    ),
    one_arch("stat.rt_priority", "the line `scheduling` has it", "0"),
    one_arch("stat.policy", "the line `scheduling` has it", "0"),
    never("stat.delayacct_blkio_ticks", HISTORY, "0"),
    never("stat.guest_time", HISTORY, "0"),
    never("stat.cguest_time", HISTORY, "0"),
    one_arch("stat.start_data", LAYOUT, "4096"),
    one_arch("stat.end_data", LAYOUT, "4096"),
    one_arch("stat.start_brk", LAYOUT, "4096"),
    one_arch("stat.arg_start", LAYOUT, "4096"),
    one_arch("stat.arg_end", LAYOUT, "4096"),
    one_arch("stat.env_start", LAYOUT, "4096"),
    one_arch("stat.env_end", LAYOUT, "4096"),
    always("stat.exit_code", "0"),
    // /proc/PID/limits
    always("limit.*", "1024, at most 4096"),
    one_arch("limit.Max processes", MEMORY_SIZE, "900, at most 900"),
    one_arch("limit.Max pending signals", MEMORY_SIZE, "900, at most 900"),
    // Small files and system calls
    always("attribute.timerslack_ns", "50000"),
    always("attribute.oom_score_adj", "0"),
    always("attribute.personality", "00000000"),
    always("attribute.loginuid", "4294967295"),
    always("attribute.sessionid", "4294967295"),
    always("attribute.autogroup", "/autogroup-1 nice 0"),
    always("attribute.coredump_filter", "00000033").in_golden(
        dump_filter,
        "the usual is in no golden: few processes have another one",
    ),
    always("attribute.cgroup", "0::/tree/above/gone (deleted)")
        .as_(cgroup, "0::/tree/above", "")
        .in_golden(
            below_the_tree,
            "a zombie of a cgroup that was removed comes back in the one above; the tree's own is in no golden: the agent makes it, always of the same name",
        ),
    one_arch("attribute.cpuset", MACHINE, "/"),
    always("attribute.uid_map", "0          0 4294967295").as_(
        words,
        "0 0 4294967295",
        "columns are wider than they need be",
    ),
    always("attribute.gid_map", "0          0 4294967295").as_(
        words,
        "0 0 4294967295",
        "columns are wider than they need be",
    ),
    always("attribute.projid_map", "0          0 4294967295").as_(
        words,
        "0 0 4294967295",
        "columns are wider than they need be",
    ),
    always("attribute.setgroups", "allow"),
    always(
        "attribute.timens_offsets",
        "monotonic           0         0",
    )
    .as_(
        offsets,
        "monotonic 0 0",
        "columns are wider than they need be; the distance between a kernel's clocks and those of a namespace, which go on, is another on each kernel",
    ),
    one_moment(
        "attribute.syscall",
        "numbers of system calls and addresses are each architecture's own",
        "35 0x1 0x0",
    ),
    never(
        "attribute.wchan",
        "the freezer for all but a few; a kernel without frame pointers guesses it from what lies on the stack",
        "do_freezer_trap",
    ),
    always("attribute.proc owner", "0 0"),
    always(
        "attribute.scheduling",
        "policy 0 flags 0x0 nice 0 priority 0 runtime 3000000 deadline 0 period 0 clamp 0 1024",
    )
    .in_golden(
        |text| Some(scheduling(text)),
        "a time slice follows from the number of processors",
    ),
    always("attribute.io priority", "16387"),
    one_arch("attribute.robust list", LAYOUT, "0x1000 size 24"),
    one_arch(
        "attribute.rseq",
        LAYOUT,
        "0x1000 size 32 signature 0x53053053 flags 0x0",
    ),
    one_moment(
        "attribute.children",
        "the others' first lines have it",
        "2 3",
    ),
    // POSIX timers
    always("timer.ID", "0"),
    one_arch("timer.signal", LAYOUT, "14/0000000000001000"),
    always("timer.notify", "signal/pid.1"),
    always("timer.ClockID", "0"),
    // Queued signals
    always("signal.queue", "process"),
    always("signal.number", "10"),
    always("signal.code", "0"),
    always("signal.errno", "0"),
    one_arch(
        "signal.rest",
        "a structure in the architecture's byte order",
        "0100",
    ),
    always("seccomp.*", "8 instructions 0123456789abcdef flags 0x0"),
    // Register sets
    one_moment(
        "register.*",
        "registers are each architecture's own",
        "0000000000000001",
    ),
    never(
        "register.NT_PRSTATUS/384 +0x148",
        "powerpc's DAR: left over from an earlier interrupt, the task cannot tell and ptrace cannot set it",
        "000000002c283018",
    ),
    never(
        "register.NT_PRSTATUS/384 +0x150",
        "powerpc's DSISR: as DAR",
        "0000000042000000",
    ),
    never(
        "register.NT_PRSTATUS/384 +0x158",
        "powerpc's `result`: the kernel's own note about an earlier system call",
        "fffffffffffffffc",
    ),
    one_moment("register.NT_PRSTATUS/68 +0x38", "registers are each architecture's own", "bfb8a8e000010203")
        .as_(without_rf, "bfb8a8e000000203", "i386's flags: RF is set for the way back to user mode and is gone after the first instruction"),
    // Mappings: anonymous memory, written parts of files, other parts of files and the vdso, pages of the clock
    one_moment("memory.*", KINDS, "4096"),
    one_moment("memory.VmFlags", KINDS, "rd wr mr mw me ac sd").as_(
        vm_flags,
        "rd wr mr mw me ac",
        "whether it was written since somebody asked (sd) begins anew with a restart",
    ),
    one_arch("written.*", KINDS, "4096"),
    one_moment("written.contents", KINDS, "0123456789abcdef"),
    one_moment("written.own", KINDS, "1"),
    one_arch("written.file", KINDS, "00:1a:77").as_(
        inode,
        "#1",
        "the scenario's folder is laid out anew",
    ),
    one_arch("written.VmFlags", KINDS, "rd wr sd").as_(
        vm_flags,
        "rd wr",
        "whether it was written since somebody asked (sd) begins anew with a restart",
    ),
    one_arch("map.*", KINDS, "4096"),
    one_arch("map.file", KINDS, "00:1a:77").as_(
        inode,
        "#1",
        "the scenario's folder is laid out anew",
    ),
    one_arch("map.VmFlags", KINDS, "rd ex sd").as_(
        vm_flags,
        "rd ex",
        "whether it was written since somebody asked (sd) begins anew with a restart",
    ),
    one_arch("clock.*", KINDS, "4096"),
    never(
        "clock.contents",
        "the kernel writes the time there",
        "0123456789abcdef",
    ),
    never("clock.own", "the kernel writes the time there", "0"),
    one_arch("auxv.*", LAYOUT, "0x1000"),
    // Descriptors
    always("fd.link", "pipe:[77]").as_(
        link,
        "pipe:#1",
        "numbered by each kernel in the order of their making",
    ),
    relation(
        "fd.same as",
        "the first of those that share it may not be in the image",
        "1:0",
    ),
    always("fdinfo.pos", "0"),
    always("fdinfo.flags", "0100002").in_golden(
        |octal| Some(open_flags(octal)),
        "bits 040000 to 0400000 have other meanings on powerpc",
    ),
    always("fdinfo.mnt_id", "25").as_(
        mount,
        "#1",
        "numbered by each kernel in the order of their making",
    ),
    never(
        "fdinfo.ino",
        "the line's own inode has the device with it",
        "7",
    ),
    always("fdinfo.lock", "FLOCK ADVISORY WRITE 1 00:1a:77 0 EOF").as_(
        lock,
        "FLOCK ADVISORY WRITE 1 #1 0 EOF",
        "the scenario's folder is laid out anew",
    ),
    always("fdinfo.tfd", "5 events: 19 data: 5 pos:0 ino:61 sdev:6").as_(
        watched,
        "5 events: 19 data: 5 pos:0 #1",
        "the scenario's folder is laid out anew",
    ),
    always(
        "fdinfo.inotify wd",
        "1 ino:77 sdev:1a mask:2 fhandle-bytes:8",
    )
    .as_(
        watched,
        "1 #1 mask:2",
        "the scenario's folder is laid out anew",
    ),
    never(
        "fdinfo.eventfd-id",
        "a number of the kernel's, which counts them",
        "7",
    ),
    never(
        "fdinfo.it_value",
        "time that is left runs out while the task is frozen",
        "(0, 7)",
    ),
    one_arch(
        "fdstat.type",
        "what is behind a link shows in its name",
        "regular",
    ),
    always("fdstat.mode", "0644"),
    always("fdstat.owner", "0:0"),
    one_arch("fdstat.links", "the folder's own lines have it", "1"),
    one_moment("fdstat.size", "the folder's own lines have it", "5"),
    one_arch(
        "fdstat.device",
        "what is behind a link shows in its name",
        "103",
    ),
    always("fdstat.inode", "1a:77").as_(inode, "#1", "the scenario's folder is laid out anew"),
    always("open.*", "65536"),
    one_arch(
        "open.lease",
        "2 (none) for most files; a lease shows among the locks",
        "2",
    ),
    one_arch(
        "open.seals",
        "1 (no more seals) for what is no memfd",
        "0x1",
    ),
];
