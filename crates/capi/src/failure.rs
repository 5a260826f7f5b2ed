//! Failures as C is told them: a code, and the text of the thread's last one.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use v2m_client::{Error, ErrorKind, Result};

use crate::types::Code;

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Runs what a function of C's does. No panic gets out.
pub(crate) fn guard(body: impl FnOnce() -> Result<Code>) -> Code {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            note(&error.to_string());
            error.kind().into()
        }
        Err(_) => {
            note("libv2m: a fault in the library itself; its message is on standard error");
            Code::ErrorInternal
        }
    }
}

/// A thread that ends has no last failure any more.
fn note(text: &str) {
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    let _ = LAST.try_with(|last| last.replace(text));
}

/// Good until the thread's next failure.
pub(crate) fn last() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr())
        .unwrap_or(c"".as_ptr())
}

pub(crate) fn invalid(message: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

pub(crate) fn describe(code: i32) -> &'static CStr {
    match code {
        0 => c"done",
        1 => c"nothing yet",
        2 => c"audio was overwritten before it was read",
        3 => c"the source has ended, or the stream was closed",
        4 => c"a signal was handled",
        5 => c"the engine is gone or hears no speech: recover",
        -1 => c"an argument is wrong",
        -2 => c"no engine can be reached or started",
        -3 => c"the source is not there, refuses, or gives no audio",
        -4 => c"the engine broke the protocol",
        -5 => c"the engine did not answer in time",
        -6 => c"the operating system refused",
        -7 => c"a fault in libv2m",
        _ => c"no code of libv2m's",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_panic_gets_out() {
        let code = guard(|| panic!("on purpose"));
        assert_eq!(code, Code::ErrorInternal);
        LAST.with(|last| assert!(last.borrow().to_string_lossy().contains("fault")));
    }

    #[test]
    fn every_code_is_described() {
        for code in -7..=5 {
            assert_ne!(describe(code), describe(99), "{code}");
        }
    }
}
