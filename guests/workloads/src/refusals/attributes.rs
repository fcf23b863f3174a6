//! Small things that a task sets for itself.

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys::{self, Status};

/// The name of this process's namespace of a kind.
fn namespace_name(kind: &str) -> Result<String> {
    let path = format!("/proc/self/ns/{kind}");
    let name = std::fs::read_link(path).map_err(Error::from_io("read /proc/self/ns"))?;
    Ok(name.to_string_lossy().into_owned())
}

/// A child in a namespace of its own, of the `kind` that is named; `time_for_children` is that of its children.
pub(crate) fn other_namespace(stage: &mut Stage, args: &Args) -> Result<()> {
    let kind = args.text("kind", "mnt").to_owned();
    let flag = match kind.as_str() {
        "cgroup" => libc::CLONE_NEWCGROUP,
        "mnt" => libc::CLONE_NEWNS,
        "net" => libc::CLONE_NEWNET,
        "user" => libc::CLONE_NEWUSER,
        // include/uapi/linux/sched.h.
        "time_for_children" => 0x80,
        other => return Err(Error::Argument(format!("kind={other}"))),
    };
    let mine = namespace_name(&kind)?;
    let child = stage.spawn_ready("child", |child| {
        sys::unshare(flag)?;
        let before = namespace_name(&kind)?;
        child.hold()?;
        let after = namespace_name(&kind)?;
        child.equal("namespace", &after, &before);
        child.check("is another than the parent's", after != mine, &after);
        Ok(())
    })?;
    stage.hold()?;
    child.resume()?;
    stage.join(&child)
}

/// A child whose own children will be in a pid namespace of theirs.
pub(crate) fn pids_for_children(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = stage.spawn_ready("child", |child| {
        sys::unshare(libc::CLONE_NEWPID)?;
        child.hold()?;
        let Some(first) = sys::fork()? else {
            sys::exit(sys::pid() + 40)
        };
        child.equal("its first child", &sys::wait(first)?, &Status::Exited(41));
        Ok(())
    })?;
    stage.hold()?;
    child.resume()?;
    stage.join(&child)
}
