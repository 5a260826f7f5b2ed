//! What runs on PipeWire's data thread, and the numbers it leaves for others.
//!
//! Per cycle: read the clock, copy, hand over. No allocation, lock, log or system
//! call, but for asking the thread's id in the first cycle. Clients are woken when the graph
//! has what it waits for (`loop_hook.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};

use super::filter::Cycle;
use super::link::Link;
use super::order::Order;
use crate::capture::channels::Mixer;
use crate::capture::{Block, Sink};
use v2m_dsp::channels::Planar;
use v2m_ring::time::monotonic_ns;
use v2m_rt as rt;

/// The longest cycle that is copied in one piece; longer ones in several.
const SCRATCH: usize = 8192;

/// Written by the data thread; read by anyone.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    /// The graph's rate in the newest cycle.
    pub(super) rate: AtomicU32,
    /// The graph's quantum in the newest cycle.
    pub(super) quantum: AtomicU32,
    /// Cycles since the node was made.
    pub(super) cycles: AtomicU64,
    /// Cycles that did not start where the one before ended.
    pub(super) xruns: AtomicU64,
    /// The data thread, from its first cycle on.
    pub(super) thread: rt::Noted,
    /// The source's global id, if it gives out what it is given (a sink's monitor); 0: it
    /// doesn't. Written by the control thread.
    pub(super) passes_on: AtomicU32,
    /// How often links of ours were made or removed; written by the control thread.
    pub(super) links: AtomicU32,
    /// What samples are multiplied by, as the desktop's volume control says; written by the
    /// control thread.
    pub(super) gain: Gain,
}

/// A factor for samples: the bits of an f32.
#[derive(Debug)]
pub(super) struct Gain(AtomicU32);

impl Default for Gain {
    fn default() -> Self {
        Self(1.0_f32.to_bits().into())
    }
}

impl Gain {
    pub(super) fn set(&self, gain: f32) {
        self.0.store(gain.to_bits(), Relaxed);
    }

    fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Relaxed))
    }
}

pub(super) struct DataThread {
    ingest: Arc<dyn Sink>,
    gauges: Arc<Gauges>,
    /// Another backend captures.
    unheard: Arc<AtomicBool>,
    /// Tells this connection's clocks from those of a daemon before it.
    generation: u32,
    /// The thread that wakes clients before it rests; another wakes them at a cycle's end.
    rests: Option<i32>,
    wakes: bool,
    first: bool,
    order: Order,
    link: Link,
    /// One stretch for each port.
    scratch: Box<[f32]>,
    mixer: Mixer,
}

impl DataThread {
    pub(super) fn new(
        ingest: Arc<dyn Sink>,
        gauges: Arc<Gauges>,
        unheard: Arc<AtomicBool>,
        generation: u32,
        rests: Option<i32>,
        ports: usize,
        mixer: Mixer,
    ) -> Self {
        let scratch = vec![0.0; ports * SCRATCH].into_boxed_slice();
        rt::lock("cycle", scratch.as_ptr().cast(), size_of_val(&*scratch));
        Self {
            ingest,
            gauges,
            unheard,
            generation,
            rests,
            wakes: false,
            first: true,
            order: Order::new(),
            link: Link::default(),
            scratch,
            mixer,
        }
    }

    pub(super) fn cycle(&mut self, cycle: &Cycle<'_>) {
        self.hand_over(cycle);
        if self.wakes {
            self.ingest.wake();
        }
    }

