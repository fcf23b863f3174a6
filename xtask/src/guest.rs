//! A guest of this checkout, for the verbs that start one outside of a run.

use crossthaw_harness::arch::Arch;
use crossthaw_harness::build::BuildContext;
use crossthaw_harness::guest;
use crossthaw_harness::host::Needs;
use crossthaw_harness::kernel::{self, Flavor, Source};
use crossthaw_harness::qemu::GuestSpec;

use crate::build::{Show, kernel_error};
use crate::context::Context;
use crate::setup;

/// Build what it is made of, if the store has it not, and say on standard error how far that is.
///
/// What the machine lacks for that is installed if a person agrees.
pub(crate) fn spec(
    cx: &Context,
    ctx: &BuildContext,
    arch: Arch,
    flavor: Flavor,
    source: &Source,
) -> anyhow::Result<GuestSpec> {
    setup::ensure(cx, &Needs::test(&[arch]), false)?;
    let show = Show::new(cx.terminal);
    let progress = |news| show.tell(news);
    let kernel = kernel::build(ctx, arch, flavor, source, &progress);
    show.done();
    let kernel = kernel.map_err(kernel_error)?;
    let image = guest::build(ctx, arch, &progress);
    show.done();
    Ok(GuestSpec::for_host(ctx, &kernel, &image?)?)
}
