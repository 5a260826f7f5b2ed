//! What comes from C and goes to it. All that the functions of `v2m.h` do with pointers is
//! here; what each relies on, its comment in the header tells C: pointers to handles are
//! those that this library gave and has not freed; pointers to structures are aligned, point
//! to as many bytes as their `size` says, and to nobody else's while the call lasts; texts end
//! with a NUL. NULL is looked for everywhere.

use std::ffi::{CStr, c_char};
use std::mem::size_of;
use std::ptr::NonNull;

use v2m_client::Result;

use crate::failure::{guard, invalid};
use crate::types::Code;

/// Plain data of C's: any bytes are a valid value of it.
///
/// # Safety
/// So it is.
pub(crate) unsafe trait Plain: Copy {}

/// A structure that begins with a `size_t` that says how many bytes of it are there.
///
/// # Safety
/// So it does.
pub(crate) unsafe trait Versioned: Plain {}

/// Calls `body` with what a handle is.
///
/// # Safety
/// `handle` is NULL or one of ours.
pub(crate) unsafe fn with<H>(handle: *const H, body: impl FnOnce(&H) -> Result<Code>) -> Code {
    guard(|| {
        // SAFETY: as promised to us; C frees no handle that a call is in.
        let handle = unsafe { handle.as_ref() };
        body(handle.ok_or_else(|| invalid("the first argument is NULL"))?)
    })
}

/// The same; what `body` gives goes to `to`.
///
/// # Safety
/// `handle` is NULL or one of ours; `to` is NULL, or a `T` can be written there.
pub(crate) unsafe fn fill<H, T>(
    handle: *const H,
    to: *mut T,
    body: impl FnOnce(&H) -> Result<(Code, T)>,
) -> Code {
    // SAFETY: as promised to us.
    unsafe {
        with(handle, |handle| {
            let to = place(to)?;
            let (code, value) = body(handle)?;
            to.write(value);
            Ok(code)
        })
    }
}

/// The same for a handle of its own, which C frees by [`free`].
///
/// # Safety
/// `to` is NULL, or a pointer can be written there.
pub(crate) unsafe fn make<T>(to: *mut *mut T, body: impl FnOnce() -> Result<T>) -> Code {
    guard(|| {
        let to = place(to)?;
        let made = Box::new(body()?);
        // SAFETY: as promised to us.
        unsafe { to.write(Box::into_raw(made)) };
        Ok(Code::Ok)
    })
}

/// Takes a handle back. NULL is nothing.
///
/// # Safety
/// `handle` is NULL, or of [`make`]'s and used no more.
pub(crate) unsafe fn free<T>(handle: *mut T, last: impl FnOnce(&T)) {
    guard(|| {
        if !handle.is_null() {
            // SAFETY: as promised to us.
            let handle = unsafe { Box::from_raw(handle) };
            last(&handle);
        }
        Ok(Code::Ok)
    });
}

/// Where something goes, if that isn't NULL. What is there is not looked at.
pub(crate) fn place<T>(pointer: *mut T) -> Result<NonNull<T>> {
    NonNull::new(pointer).ok_or_else(|| invalid("there is NULL where the result is to go"))
}

/// Gives C as many of `found` as it has room for, and how many there are.
///
/// # Safety
/// `to` is NULL, or `capacity` of them can be written there; `count` is NULL, or a number can.
pub(crate) unsafe fn list<T, U: From<T>>(
    found: Vec<T>,
    to: *mut U,
    capacity: usize,
    count: *mut usize,
) -> Result<Code> {
    let (counted, all) = (place(count)?, found.len());
    // SAFETY: as promised to us.
    unsafe {
        for (index, one) in found.into_iter().take(capacity).enumerate() {
            place(to)?.add(index).write(one.into());
        }
        counted.write(all);
    }
    Ok(Code::Ok)
}

/// A text of C's; None: NULL.
///
/// # Safety
/// `pointer` is NULL, or a text with a NUL at its end is there for longer than `'a`.
pub(crate) unsafe fn bytes<'a>(pointer: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: as promised to us.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// As much of a structure as both sides know; the rest is that of `defaults`, as all is for
/// NULL.
///
/// # Safety
/// `from` is NULL, or as many bytes are there as it says.
pub(crate) unsafe fn known<T: Versioned>(from: *const T, defaults: T) -> Result<T> {
    let mut copy = defaults;
    if !from.is_null() {
        // SAFETY: the size comes first and so many bytes are there; `copy` has room for as many
        // as are taken, and may have any.
        unsafe {
            let size = from.cast::<usize>().read();
            if size < size_of::<usize>() {
                let message = format!("a structure was not initialized: its size is {size}");
                return Err(invalid(message));
            }
            let count = size.min(size_of::<T>());
            std::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut copy).cast(), count);
        }
    }
    Ok(copy)
}

/// Gives as much of a structure as C has room for.
///
/// # Safety
/// `to` is NULL, or `size` bytes can be written there.
pub(crate) unsafe fn give<T: Versioned>(to: *mut T, size: usize, value: &T) -> Result<Code> {
    let to = place(to)?.as_ptr();
    let count = size.min(size_of::<T>());
    // SAFETY: as promised to us; `value` is plain data of no less than `count` bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(std::ptr::from_ref(value).cast::<u8>(), to.cast(), count)
    };
    Ok(Code::Ok)
}
