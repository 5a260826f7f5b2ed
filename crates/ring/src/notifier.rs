//! Who wakes whom. What the audio thread writes it announces without a system call. When
//! it has done what the graph waits for, it wakes those who wait for audio: the first few
//! itself, without a detour, all others through the wake-up thread. So nobody in the graph
//! waits for clients to be woken, and the audio thread's cost does not depend on how many
//! there are.
//!
//! The VAD worker waits on a word of its own, the same for all rings that it hears. On a
//! ring's, a real-time thread would come before every client; and it has no use for less
//! than a window.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::wake;
use super::writer::Ring;
use crate::error::{Error, Result};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Readers that are woken without a detour: some microseconds' work. Programs that listen
/// at the same time are rarely more.
const AT_ONCE: u32 = 8;

/// Rings for everybody who waits for the ring.
#[derive(Clone, Debug)]
pub struct Notifier {
    ring: Arc<Ring>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Changes when more wait than are woken at once; the wake-up thread waits on it.
    rung: AtomicU32,
    /// Is nudged with every window that is complete.
    windows: Subscription,
    /// Windows that were complete then.
    complete: AtomicU64,
    /// The ring's word at the last [`Notifier::wake`].
    woken: AtomicU32,
    stop: AtomicU32,
}

/// Where the VAD worker waits: a word that changes with every window that is complete in
/// any of the rings that nudge it.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    windows: Arc<AtomicU32>,
}

impl Subscription {
    /// Taken before looking for a window; see [`wait`](Self::wait).
    pub fn ticket(&self) -> u32 {
        wake::ticket(&self.windows)
    }

    /// Waits until a window was completed after `ticket` was taken, or for a
    /// [`nudge`](Self::nudge).
    pub fn wait(&self, ticket: u32) {
        wake::wait(&self.windows, ticket, Duration::from_secs(3600));
    }

    /// Ends the wait without a window.
    pub fn nudge(&self) {
        wake::announce(&self.windows);
        wake::wake_all(&self.windows);
    }
}

impl Notifier {
    /// Announces what was committed: whoever looks from now on finds it. Those who wait
    /// do so until [`wake`](Self::wake). No system call.
    #[inline]
    pub fn announce(&self) {
        wake::announce(self.ring.wake_word());
    }

    /// Wakes those who wait for what was announced since the last call, if anything was:
    /// three system calls at most, in a time that does not depend on how many wait.
    #[inline]
    pub fn wake(&self) {
        let now = wake::ticket(self.ring.wake_word());
        if self.shared.woken.swap(now, Ordering::Relaxed) != now {
            self.wake_waiting();
        }
    }

    /// Announces what was committed, and wakes those who wait for it.
    pub fn notify(&self) {
        self.announce();
        self.wake_waiting();
    }

    fn wake_waiting(&self) {
        let shared = &*self.shared;
        if wake::wake_others(self.ring.wake_word(), AT_ONCE) == AT_ONCE {
            wake::announce(&shared.rung);
            wake::wake_all(&shared.rung);
        }
        // After the readers: wherever it runs it comes before them.
        let complete = self.ring.complete_windows();
        if shared.complete.swap(complete, Ordering::Relaxed) != complete {
            shared.windows.nudge();
        }
    }
}

/// The wake-up thread; stopped and joined when dropped.
#[derive(Debug)]
pub struct WakeUpThread {
    notifier: Notifier,
    thread: Option<JoinHandle<()>>,
}

impl WakeUpThread {
    /// Starts the thread. `prepare` runs on it first (its scheduling).
    pub fn start(ring: Arc<Ring>, prepare: impl FnOnce() + Send + 'static) -> Result<Self> {
        Self::nudging(Subscription::default(), ring, prepare)
    }

    /// The same, with whoever waits at `windows` being told of the ring's windows.
    pub fn nudging(
        windows: Subscription,
        ring: Arc<Ring>,
        prepare: impl FnOnce() + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            rung: AtomicU32::new(0),
            windows,
            complete: AtomicU64::new(0),
            woken: AtomicU32::new(0),
            stop: AtomicU32::new(0),
        });
        let notifier = Notifier {
            ring: ring.clone(),
            shared: shared.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("v2m-wake".into())
            .spawn(move || {
                prepare();
                let mut heard = 0;
                while shared.stop.load(Ordering::Acquire) == 0 {
                    let ticket = wake::ticket(&shared.rung);
                    if ticket == heard {
                        wake::wait(&shared.rung, ticket, Duration::from_secs(3600));
                        continue;
                    }
                    heard = ticket;
                    wake::wake_others(ring.wake_word(), u32::MAX);
                }
            })
            .map_err(|cause| Error::system("cannot start the wake-up thread", cause))?;
        Ok(Self {
            notifier,
            thread: Some(thread),
        })
    }

    /// A notifier.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// Where the VAD worker is to wait.
    pub fn windows(&self) -> Subscription {
        self.notifier.shared.windows.clone()
    }
}

impl Drop for WakeUpThread {
    fn drop(&mut self) {
        let shared = &self.notifier.shared;
        shared.stop.store(1, Ordering::Release);
        wake::announce(&shared.rung);
        wake::wake_all(&shared.rung);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
    use std::thread;

    use super::*;
    use crate::Waited;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(100);

    fn wake_up_thread() -> (Arc<Ring>, WakeUpThread) {
        let ring = Arc::new(Ring::create(1 << 16).unwrap().0);
        (ring.clone(), WakeUpThread::start(ring, || {}).unwrap())
    }

    /// As many readers, which wait from the word's present value.
    fn waiting(ring: &Arc<Ring>, readers: u32) -> Receiver<Waited> {
        let (sender, receiver) = channel();
        let ticket = wake::ticket(ring.wake_word());
        for _ in 0..readers {
            let (ring, sender) = (ring.clone(), sender.clone());
            thread::spawn(move || sender.send(wake::wait(ring.wake_word(), ticket, LONG)));
        }
        // Long enough for them to wait; whom the word's change meets before is not woken.
        thread::sleep(SHORT);
        receiver
    }

    #[test]
    fn what_is_announced_wakes_nobody_until_it_is_time() {
        let (ring, wake_up_thread) = wake_up_thread();
        let readers = waiting(&ring, 1);
        let notifier = wake_up_thread.notifier();
        notifier.announce();
        assert_eq!(readers.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        notifier.wake();
        assert_eq!(readers.recv_timeout(LONG), Ok(Waited::Changed));
        let readers = waiting(&ring, 1);
        notifier.wake(); // nothing new
        assert_eq!(readers.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        notifier.notify();
        assert_eq!(readers.recv_timeout(LONG), Ok(Waited::Changed));
    }

    #[test]
    fn all_are_woken_however_many() {
        let (ring, wake_up_thread) = wake_up_thread();
        for readers in [AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, AT_ONCE * 4] {
            let woken = waiting(&ring, readers);
            wake_up_thread.notifier().notify();
            for _ in 0..readers {
                assert_eq!(woken.recv_timeout(LONG), Ok(Waited::Changed));
            }
        }
    }
}
