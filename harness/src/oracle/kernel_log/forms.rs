//! How each class of fault begins, on each architecture.

use super::Class;

/// How a message is recognised.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// It begins so.
    Begins(&'static str),
    /// It begins so, and has this further on.
    BeginsHas(&'static str, &'static str),
    /// It has this, where what comes before is one word with a colon, such as `watchdog: `, or nothing.
    Prefixed(&'static str),
    /// `NAME: WORDS`, where the name is a task's.
    OfTask(&'static str),
    /// A trap in kernel mode: these words, a code, and the number of the trap, `: 0000 [#1]`.
    Trap(&'static str),
    /// A trap in kernel mode that has this somewhere.
    TrapHas(&'static str),
}

impl Form {
    pub(super) fn matches(self, message: &str) -> bool {
        match self {
            Self::Begins(text) => message.starts_with(text),
            Self::BeginsHas(text, part) => message
                .strip_prefix(text)
                .is_some_and(|rest| rest.contains(part)),
            Self::Prefixed(text) => {
                message.starts_with(text)
                    || message.split_once(": ").is_some_and(|(prefix, rest)| {
                        prefix.split(' ').count() <= 2 && rest.starts_with(text)
                    })
            }
            Self::OfTask(text) => message
                .split_once(": ")
                .is_some_and(|(_, rest)| rest.starts_with(text)),
            Self::Trap(text) => {
                let rest = message.strip_prefix("Oops: ").unwrap_or(message);
                rest.strip_prefix(text).is_some_and(is_trap)
            }
            Self::TrapHas(text) => message.contains(text) && is_trap(message),
        }
    }
}

/// Does this hold `[#1]`, the number of a trap?
fn is_trap(text: &str) -> bool {
    text.split("[#")
        .skip(1)
        .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains(']'))
}

use Form::{Begins, BeginsHas, OfTask, Prefixed, Trap, TrapHas};

/// The first form that matches gives the class: special ones before general ones.
pub(super) const FORMS: &[(Class, Form)] = &[
    (Class::Panic, Begins("Kernel panic - not syncing")),
    (Class::Kasan, Begins("BUG: KASAN: ")),
    (Class::Kasan, Begins("BUG: KFENCE: ")),
    (Class::Kasan, Begins("BUG: KMSAN: ")),
    (Class::Ubsan, Begins("UBSAN: ")),
    (Class::Refcount, Begins("refcount_t: ")),
    (Class::List, Begins("list_add corruption")),
    (Class::List, Begins("list_del corruption")),
    (Class::List, Begins("list_add double add")),
    // kernel/locking/lockdep.c, kernel/rcu/: the headline of a report between two rules.
    (Class::Rcu, Begins("WARNING: suspicious RCU usage")),
    (Class::Rcu, Begins("INFO: suspicious RCU usage")),
    (Class::Lockdep, BeginsHas("WARNING: possible ", "lock")),
    (Class::Lockdep, BeginsHas("[ INFO: possible ", "lock")),
    (Class::Lockdep, Begins("WARNING: inconsistent lock state")),
    (Class::Lockdep, Begins("WARNING: bad unlock balance")),
    (Class::Lockdep, Begins("WARNING: bad contention detected")),
    (Class::Lockdep, Begins("WARNING: held lock freed")),
    (Class::Lockdep, Begins("WARNING: lock held when returning")),
    (Class::Lockdep, Begins("WARNING: Nested lock was not taken")),
    (
        Class::Lockdep,
        BeginsHas("WARNING: ", "lock order detected"),
    ),
    (
        Class::Lockdep,
        BeginsHas("WARNING: ", "still has locks held"),
    ),
    (Class::Lockdep, Begins("[ BUG: Invalid wait context ]")),
    (
        Class::Lockdep,
        Begins("INFO: trying to register non-static key"),
    ),
    (Class::Lockdep, BeginsHas("BUG: key ", "not in .data")),
    (Class::Lockdep, Begins("BUG: MAX_LOCK")),
    (Class::Lockdep, Begins("BUG: looking up invalid subclass")),
    (Class::Lockdep, Begins("BUG: MAX_STACK_TRACE_ENTRIES")),
    (Class::Lockdep, Begins("BUG: workqueue leaked ")),
    (Class::Lockdep, BeginsHas("BUG: spinlock ", " on CPU#")),
    (Class::Lockdep, BeginsHas("BUG: rwlock ", " on CPU#")),
    (Class::Lockdep, Begins("WARNING: chain_key collision")),
    (Class::Lockdep, Begins("DEBUG_LOCKS_WARN_ON(")),
    (Class::SoftLockup, Prefixed("BUG: soft lockup - CPU#")),
    (Class::SoftLockup, Prefixed("BUG: workqueue lockup")),
    (Class::HardLockup, BeginsHas("watchdog: ", "ard LOCKUP")),
    (Class::HardLockup, BeginsHas("NMI watchdog: ", "ard LOCKUP")),
    // Not `RCU CPU stall warnings timeout set to 60`.
    (Class::RcuStall, BeginsHas("rcu: INFO: ", "stall")),
    (Class::RcuStall, BeginsHas("rcu: ", " kthread starved")),
    (
        Class::RcuStall,
        BeginsHas("rcu: ", " kthread timer wakeup didn't happen"),
    ),
    (Class::RcuStall, BeginsHas("INFO: rcu_", "stall")),
    (
        Class::HungTask,
        BeginsHas("INFO: task ", " blocked for more than "),
    ),
    (Class::AtomicSleep, Begins("BUG: sleeping function called")),
    (Class::AtomicSleep, Begins("BUG: scheduling while atomic")),
    (
        Class::AtomicSleep,
        Begins("BUG: scheduling in a non-blocking section"),
    ),
    (
        Class::AtomicSleep,
        BeginsHas("BUG: using ", "() in preemptible"),
    ),
    (Class::AtomicSleep, Begins("BUG: assuming atomic context")),
    (
        Class::AtomicSleep,
        Begins("BUG: assuming non migratable context"),
    ),
    (Class::Slab, BeginsHas("BUG ", "ainted): ")),
    (Class::Slab, BeginsHas("BUG ", " (Tainted: ")),
    (Class::Slab, BeginsHas("[", " overwritten] 0x")),
    (Class::Slab, Begins("ODEBUG: ")),
    (Class::BadPage, Begins("BUG: Bad page ")),
    (Class::BadPage, Begins("BUG: Bad rss-counter state")),
    (Class::BadPage, Begins("BUG: non-zero pgtables_bytes")),
    (
        Class::MemoryLeak,
        BeginsHas("kmemleak: ", "new suspected memory leak"),
    ),
    // lib/ref_tracker.c, net/core/dev.c, fs/super.c.
    (Class::Refcount, Begins("ref_tracker: reference already ")),
    (Class::MemoryLeak, BeginsHas("ref_tracker: ", " users at")),
    (Class::MemoryLeak, Begins("leaked reference.")),
    (
        Class::MemoryLeak,
        BeginsHas("unregister_netdevice: waiting for ", " to become free"),
    ),
    (
        Class::MemoryLeak,
        Begins("VFS: Busy inodes after unmount of "),
    ),
    (
        Class::MemoryLeak,
        BeginsHas("BUG: Dentry ", " still in use"),
    ),
    // x86: arch/x86/mm/fault.c, arch/x86/kernel/dumpstack.c.
    (Class::Oops, Begins("BUG: kernel NULL pointer dereference")),
    (Class::Oops, Begins("BUG: unable to handle ")),
    (Class::Oops, Trap("general protection fault")),
    (Class::Oops, Trap("invalid opcode")),
    (Class::Oops, Trap("divide error")),
    (Class::Oops, Trap("int3")),
    (Class::Oops, Trap("stack segment")),
    (Class::Oops, Trap("alignment check")),
    (Class::Oops, Trap("control protection fault")),
    (Class::Oops, Begins("traps: PANIC: double fault")),
    (Class::Oops, BeginsHas("BUG: ", " stack guard page was hit")),
    (Class::Oops, Begins("kernel tried to execute ")),
    (Class::Oops, Trap("Bad pagetable")),
    // s390: arch/s390/mm/fault.c, arch/s390/kernel/traps.c.
    (Class::Oops, Begins("Unable to handle kernel ")),
    (Class::Oops, Trap("illegal operation")),
    (Class::Oops, Trap("specification exception")),
    (Class::Oops, Trap("addressing exception")),
    (Class::Oops, Trap("execute exception")),
    (Class::Oops, Trap("privileged operation")),
    (Class::Oops, Trap("translation exception")),
    (Class::Oops, Trap("operand exception")),
    (Class::Oops, Trap("data exception")),
    (Class::Oops, Trap("fixpoint divide exception")),
    (Class::Oops, Trap("stack overflow")),
    (Class::Oops, Begins("Kernel stack overflow")),
    // Whatever else `die()` is called with there.
    (Class::Oops, TrapHas(" ilc:")),
    // powerpc: arch/powerpc/mm/fault.c, arch/powerpc/kernel/traps.c.
    (Class::Oops, Begins("BUG: Kernel NULL pointer dereference")),
    (Class::Oops, Begins("BUG: Unable to handle kernel ")),
    (Class::Oops, Begins("Kernel attempted to ")),
    (Class::Oops, Begins("Unrecoverable exception ")),
    (Class::Oops, Begins("Bad kernel stack pointer")),
    (Class::Oops, Begins("Machine check in kernel mode")),
    (Class::Oops, BeginsHas("Oops: ", "[#")),
    (Class::Bug, BeginsHas("usercopy: ", " attempt detected ")),
    (Class::Bug, Begins("kernel BUG at ")),
    (Class::Bug, Begins("BUG: ")),
    (Class::Warning, BeginsHas("WARNING: CPU: ", " at ")),
    // The unwinder's, arch/x86/kernel/unwind_*.c.
    (Class::Warning, Begins("WARNING: kernel stack ")),
    (Class::Warning, Begins("WARNING: stack ")),
    (Class::Warning, Begins("WARNING: can't ")),
    (Class::Allocation, OfTask("page allocation failure: order:")),
    (Class::Allocation, OfTask("vmalloc error: size ")),
    (Class::Allocation, Begins("vmap allocation for size ")),
    (
        Class::Allocation,
        Begins("SLUB: Unable to allocate memory "),
    ),
    (
        Class::OutOfMemory,
        BeginsHas("", " invoked oom-killer: gfp_mask="),
    ),
    (Class::OutOfMemory, Begins("Out of memory: Killed process ")),
    // A report whose headline is none of the above.
    (Class::Trace, Begins("Call Trace:")),
    (Class::Trace, Begins("---[ end trace ")),
];