    fn hand_over(&mut self, cycle: &Cycle<'_>) {
        let gauges = &*self.gauges;
        if self.first {
            self.first = false;
            self.wakes = self.rests != Some(gauges.thread.note());
        }
        gauges.rate.store(cycle.rate, Relaxed);
        gauges.quantum.store(cycle.quantum, Relaxed);
        gauges.cycles.fetch_add(1, Relaxed);
        if cycle.xrun {
            gauges.xruns.fetch_add(1, Relaxed);
        }
        // No buffer, or nobody's samples: lost, and a gap in the positions.
        let there = cycle.ports.iter().flatten().map(|samples| samples.len());
        let length = there.max();
        let links = gauges.links.load(Acquire);
        let begins = self.link.begins(cycle, links);
        let heard = !self.unheard.load(Acquire);
        let (Some(begin), Some(length)) = (begins, length.filter(|_| heard)) else {
            return;
        };
        let gain = gauges.gain.get();
        let last = &self.scratch[..SCRATCH];
        let is_again = || {
            let samples = cycle.ports.first().copied().flatten().unwrap_or(&[]);
            let piece = samples.chunks(SCRATCH).next_back().unwrap_or(&[]);
            let scaled = |bits: &AtomicU32| f32::from_bits(bits.load(Relaxed)) * gain;
            let mut pairs = piece.iter().zip(last);
            pairs.all(|(bits, last)| scaled(bits).to_bits() == last.to_bits())
        };
        if !self.order.trusts(cycle, is_again, monotonic_ns) {
            return;
        }

        // Who drives the cycle is the last to hear it: what it passes on is of the one before.
        let before = match cycle.clock_id != 0 && cycle.clock_id == gauges.passes_on.load(Relaxed) {
            true => nanoseconds(cycle.quantum.into(), cycle.rate),
            false => 0,
        };
        let time_ns = capture_time(cycle).saturating_sub(before);
        // That it does is known a moment after it is heard: from then on, its samples are of
        // other times than their positions went on to say.
        let clock = u64::from(self.generation) << 32 | u64::from(cycle.clock_id);
        let clock = clock ^ (u64::from(before > 0) << 63);
        for first in (begin..length).step_by(SCRATCH) {
            let frames = (length - first).min(SCRATCH);
            let ports = cycle
                .ports
                .iter()
                .zip(self.scratch.chunks_exact_mut(SCRATCH));
            let mut channels = 0;
            for (port, copy) in ports {
                let samples = port.and_then(|samples| samples.get(first..first + frames));
                match samples {
                    Some(samples) => {
                        for (to, from) in copy.iter_mut().zip(samples) {
                            *to = f32::from_bits(from.load(Relaxed));
                        }
                    }
                    // Not linked.
                    None => copy[..frames].fill(0.0),
                }
                channels += 1;
            }
            // The samples above before the count below: once the next cycle has begun,
            // the source may have written over what was just copied.
            fence(Acquire);
            if cycle.now.load(Relaxed) != cycle.position {
                return;
            }
            if gain != 1.0 {
                for channel in self.scratch.chunks_exact_mut(SCRATCH).take(channels) {
                    channel[..frames]
                        .iter_mut()
                        .for_each(|sample| *sample *= gain);
                }
            }
            let offset = first as u64;
            let block = Planar::new(&self.scratch, SCRATCH, frames, channels);
            self.ingest.block(&Block {
                channels: block,
                heard: self.mixer.hear(block, cycle.rate),
                rate: cycle.rate,
                clock,
                position: cycle.position.wrapping_add(offset),
                time_ns: time_ns.saturating_add(nanoseconds(offset, cycle.rate)),
            });
        }
        self.order
            .handed_over(cycle, cycle.position.wrapping_add(length as u64));
    }
}

/// CLOCK_MONOTONIC nanoseconds at which a cycle's first sample was captured.
///
/// The driver wakes the graph when the last sample of a quantum is there, so the first
/// is at least a quantum old; hardware adds its delay, drivers without any say 0.
fn capture_time(cycle: &Cycle<'_>) -> i64 {
    // No buffer is ten seconds long: what says so is broken.
    let delay = u64::try_from(cycle.delay)
        .unwrap_or(0)
        .min(u64::from(cycle.rate) * 10);
    let age = nanoseconds(delay.max(u64::from(cycle.quantum)), cycle.rate);
    i64::try_from(cycle.nsec)
        .unwrap_or(i64::MAX)
        .saturating_sub(age)
}

