//! Names of error numbers.

use std::io;

macro_rules! names {
    ($($name:ident)*) => {
        /// The kernel's name of an error number, `EBUSY`; `None` for those that the tools never meet.
        pub fn name(errno: i32) -> Option<&'static str> {
            match errno {
                $(libc::$name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST ENODEV ENOTDIR EISDIR
    EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP
    ENODATA EOVERFLOW EBADMSG EOPNOTSUPP ETIMEDOUT EUCLEAN EUSERS
}

/// `EBUSY (Device or resource busy)`.
pub fn describe(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else {
        return error.to_string();
    };
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    match name(number) {
        Some(name) => format!("{name} ({text})"),
        None => format!("errno {number} ({text})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_described_by_name_and_text() {
        assert_eq!(
            describe(&io::Error::from_raw_os_error(libc::EBUSY)),
            "EBUSY (Device or resource busy)"
        );
        assert_eq!(
            describe(&io::Error::from_raw_os_error(9999)),
            "errno 9999 (Unknown error 9999)"
        );
        assert_eq!(describe(&io::Error::other("odd")), "odd");
    }
}
