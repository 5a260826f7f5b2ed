//! A thread that a library made, and that calls us.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize};

use super::{lock_stack_of, thread_id};

/// What another thread has to know of it to look after it.
#[derive(Debug, Default)]
pub struct Noted {
    /// 0 before its first call.
    tid: AtomicI32,
    /// Where its stack was in that call.
    stack: AtomicUsize,
    locked: AtomicBool,
}

impl Noted {
    /// The calling thread's id. Asks the kernel: in its first call only.
    pub fn note(&self) -> i32 {
        let tid = thread_id();
        self.stack.store((&raw const tid).addr(), Relaxed);
        self.tid.store(tid, Release);
        tid
    }

    /// Its id, once it has called.
    pub fn tid(&self) -> Option<i32> {
        let tid = self.tid.load(Acquire);
        (tid != 0).then_some(tid)
    }

    /// Keeps its stack in memory, as soon as it has called; its id, the first time. By another
    /// thread; often, and cheap once done.
    pub fn lock_stack(&self) -> Option<i32> {
        let tid = self.tid()?;
        if self.locked.swap(true, Relaxed) {
            return None;
        }
        lock_stack_of(tid, self.stack.load(Relaxed));
        Some(tid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_looked_after_once_it_has_called() {
        let noted = Noted::default();
        assert_eq!((noted.tid(), noted.lock_stack()), (None, None));
        std::thread::scope(|scope| {
            let (called, heard) = std::sync::mpsc::channel();
            let (done, wait) = std::sync::mpsc::channel::<()>();
            let noted = &noted;
            scope.spawn(move || {
                called.send(noted.note()).unwrap();
                let _ = wait.recv();
            });
            let tid = heard.recv().unwrap();
            assert_eq!(noted.tid(), Some(tid));
            assert_eq!((noted.lock_stack(), noted.lock_stack()), (Some(tid), None));
            drop(done);
        });
    }
}
