//! What PipeWire's data thread does when a cycle is through: the others in the graph have
//! been told that this node is done, and the thread is about to wait for the next cycle.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::time::Duration;
use std::{mem, thread};

use libspa_sys as spa_sys;
use nix::libc;
use nix::unistd::gettid;
use pipewire::core::CoreRc;
use pipewire_sys as pw_sys;

/// Called on the data thread, after cycles and whatever else it was woken for: no
/// allocation, lock or log.
pub type Call = Box<dyn Fn() + Send>;

/// How often, and after which pause, a loop that doesn't run yet is tried again.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(1);

/// A call before every rest of the data thread, until dropped.
pub struct LoopHook {
    /// `None` where PipeWire has no thread of its own for nodes.
    hooked: Option<(NonNull<pw_sys::pw_data_loop>, NonNull<Hooked>)>,
    // The context, and with it the loop, stays as long as the core.
    _core: CoreRc,
}

/// What the loop keeps pointers to.
struct Hooked {
    hook: spa_sys::spa_hook,
    hooks: spa_sys::spa_loop_control_hooks,
    call: Call,
    control: NonNull<spa_sys::spa_loop_control>,
    /// The thread that is not the loop's.
    main: i32,
    /// The loop's thread, once the hook is in place.
    thread: Cell<Option<i32>>,
}

impl LoopHook {
    /// Begins; the first call may come before this returns.
    pub fn new(core: &CoreRc, call: Call) -> Self {
        // SAFETY: the core is alive, and its context as long; a context gives its data
        // loop or null, and a loop that is there its control. All live as long as the
        // context, which `_core` keeps.
        let found = unsafe {
            let context = pw_sys::pw_core_get_context(core.as_raw_ptr().cast());
            lookups().and_then(|(data_loop_of, loop_of)| {
                let data_loop = NonNull::new(data_loop_of(context))?;
                let inner = NonNull::new(loop_of(data_loop.as_ptr()))?;
                let control = NonNull::new((*inner.as_ptr()).control)?;
                Some((data_loop, control.cast::<spa_sys::spa_loop_control>()))
            })
        };
        let hooked = found.map(|(data_loop, control)| {
            let hooked = Box::new(Hooked {
                // SAFETY: pointers and optional function pointers, which the loop fills in.
                hook: unsafe { mem::zeroed() },
                hooks: spa_sys::spa_loop_control_hooks {
                    version: spa_sys::SPA_VERSION_LOOP_CONTROL_HOOKS,
                    before: Some(before),
                    // Newer loops take none without it.
                    after: Some(after),
                },
                call,
                control,
                main: gettid().as_raw(),
                thread: Cell::new(None),
            });
            (data_loop, NonNull::from(Box::leak(hooked)))
        });
        let this = Self {
            hooked,
            _core: core.clone(),
        };
        if let Some((data_loop, hooked)) = this.hooked {
            for _ in 0..TRIES {
                on_thread(data_loop, add, hooked);
                if this.thread().is_some() {
                    break;
                }
                thread::sleep(PAUSE);
            }
        }
        this
    }

    /// The id of the thread that calls; `None` if none will.
    pub fn thread(&self) -> Option<i32> {
        let (_, hooked) = self.hooked?;
        // SAFETY: alive until `drop`; written by calls that `new` has waited for.
        unsafe { (*hooked.as_ptr()).thread.get() }
    }
}

impl Drop for LoopHook {
    fn drop(&mut self) {
        let Some((data_loop, hooked)) = self.hooked else {
            return;
        };
        on_thread(data_loop, remove, hooked);
        // SAFETY: from `leak` in `new`; the loop knows it no more.
        drop(unsafe { Box::from_raw(hooked.as_ptr()) });
    }
}

type DataLoopOf = unsafe extern "C" fn(*mut pw_sys::pw_context) -> *mut pw_sys::pw_data_loop;
type LoopOf = unsafe extern "C" fn(*mut pw_sys::pw_data_loop) -> *mut pw_sys::pw_loop;

/// `pw_context_get_data_loop` and `pw_data_loop_get_loop`, where libpipewire has both: before
/// 0.3.56 it hasn't, and a program that needs them wouldn't start.
fn lookups() -> Option<(DataLoopOf, LoopOf)> {
    // SAFETY: looks names up among the libraries that are loaded. What has these names is
    // libpipewire's functions of these types.
    unsafe {
        let data_loop_of = libc::dlsym(libc::RTLD_DEFAULT, c"pw_context_get_data_loop".as_ptr());
        let loop_of = libc::dlsym(libc::RTLD_DEFAULT, c"pw_data_loop_get_loop".as_ptr());
        Some((
            mem::transmute::<*mut c_void, Option<DataLoopOf>>(data_loop_of)?,
            mem::transmute::<*mut c_void, Option<LoopOf>>(loop_of)?,
        ))
    }
}

type OnThread = unsafe extern "C" fn(
    *mut spa_sys::spa_loop,
    bool,
    u32,
    *const c_void,
    usize,
    *mut c_void,
) -> i32;

/// Has `what` done by the loop's thread, between two rests, and waits for it; where the loop
/// doesn't run, by this one.
fn on_thread(data_loop: NonNull<pw_sys::pw_data_loop>, what: OnThread, hooked: NonNull<Hooked>) {
    // SAFETY: the loop is alive (see `new`); no data is passed but `hooked`, alive until
    // the blocking call has returned.
    unsafe {
        pw_sys::pw_data_loop_invoke(
            data_loop.as_ptr(),
            Some(what),
            0,
            ptr::null(),
            0,
            true,
            hooked.as_ptr().cast(),
        );
    }
}

unsafe extern "C" fn add(
    _loop: *mut spa_sys::spa_loop,
    _async: bool,
    _seq: u32,
    _data: *const c_void,
    _size: usize,
    hooked: *mut c_void,
) -> i32 {
    let hooked = hooked.cast::<Hooked>();
    // SAFETY: `hooked` is what `on_thread` was given, alive until `remove` has run, and
    // stays where it is. On the loop's thread its hooks are not being called now: the list
    // may change. The methods are those that the loop's interface names.
    unsafe {
        let here = gettid().as_raw();
        if here == (*hooked).main {
            return 0;
        }
        let interface = (*(*hooked).control.as_ptr()).iface.cb;
        let methods = interface.funcs.cast::<spa_sys::spa_loop_control_methods>();
        if let Some(add_hook) = (*methods).add_hook {
            add_hook(
                interface.data,
                &raw mut (*hooked).hook,
                &raw const (*hooked).hooks,
                hooked.cast(),
            );
        }
        if !(*hooked).hook.link.next.is_null() {
            (*hooked).thread.set(Some(here));
        }
    }
    0
}

unsafe extern "C" fn remove(
    _loop: *mut spa_sys::spa_loop,
    _async: bool,
    _seq: u32,
    _data: *const c_void,
    _size: usize,
    hooked: *mut c_void,
) -> i32 {
    // SAFETY: as in `add`; a loop that no thread runs calls no hooks either. A hook that was
    // never taken is in no list.
    unsafe {
        let hook = (*hooked.cast::<Hooked>()).hook;
        if !hook.link.next.is_null() {
            libspa::utils::hook::remove(hook);
        }
    }
    0
}

unsafe extern "C" fn before(hooked: *mut c_void) {
    // SAFETY: what `add` gave the loop, alive until `remove` has run on this thread; nobody
    // changes the field.
    let call = unsafe { &(*hooked.cast::<Hooked>()).call };
    call();
}

unsafe extern "C" fn after(_hooked: *mut c_void) {}
