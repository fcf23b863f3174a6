//! Rules for what belongs to the tree as a whole.

use super::super::canon::{device, inode, mount, peers};
use super::{Rule, always, never, one_arch, one_moment, relation};

const POINTER: &str = "an address in the kernel's memory";
const NAME: &str = "the line begins with it";
const COUNTS: &str = "counts the kernel's own references";
const TIMES: &str =
    "when it was used last, in the time of a kernel that the restored one never saw";
const BUFFERS: &str = "bytes that buffers occupy depend on the size of the kernel's structures";
const COMPILED: &str = "each architecture's compiler makes a program of its own";

pub(super) const RULES: &[Rule] = &[
    // The cgroup
    one_arch("cgroup.*", "the agent makes the cgroup", "domain"),
    // Mounts
    one_arch("mount.name", NAME, "/proc"),
    always("mount.id", "25").as_(
        mount,
        "#1",
        "numbered by each kernel in the order of their making",
    ),
    always("mount.parent", "24").as_(
        mount,
        "#1",
        "numbered by each kernel in the order of their making",
    ),
    one_arch("mount.device", "the golden has type and source", "0:26").as_(
        device,
        "#1",
        "numbered by each kernel in the order of their making",
    ),
    always("mount.root", "/"),
    always("mount.options", "rw,nosuid"),
    always("mount.propagation", "shared:7").as_(
        peers,
        "shared:#1",
        "numbered by each kernel in the order of their making",
    ),
    always("mount.type", "proc"),
    always("mount.source", "proc"),
    one_arch(
        "mount.super options",
        "sizes are in units of pages",
        "rw,size=1024k",
    ),
    // Names of the host, limits of ipc objects
    one_arch("uts.name", NAME, "1"),
    always("uts.*", "(none)"),
    one_arch("ipc.name", NAME, "1"),
    one_arch(
        "ipc.*",
        "limits of the kernel; 32-bit kernels have smaller ones",
        "32000",
    ),
    // System V ipc objects and POSIX message queues
    one_arch("shm.name", NAME, "0"),
    always("shm.*", "0"),
    never("shm.atime", TIMES, "9"),
    never("shm.dtime", TIMES, "9"),
    never(
        "shm.rss",
        "what is in memory is the kernel's choice",
        "4096",
    ),
    never("shm.swap", "what is in memory is the kernel's choice", "0"),
    one_arch("sem.name", NAME, "0"),
    always("sem.*", "0"),
    one_arch("msg.name", NAME, "0"),
    always("msg.*", "0"),
    one_arch("mqueue.name", NAME, "queue"),
    always("mqueue.*", "0"),
    // Sockets
    one_arch("unix.name", NAME, "1:5"),
    always("unix.*", "0001"),
    never("unix.Num", POINTER, "000000001"),
    never("unix.RefCount", COUNTS, "00000002"),
    never("unix.Inode", "the line begins with the descriptor", "77"),
    one_arch("netlink.name", NAME, "1:5"),
    always("netlink.*", "0"),
    never("netlink.sk", POINTER, "000000001"),
    never("netlink.Locks", COUNTS, "2"),
    never("netlink.Inode", "the line begins with the descriptor", "77"),
    one_arch("packet.name", NAME, "1:5"),
    always("packet.*", "0"),
    never("packet.sk", POINTER, "000000001"),
    never("packet.RefCnt", COUNTS, "2"),
    never("packet.Inode", "the line begins with the descriptor", "77"),
    one_arch("tcp*", "`socket` lines have it on all architectures", "0"),
    one_arch("udp*", "`socket` lines have it on all architectures", "0"),
    never("tcp.inode", "the line begins with the descriptor", "77"),
    never("tcp6.inode", "the line begins with the descriptor", "77"),
    never("udp.inode", "the line begins with the descriptor", "77"),
    never("udp6.inode", "the line begins with the descriptor", "77"),
    never("tcp.pointer", POINTER, "1"),
    never("tcp6.pointer", POINTER, "1"),
    never("udp.pointer", POINTER, "1"),
    never("udp6.pointer", POINTER, "1"),
    one_arch("socket.name", NAME, "1:5"),
    always("socket.*", "1"),
    one_arch(
        "socket.file",
        "inode and device of a path, in the architecture's byte order",
        "4d000000",
    ),
    one_arch(
        "socket.queues",
        "in the architecture's byte order",
        "0000000000000000",
    ),
    one_arch("socket.memory", BUFFERS, "00000000"),
    one_arch("socket.uid", "in the architecture's byte order", "00000000"),
    one_arch(
        "socket.attribute *",
        "in the architecture's byte order",
        "00000000",
    ),
    // Locks
    one_moment("lock.name", NAME, "0"),
    always("lock.*", "POSIX"),
    relation("lock.pid", "its holder may not be in the image", "1"),
    always("lock.file", "00:1a:77").as_(inode, "#1", "the scenario's folder is laid out anew"),
    // The scenario's folder
    one_arch("file.name", NAME, "data"),
    always("file.type", "regular"),
    always("file.mode", "0644"),
    always("file.owner", "0:0"),
    always("file.links", "1"),
    always("file.size", "5"),
    one_arch("file.device", "the type has it", "0"),
    always("file.inode", "1a:77").as_(inode, "#1", "the scenario's folder is laid out anew"),
    one_moment("file.changed", "the time of a run", "1000.000000000"),
    always("file.contents", "0123456789abcdef"),
    always("file.target", "data"),
    always("file.format", "ELF"),
    always("file.attribute *", "00"),
    // The same of programs and libraries that the harness laid out
    one_arch("program.name", NAME, "sleeper"),
    always("program.*", "0"),
    one_arch("program.device", "the type has it", "0"),
    one_arch("program.size", COMPILED, "15960"),
    one_arch("program.contents", COMPILED, "0123456789abcdef"),
    one_moment("program.changed", "the time of a run", "0.000000000"),
    always("program.inode", "1a:77").as_(inode, "#1", "the scenario's folder is laid out anew"),
    // The same of what begins with a dot: how far a workload is
    one_arch("hidden.name", NAME, ".ready"),
    always("hidden.*", "0"),
    one_arch("hidden.device", "the type has it", "0"),
    one_arch(
        "hidden.size",
        "what a workload keeps for itself depends on when it was frozen",
        "20",
    ),
    one_arch(
        "hidden.contents",
        "what a workload keeps for itself depends on when it was frozen",
        "0123456789abcdef",
    ),
    one_moment("hidden.changed", "the time of a run", "1000.000000000"),
    always("hidden.inode", "1a:77").as_(inode, "#1", "the scenario's folder is laid out anew"),
];
