//! A running PCM: the real-time loop, and what helps when it gets stuck.
//!
//! Once audio flows the loop polls, asks the driver for its status, copies,
//! converts and hands on: nothing is allocated, locked or logged.
//!
//! The PCM is told never to stop on an overrun. The hardware goes on counting,
//! and the loss is the difference of two counters, exact to the frame. A PCM with plugins in
//! front of the hardware is started anew instead.

use alsa::pcm::State;
use alsa::poll::poll;
use nix::errno::Errno;

use super::Stop;
use super::clock::ClockEstimator;
use super::convert::{CHUNK, to_planar};
use super::negotiate::NegotiatedPcm;
use super::pcm::{Pcm, Status};
use crate::capture::channels::Mixer;
use crate::capture::{Block, Sink};
use v2m_dsp::channels::{MAX_CHANNELS, Planar};
use v2m_ring::time::monotonic_ns;
use v2m_rt as rt;
use v2m_rt::bounded::Calls;

/// Silent for so long, a running PCM counts as stalled.
const WATCHDOG_MS: i32 = 2000;
/// Restarts without audio in between, before the PCM is opened anew.
const RESTARTS: u32 = 1;
/// Blocks taken, and looks at the PCM, before the loop looks at anything else.
const BLOCKS: usize = 64;
/// A PCM that delivers faster than time passes is slowed down to this window.
const PACE_NS: i64 = 200_000_000;

/// Why a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was asked to.
    Stopped,
    /// The device is gone.
    Gone,
    /// Somebody else stopped it or changed it: it needs to be opened anew.
    Changed,
    /// It doesn't start as it was agreed.
    Refused(Errno),
    /// It runs without giving audio.
    Silent,
}

pub(super) struct Stream<'a> {
    opened: NegotiatedPcm,
    clock: u64,
    position: u64,
    line: ClockEstimator,
    bytes: Vec<u8>,
    /// `CHUNK` for each channel.
    planar: Vec<f32>,
    mixer: Mixer,
    polled: Vec<libc::pollfd>,
    ingest: &'a dyn Sink,
    stop: &'a Stop,
    /// Restarts since audio last came.
    restarts: u32,
    /// Frames read, without those lost.
    read: u64,
    /// When the pace was last looked at, and `read` then.
    paced: (i64, u64),
}

/// What to do after a look at the PCM.
enum Next {
    Wait,
    Restart,
    /// To be started anew, too, but it does give audio: more than was taken in time.
    Overrun,
    End(End),
}

impl<'a> Stream<'a> {
    pub(super) fn new(
        opened: NegotiatedPcm,
        mixer: Mixer,
        ingest: &'a dyn Sink,
        stop: &'a Stop,
    ) -> Result<Self, Errno> {
        let setup = &opened.setup;
        let mut polled = vec![stop.pollfd()];
        polled.extend(opened.pcm.descriptors()?);
        let now = monotonic_ns();
        let bytes = vec![0; opened.layout.bytes()];
        let planar = vec![0.0; opened.layout.channels.min(MAX_CHANNELS) * CHUNK];
        let parts = [
            (bytes.as_ptr(), bytes.len()),
            (planar.as_ptr().cast(), size_of_val(&*planar)),
        ];
        rt::lock_all("ALSA period", &parts);
        Ok(Self {
            clock: now as u64,
            position: 0,
            line: ClockEstimator::new(setup.rate, setup.buffer, setup.period),
            bytes,
            planar,
            mixer,
            polled,
            ingest,
            stop,
            restarts: 0,
            read: 0,
            paced: (now, 0),
            opened,
        })
    }

    fn pcm(&self) -> &Pcm {
        &self.opened.pcm
    }

    /// Captures until something ends it; `flows` is called when the first audio
    /// has come.
    pub(super) fn run(&mut self, calls: &Calls, mut flows: impl FnMut()) -> End {
        let starting = format!("starting ALSA PCM {}", self.opened.setup.pcm);
        if let Err(errno) = calls.during(starting, || self.pcm().start()) {
            return match self.failed(errno) {
                End::Changed => End::Refused(errno),
                end => end,
            };
        }
        let mut silent = true;
        let mut alive = monotonic_ns();
        loop {
            let before = self.position;
            let mut next = match poll(&mut self.polled, WATCHDOG_MS) {
                Ok(0) => Next::Restart,
                Ok(_) if self.stop.is_set() => return End::Stopped,
                Ok(_) => self.look(),
                Err(_) => Next::Wait,
            };
            let now = monotonic_ns();
            if self.position != before {
                self.ingest.wake();
                alive = now;
                self.restarts = 0;
                if silent {
                    silent = false;
                    flows();
                }
                self.pace();
            } else if now - alive > i64::from(WATCHDOG_MS) * 1_000_000 {
                // It may wake us and still have nothing.
                next = Next::Restart;
            }
            match next {
                Next::Wait => {}
                Next::End(end) => return end,
                Next::Restart => {
                    alive = now;
                    if let Err(end) = self.restart() {
                        return end;
                    }
                }
                Next::Overrun => {
                    if let Err(end) = self.start_anew() {
                        return end;
                    }
                }
            }
        }
    }

    /// Something is ready.
    fn look(&mut self) -> Next {
        let events = self.opened.pcm.events(&mut self.polled[1..]);
        match events {
            Ok(0) => return Next::Wait,
            Ok(_) => {}
            Err(errno) => return self.trouble(errno),
        }
        for _ in 0..BLOCKS {
            match self.take() {
                Ok(true) => {}
                Ok(false)
                    if events.is_ok_and(|events| events & (libc::POLLERR | libc::POLLHUP) != 0) =>
                {
                    return Next::Restart;
                }
                Ok(false) => return Next::Wait,
                Err(next) => return next,
            }
        }
        Next::Wait
    }

