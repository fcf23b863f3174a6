//! Which fields of a state are compared, and why some are not: one row a field.

use super::Form;

/// What a field is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Compared everywhere, and in the golden.
    Always,
    /// Compared between two states of one architecture; in no golden.
    OneArch,
    /// As `OneArch`, but it changes as the task runs on.
    OneMoment,
    /// Not compared.
    Never,
}

use Use::{Always, Never, OneArch, OneMoment};

impl Use {
    fn is_in(self, form: Form) -> bool {
        match form {
            Form::Full => self != Never,
            Form::Apart => matches!(self, Always | OneArch),
            Form::Golden => self == Always,
        }
    }
}

/// A field, its use, and the reason where it is not [`Always`].
type Row = (&'static str, Use, &'static str);

/// `/proc/PID/status`.
const STATUS: &[Row] = &[
    ("Name", OneArch, "the line `comm` has it"),
    ("Umask", Always, ""),
    (
        "State",
        OneMoment,
        "all that are frozen sleep; it is the others that matter",
    ),
    ("Tgid", OneArch, "the task's first line has it"),
    ("Ngid", OneArch, "the kernels have no NUMA"),
    ("Pid", OneArch, "the task's first line has it"),
    ("PPid", OneMoment, "the task's first line has it"),
    ("TracerPid", Always, ""),
    ("Uid", Always, ""),
    ("Gid", Always, ""),
    (
        "FDSize",
        Never,
        "the table of descriptors never shrinks; a restored one is as large as it must be",
    ),
    ("Groups", Always, ""),
    ("NStgid", OneArch, "the task's first line has it"),
    ("NSpid", OneArch, "the task's first line has it"),
    ("NSpgid", OneMoment, "the task's first line has it"),
    ("NSsid", OneMoment, "the task's first line has it"),
    (
        "VmPeak",
        Never,
        "a high-water mark of what has been; it is no part of what is",
    ),
    (
        "VmHWM",
        Never,
        "a high-water mark of what has been; it is no part of what is",
    ),
    (
        "VmSize",
        OneMoment,
        "mappings are of other sizes on each architecture",
    ),
    ("VmLck", OneArch, "in pages"),
    ("VmPin", OneArch, "in pages"),
    (
        "VmData",
        OneMoment,
        "mappings are of other sizes on each architecture",
    ),
    (
        "VmStk",
        OneMoment,
        "mappings are of other sizes on each architecture",
    ),
    (
        "VmExe",
        OneArch,
        "programs are of other sizes on each architecture",
    ),
    (
        "VmLib",
        OneArch,
        "programs are of other sizes on each architecture",
    ),
    (
        "VmRSS",
        Never,
        "clean pages of files come in when they are used",
    ),
    ("RssAnon", Never, "pages of zeros are not restored"),
    (
        "RssFile",
        Never,
        "clean pages of files come in when they are used",
    ),
    (
        "RssShmem",
        Never,
        "clean pages of files come in when they are used",
    ),
    ("VmPTE", Never, "page tables follow what is in memory"),
    (
        "VmSwap",
        Never,
        "what is swapped out is the kernel's choice",
    ),
    ("Threads", Always, ""),
    ("SigQ", Never, "counts the signals of all tasks of the user"),
    ("SigPnd", Always, ""),
    ("ShdPnd", Always, ""),
    ("SigBlk", Always, ""),
    ("SigIgn", Always, ""),
    ("SigCgt", Always, ""),
    ("CapInh", Always, ""),
    ("CapPrm", Always, ""),
    ("CapEff", Always, ""),
    ("CapBnd", Always, ""),
    ("CapAmb", Always, ""),
    ("NoNewPrivs", Always, ""),
    ("Seccomp", Always, ""),
    (
        "voluntary_ctxt_switches",
        Never,
        "counts how often it has run",
    ),
    (
        "nonvoluntary_ctxt_switches",
        Never,
        "counts how often it has run",
    ),
];

/// `/proc/PID/limits`.
const LIMITS: &[Row] = &[
    (
        "Max processes",
        OneArch,
        "follows from the size of the guest's memory and of a task",
    ),
    (
        "Max pending signals",
        OneArch,
        "follows from the size of the guest's memory and of a task",
    ),
];

/// `/proc/PID/fdinfo/N`.
const FDINFO: &[Row] = &[
    ("pos", Always, ""),
    // Bits 040000 to 0400000 have other meanings on powerpc; the golden has names for the others.
    ("flags", Always, ""),
    (
        "mnt_id",
        Never,
        "numbers the mounts of a guest in the order in which they were made",
    ),
    ("ino", Never, "the scenario's folder is laid out anew"),
    (
        "it_value",
        Never,
        "time that is left runs out while the task is frozen",
    ),
];

fn is_in(table: &[Row], field: &str, form: Form, unknown: Use) -> bool {
    let row = table.iter().find(|row| row.0 == field);
    row.map_or(unknown, |row| row.1).is_in(form)
}

/// Is this line of the status part of the form? What a later kernel adds is compared, but changes no golden.
pub(super) fn status(field: &str, form: Form) -> bool {
    is_in(STATUS, field, form, OneArch)
}

/// Is this limit part of the form?
pub(super) fn limit(name: &str, form: Form) -> bool {
    is_in(LIMITS, name, form, Always)
}

/// Is this line about a descriptor part of the form?
pub(super) fn fdinfo(field: &str, form: Form) -> bool {
    is_in(FDINFO, field, form, OneArch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_is_not_always_used_has_a_reason() {
        for table in [STATUS, LIMITS, FDINFO] {
            for (at, &(field, used, reason)) in table.iter().enumerate() {
                assert_eq!(used == Always, reason.is_empty(), "{field}");
                assert!(
                    table[..at].iter().all(|row| row.0 != field),
                    "{field} twice"
                );
            }
        }
    }

    #[test]
    fn unknown_fields_are_compared_but_change_no_golden() {
        assert!(status("x86_Thread_features", Form::Full));
        assert!(!status("x86_Thread_features", Form::Golden));
        assert!(!status("VmRSS", Form::Full));
        assert!(!fdinfo("it_value", Form::Full));
        assert!(status("VmSize", Form::Full) && !status("VmSize", Form::Apart));
    }
}