/// `samples` at `rate`, up to 2^33 of them, in nanoseconds.
fn nanoseconds(samples: u64, rate: u32) -> i64 {
    (samples * 1_000_000_000 / u64::from(rate)) as i64
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::Ordering::Release;

    use super::*;
    use crate::capture::channels::Channels;
    use crate::capture::ingest::heard;
    use v2m_dsp::channels::names_for;

    type Seen = (Vec<f32>, u64, u64, i64);

    #[derive(Default)]
    struct Collect(Mutex<Vec<Seen>>);

    impl Sink for Collect {
        fn block(&self, b: &Block<'_>) {
            let seen = (
                heard(b, 0, &mut vec![0.0; b.frames()]).to_vec(),
                b.clock,
                b.position,
                b.time_ns,
            );
            self.0.lock().unwrap().push(seen);
        }
    }

    fn bits(samples: &[f32]) -> Vec<AtomicU32> {
        samples
            .iter()
            .map(|sample| sample.to_bits().into())
            .collect()
    }

    fn cycle<'a>(ports: &'a [Option<&'a [AtomicU32]>]) -> Cycle<'a> {
        static NOW: AtomicU64 = AtomicU64::new(1000);
        Cycle {
            ports,
            rate: 48000,
            quantum: ports.iter().flatten().map(|p| p.len()).max().unwrap_or(0) as u32,
            position: 1000,
            now: &NOW,
            clock_id: 22,
            // In an hour: however slow the machine is, it isn't late.
            nsec: monotonic_ns() as u64 + 3_600_000_000_000,
            delay: 0,
            xrun: false,
        }
    }

    fn thread(ingest: &Arc<Collect>, gauges: &Arc<Gauges>, hear: &str, ports: usize) -> DataThread {
        let channels = Channels::new(hear.parse().unwrap(), Box::new(drop));
        channels.arrange(&names_for(ports)).unwrap();
        let mixer = channels.mixer(ports).unwrap();
        DataThread::new(
            ingest.clone(),
            gauges.clone(),
            Arc::default(),
            7,
            None,
            ports,
            mixer,
        )
    }

    fn run(hear: &str, cycle: &Cycle<'_>) -> (Vec<Seen>, Arc<Gauges>) {
        let ingest = Arc::new(Collect::default());
        let gauges = Arc::new(Gauges::default());
        thread(&ingest, &gauges, hear, cycle.ports.len()).cycle(cycle);
        let seen = std::mem::take(&mut *ingest.0.lock().unwrap());
        (seen, gauges)
    }

    #[test]
    fn one_port_passes_as_it_is() {
        let samples = bits(&[0.5; 480]);
        let ports = [Some(&samples[..])];
        let cycle = cycle(&ports);
        let (seen, gauges) = run("auto", &cycle);
        let (clock, time_ns) = (7 << 32 | 22, cycle.nsec as i64 - 10_000_000);
        assert_eq!(seen, [(vec![0.5; 480], clock, 1000, time_ns)]);
        assert_eq!(gauges.rate.load(Relaxed), 48000);
        assert_eq!(gauges.quantum.load(Relaxed), 480);
        assert_eq!(gauges.thread.tid(), Some(rt::thread_id()));
    }

    #[test]
    fn the_desktops_volume_is_applied() {
        let ingest = Arc::new(Collect::default());
        let gauges = Arc::new(Gauges::default());
        let mut thread = thread(&ingest, &gauges, "mix", 2);
        let samples = bits(&[0.5; 480]);
        for (gain, heard) in [(0.25, 0.125), (0.0, 0.0), (1.0, 0.5)] {
            gauges.gain.set(gain);
            thread.cycle(&cycle(&[Some(&samples), Some(&samples)]));
            let seen = ingest.0.lock().unwrap().pop().unwrap();
            assert_eq!(seen.0, vec![heard; 480]);
        }
    }

    #[test]
    fn several_ports_are_mixed_in_pieces_that_fit() {
        let long: Vec<f32> = (1..SCRATCH as u32 + 5).map(|n| n as f32).collect();
        let twice: Vec<f32> = long.iter().map(|v| v * 2.0).collect();
        let ports = [bits(&long), bits(&twice)];
        let ports = [Some(&ports[0][..]), None, Some(&ports[1][..])];
        let (seen, _) = run("mix", &cycle(&ports));
        let [first, second] = &seen[..] else {
            panic!("{} pieces", seen.len())
        };
        let all = first.0.iter().chain(&second.0);
        for (sum, one) in all.zip(&long) {
            assert!((sum - one).abs() <= one * 1e-6);
        }
        assert_eq!(first.0.len() + second.0.len(), long.len());
        assert_eq!(second.2, 1000 + SCRATCH as u64);
        assert_eq!(second.3 - first.3, nanoseconds(SCRATCH as u64, 48000));
        let (seen, _) = run("3", &cycle(&ports));
        assert_eq!(seen[0].0, twice[..SCRATCH]);
    }

    #[test]
    fn only_cycles_in_order_are_handed_over() {
        let ingest = Arc::new(Collect::default());
        let mut thread = thread(&ingest, &Arc::default(), "auto", 1);
        let mut at = |position, xrun, sound| {
            let samples = bits(&[sound; 480]);
            thread.cycle(&Cycle {
                position,
                now: &AtomicU64::new(position),
                xrun,
                ..cycle(&[Some(&samples)])
            });
        };
        at(1000, false, 0.1);
        at(1960, true, 0.2); // a jump: perhaps the samples of 1480
        at(1960, true, 0.3); // the same again
        at(2440, false, 0.4);
        at(2440, true, 0.4); // handed over already: for the ingest to count
        at(2440, true, 0.5); // other samples at the same place
        let seen = std::mem::take(&mut *ingest.0.lock().unwrap());
        let positions: Vec<_> = seen.iter().map(|block| block.2).collect();
        assert_eq!(positions, [1000, 2440, 2440]);
    }

    #[test]
    fn the_zeros_of_a_new_link_are_no_audio() {
        let ingest = Arc::new(Collect::default());
        let gauges = Arc::new(Gauges::default());
        let mut thread = thread(&ingest, &gauges, "auto", 1);
        let (sound, zeros) = (bits(&[0.5; 480]), bits(&[0.0; 480]));
        let mut position = 0;
        let mut heard = |clock_id, samples: Option<&[AtomicU32]>| {
            position += 480;
            thread.cycle(&Cycle {
                clock_id,
                position,
                now: &AtomicU64::new(position),
                quantum: 480,
                ..cycle(&[samples])
            });
            ingest.0.lock().unwrap().pop().is_some()
        };
        let (sound, zeros) = (Some(&sound[..]), Some(&zeros[..]));
        // Two cycles until the source has its turn; from then on silence is its own.
        let begin = [zeros, zeros, sound, zeros].map(|samples| heard(22, samples));
        assert_eq!(begin, [false, false, true, true]);
        // Another clock, and a link that was taken away, are new links; so is what the control
        // thread makes, though nothing else shows it.
        assert!(!heard(23, zeros) && heard(23, sound) && heard(23, zeros));
        assert!(!heard(23, None) && !heard(23, zeros) && heard(23, sound));
        gauges.links.fetch_add(1, Release);
        assert!(!heard(23, zeros) && heard(23, sound) && heard(23, zeros));
        // Who gives nothing else is silent: a tenth of a second.
        assert!(!heard(24, None));
        let silent = [zeros; 12].map(|samples| heard(24, samples));
        assert_eq!(silent.iter().position(|heard| *heard), Some(10));
        assert!(silent[11]);
    }

    #[test]
    fn the_sound_of_a_new_link_may_begin_in_mid_cycle() {
        let mut samples = [0.0; 480];
        samples[472..].fill(0.5);
        let (early, late) = (bits(&samples), bits(&[&samples[8..], &[0.5; 8]].concat()));
        let ports = [Some(&late[..]), Some(&early[..])];
        let cycle = cycle(&ports);
        let (seen, _) = run("mix", &cycle);
        let [(heard, _, position, time_ns)] = &seen[..] else {
            panic!("{} blocks", seen.len())
        };
        assert_eq!((heard.len(), *position), (16, 1000 + 464));
        assert_eq!(*time_ns, capture_time(&cycle) + nanoseconds(464, 48_000));
    }

    #[test]
    fn what_the_next_cycle_overtook_is_no_block() {
        let (seen, _) = run(
            "auto",
            &Cycle {
                now: &AtomicU64::new(1480),
                ..cycle(&[Some(&bits(&[0.5; 480]))])
            },
        );
        assert!(seen.is_empty());
    }

    #[test]
    fn no_buffer_is_no_block() {
        let (seen, gauges) = run(
            "auto",
            &Cycle {
                xrun: true,
                ..cycle(&[None])
            },
        );
        assert!(seen.is_empty());
        assert_eq!(gauges.xruns.load(Relaxed), 1);
    }

    #[test]
    fn the_capture_time_is_before_the_wake_up() {
        let at = |delay| {
            capture_time(&Cycle {
                quantum: 480,
                nsec: 1_000_000_000,
                delay,
                ..cycle(&[])
            })
        };
        assert_eq!(at(0), 990_000_000);
        assert_eq!(at(-960), 990_000_000);
        assert_eq!(at(960), 980_000_000);
        assert_eq!(at(i64::MAX), -9_000_000_000);
    }
}
