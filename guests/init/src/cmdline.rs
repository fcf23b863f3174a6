//! What the kernel's command line asks of init: `crossthaw.mode=shell`, `crossthaw.share=virtiofs|9p`.

use crate::mounts::Share;

/// What PID 1 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Serves the harness.
    Agent,
    /// A prompt on the console.
    Shell,
}

/// The options, and what was not understood of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) share: Option<Share>,
    pub(crate) unknown: Vec<String>,
}

/// Read `/proc/cmdline`.
pub(crate) fn parse(text: &str) -> Options {
    let mut options = Options {
        mode: Mode::Agent,
        share: None,
        unknown: Vec::new(),
    };
    for option in text
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("crossthaw."))
    {
        match option {
            "mode=agent" => options.mode = Mode::Agent,
            "mode=shell" => options.mode = Mode::Shell,
            "share=virtiofs" => options.share = Some(Share::Virtiofs),
            "share=9p" => options.share = Some(Share::Plan9),
            other => options.unknown.push(other.to_owned()),
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, mode: Mode, share: Option<Share>, unknown: &[&str]) {
        let unknown = unknown.iter().map(|&text| text.to_owned()).collect();
        assert_eq!(
            parse(text),
            Options {
                mode,
                share,
                unknown
            }
        );
    }

    #[test]
    fn options_are_found_among_those_of_the_kernel() {
        check("console=ttyS0 panic=-1\n", Mode::Agent, None, &[]);
        check(
            "console=ttyS0 crossthaw.mode=shell crossthaw.share=9p\n",
            Mode::Shell,
            Some(Share::Plan9),
            &[],
        );
        check(
            "crossthaw.share=virtiofs crossthaw.share=nfs",
            Mode::Agent,
            Some(Share::Virtiofs),
            &["share=nfs"],
        );
    }
}
