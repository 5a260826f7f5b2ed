//! A thread of a backend's own that rests while nothing is to be captured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

use v2m_error::Result;
use v2m_rt::bounded::{Bounded, Calls};

/// Ends its thread when dropped; one that hangs is left behind.
pub struct CaptureThread {
    orders: Arc<Orders>,
    thread: Bounded,
}

/// What the thread is told to do.
pub struct Orders {
    active: AtomicBool,
    over: Arc<AtomicBool>,
}

impl CaptureThread {
    /// Starts a thread of this name, at most 15 letters. It looks at its orders between
    /// blocks, and tells of calls that may hang.
    pub fn start(
        name: &'static str,
        active: bool,
        body: impl FnOnce(&Orders, &Calls) + Send + 'static,
    ) -> Result<Self> {
        let orders = Arc::new(Orders {
            active: AtomicBool::new(active),
            over: Arc::default(),
        });
        let told = orders.clone();
        let thread = Bounded::spawn(name, move |calls| body(&told, calls))?;
        Ok(Self { orders, thread })
    }

    /// Captures, or rests.
    pub fn set_active(&self, active: bool) {
        self.orders.active.store(active, Ordering::Release);
        self.thread.thread().map(Thread::unpark);
    }

    /// Which of its calls has not returned for long.
    pub fn hanging(&self) -> Option<String> {
        self.thread.hanging()
    }

    /// Has it end, and waits for that, but not for long.
    pub fn stop(&mut self) {
        self.orders.over.store(true, Ordering::Release);
        self.thread.thread().map(Thread::unpark);
        self.thread.join();
    }
}

impl Drop for CaptureThread {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Orders {
    /// Rests while there is nothing to capture. True if it did, or shall end.
    pub fn rest(&self) -> bool {
        let mut rested = false;
        while !self.active.load(Ordering::Acquire) && !self.is_over() {
            thread::park();
            rested = true;
        }
        rested || self.is_over()
    }

    /// Whether it shall end.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// As [`is_over`](Self::is_over), for what takes a flag.
    pub fn over(&self) -> &Arc<AtomicBool> {
        &self.over
    }
}
