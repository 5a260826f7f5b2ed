//! Outputs on their way to the real-time thread, and those that come back from it.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use super::output::Output;
use v2m_ring::Rate;
use v2m_ring::sync::TryCell;

/// One place for each rate.
pub(super) type Outputs = [Option<Box<Output>>; Rate::ALL.len()];

/// What is to become of a rate's output.
#[derive(Default)]
enum Change {
    #[default]
    None,
    Put(Box<Output>),
    Take,
}

#[derive(Default)]
struct Changes {
    wanted: [Change; Rate::ALL.len()],
    /// Given back, to be freed where there is time for it.
    #[expect(
        clippy::vec_box,
        reason = "the audio thread moves the box, and frees nothing"
    )]
    gone: Vec<Box<Output>>,
}

/// Neither side waits for the other's work: the real-time thread takes a change up with its
/// next block, and the other thread only as long as that takes.
pub(super) struct Mailbox {
    pending: AtomicBool,
    changes: TryCell<Changes>,
}

impl Mailbox {
    pub(super) fn new() -> Self {
        Self {
            pending: AtomicBool::new(false),
            changes: TryCell::new(Changes {
                // Of each rate one that was put and not taken up, and one that was taken back.
                gone: Vec::with_capacity(2 * Rate::ALL.len()),
                ..Changes::default()
            }),
        }
    }

    /// Hands an output over.
    pub(super) fn put(&self, output: Box<Output>) {
        self.want(output.rate(), Change::Put(output));
    }

    /// Asks for a rate's output.
    pub(super) fn take(&self, rate: Rate) {
        self.want(rate, Change::Take);
    }

    fn want(&self, rate: Rate, change: Change) {
        let mut change = Some(change);
        let before = loop {
            let swapped = self.changes.try_with(|changes| {
                let place = &mut changes.wanted[rate.index()];
                std::mem::replace(place, change.take().unwrap_or_default())
            });
            match swapped {
                Some(before) => break before,
                None => std::thread::yield_now(),
            }
        };
        self.pending.store(true, Release);
        drop(before);
        self.collect();
    }

    /// Whether there is something to be taken up.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Acquire)
    }

    /// Takes the changes up; `joins` is called for each output that has come. Real-time safe.
    #[inline]
    pub(super) fn take_up(&self, outputs: &mut Outputs, mut joins: impl FnMut(&mut Output)) {
        if !self.is_pending() {
            return;
        }
        self.changes.try_with(|changes| {
            let places = changes.wanted.iter_mut().zip(outputs);
            let mut left = false;
            for (wanted, place) in places {
                let room = changes.gone.len() < changes.gone.capacity();
                let gone = match std::mem::take(wanted) {
                    Change::None => None,
                    // Until what was given back before has been collected.
                    change if !room => {
                        left |= !matches!(change, Change::None);
                        *wanted = change;
                        continue;
                    }
                    Change::Take => place.take(),
                    Change::Put(mut output) => {
                        joins(&mut output);
                        place.replace(output)
                    }
                };
                changes.gone.extend(gone);
            }
            self.pending.store(left, Release);
        });
    }

    /// Frees what was given back. Off the real-time thread.
    pub(super) fn collect(&self) {
        let gone = self.changes.try_with(|changes| {
            if changes.gone.is_empty() {
                return Vec::new();
            }
            let room = Vec::with_capacity(changes.gone.capacity());
            std::mem::replace(&mut changes.gone, room)
        });
        drop(gone);
    }
}