    /// Takes what there is, at most one chunk; whether there may be more.
    fn take(&mut self) -> Result<bool, Next> {
        let status = self
            .opened
            .pcm
            .status()
            .map_err(|errno| self.trouble(errno))?;
        let running = match status.state {
            State::Running => true,
            // Stopped, and what it had captured before is still there.
            State::Draining if status.avail > 0 => false,
            other => return Err(next(other)),
        };
        let (buffer, period, rate) = (
            self.opened.setup.buffer,
            self.opened.setup.period,
            self.opened.setup.rate,
        );
        // What the hardware is about to overwrite is left alone.
        let safe = buffer - period.min(buffer / 4);
        if status.avail > buffer {
            if self.opened.pcm.has_plugins() {
                return Err(Next::Overrun);
            }
            let skipped = self
                .opened
                .pcm
                .skip(status.avail - safe)
                .map_err(|errno| self.trouble(errno))?;
            self.position += skipped as u64;
            return if skipped > 0 {
                Ok(true)
            } else {
                Err(Next::Restart)
            };
        }
        if status.avail == 0 {
            return Ok(false);
        }
        if running {
            match self.line.measure(self.position, first_ns(status, rate)) {
                Some(lost) => self.position += lost,
                None => return Ok(true),
            }
        }
        let wanted = status.avail.min(CHUNK);
        let NegotiatedPcm {
            pcm,
            access,
            layout,
            ..
        } = &mut self.opened;
        let read = pcm.read(*access, *layout, wanted, &mut self.bytes);
        let got = match read {
            Ok(0) | Err(Errno::EAGAIN) => return Ok(false),
            Ok(got) => got,
            Err(errno) => return Err(self.trouble(errno)),
        };
        // Held up in the middle of it, the hardware may have come round and
        // overwritten what we were copying.
        let after = if self.opened.hardware {
            self.opened.pcm.avail().unwrap_or(0)
        } else {
            0
        };
        if after + got <= buffer {
            let (format, layout) = (self.opened.format, self.opened.layout);
            let planar = (&mut self.planar[..], CHUNK);
            to_planar(format, layout, &self.bytes, got, planar);
            let channels = layout.channels.min(MAX_CHANNELS);
            let block = Planar::new(&self.planar, CHUNK, got, channels);
            let time_ns = self.line.time_ns(self.position);
            let (clock, position) = (self.clock, self.position);
            self.ingest.block(&Block {
                channels: block,
                heard: self.mixer.hear(block, rate),
                rate,
                clock,
                position,
                time_ns,
            });
        }
        self.position += got as u64;
        self.read += got as u64;
        Ok(got < status.avail)
    }

    /// A call failed: what the PCM's state says about it.
    fn trouble(&self, errno: Errno) -> Next {
        match errno {
            Errno::ENODEV | Errno::ENXIO | Errno::ENOENT => Next::End(End::Gone),
            Errno::EPIPE | Errno::ESTRPIPE => Next::Restart,
            Errno::EAGAIN | Errno::EINTR => Next::Wait,
            _ => match self.pcm().state() {
                State::Running => Next::Restart,
                other => next(other),
            },
        }
    }

    fn failed(&self, errno: Errno) -> End {
        match self.trouble(errno) {
            Next::End(end) => end,
            _ => End::Changed,
        }
    }

    /// Starts anew a PCM that gives no audio, but not for ever.
    fn restart(&mut self) -> Result<(), End> {
        self.restarts += 1;
        if self.restarts > RESTARTS {
            return Err(End::Silent);
        }
        self.start_anew()
    }

    /// Stops and starts; what was missed is found by time. After the machine slept, too: what a
    /// PCM that is resumed has of the time before would be read as if it came after.
    fn start_anew(&mut self) -> Result<(), End> {
        self.line.restart();
        let _ = self.pcm().halt();
        let started = self.pcm().prepare().and_then(|()| self.pcm().start());
        started.map_err(|errno| self.failed(errno))
    }

    /// Waits if the PCM is ahead of time, as plugins without hardware are.
    fn pace(&mut self) {
        if self.opened.hardware {
            return;
        }
        let now = monotonic_ns();
        let (since, from) = self.paced;
        let rate = i64::from(self.opened.setup.rate);
        let audio = (self.read - from) as i64 * 1_000_000_000 / rate;
        let passed = now - since;
        if audio > PACE_NS && passed < audio / 2 {
            let _ = poll(&mut self.polled[..1], ((audio - passed) / 1_000_000) as i32);
        }
        if audio > PACE_NS || passed > PACE_NS {
            self.paced = (monotonic_ns(), self.read);
        }
    }
}

/// When the first frame that can be read was captured.
fn first_ns(status: Status, rate: u32) -> i64 {
    // Plugins may give no time or that of another clock.
    let now = monotonic_ns();
    let time_ns = if (now - status.time_ns).abs() < 1_000_000_000 {
        status.time_ns
    } else {
        now
    };
    time_ns - status.delay.max(0) * 1_000_000_000 / i64::from(rate)
}

fn next(state: State) -> Next {
    match state {
        State::XRun | State::Suspended => Next::Restart,
        State::Disconnected => Next::End(End::Gone),
        // Somebody else stopped it, such as a loopback's player that changed its rate.
        _ => Next::End(End::Changed),
    }
}
