//! From one sample rate to another: mono `f32`, block by block, on the real-time thread.
//!
//! The slower of the two rates says what is kept; 16 kHz is what speech models want:
//!
//! | of the slower rate | at 16 kHz | response |
//! |---|---|---|
//! | to 7/16 | to 7 kHz | 0 to -0.005 dB |
//! | 7/16 to 9/16 | 7 to 9 kHz | only falls, 10 dB down at 8 kHz |
//! | from 9/16 | from 9 kHz | 89 dB down and more, so that what folds lands above 7 kHz |
//!
//! Nothing comes out louder than it went in, at any frequency. With the stop band at 8 kHz
//! already the filter would be late by a millisecond, or its response would rise before it
//! falls.
//!
//! Captions can't wait, so it is an optimal filter of minimum phase: none with this
//! response delays less. From 48 kHz that is 0.125 ms for the low frequencies of a voice,
//! 0.163 ms at 4 kHz and 0.436 ms at 7 kHz, where linear phase takes a millisecond for all
//! of them, and it rings behind an impulse, never ahead of it. 0.125 ms are compensated
//! exactly; what is left moves no tone below 4 kHz by more than 0.013 ms, none below 7 kHz
//! by more than 0.06 ms.
//!
//! As with every filter that takes frequencies away a waveform can peak higher than it
//! did: a step by a factor of 1.22, the worst there is by 2.9 (the kernel's absolute sum;
//! linear phase has 1.08 and 1.9). Samples are floats, so nothing clips.
//!
//! `tools/filter/design.py` makes the coefficients in `prototype.rs`, dense enough to be
//! interpolated. Where the two rates are as L to M, the kernel is sampled at the L phases
//! that this takes. Equal rates take none: samples are copied.
//!
//! # Real time
//! [`Resampler::new`] computes and allocates everything. The other methods
//! neither allocate nor lock nor call the system, and their work is bounded by
//! the samples they take in and give out.

#[allow(unsafe_code, reason = "calls what the CPU was found to have")]
mod dot;
mod prototype;

use self::dot::{LANES, TOGETHER, dot, together};
use crate::cpu::Runnable;
use crate::{Error, ErrorKind, Result};

/// The rates that can be converted, from each to each.
pub const RATES: std::ops::RangeInclusive<u32> = 8_000..=384_000;
/// Input samples taken in between two moves of the history.
const CHUNK: usize = 1024;
/// Pairs whose L is up to this get exact phases (11.025 to 16 kHz has 640, to 32 kHz
/// 1280); others interpolate linearly between [`COARSE_PHASES`], 91 dB down at worst.
const EXACT_PHASES: u64 = 1280;
const COARSE_PHASES: u64 = 256;
/// How far the kernel in continuous time reaches beyond the prototype's first and last
/// tap, in taps; what is cut off there is 90 dB down.
const MARGIN: f64 = 1.0;
/// Taps that a value between them is computed from.
const NEIGHBOURS: isize = 6;

/// Says whether a [`Resampler`] can be had for audio of `rate` samples per second.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a rate outside 8000 to 384000.
pub fn check_rate(rate: u32) -> Result<()> {
    if RATES.contains(&rate) {
        return Ok(());
    }
    let (least, most) = (RATES.start(), RATES.end());
    Err(Error::new(
        ErrorKind::Invalid,
        format!("a sample rate of {rate} Hz can't be converted: use {least} to {most} Hz"),
    ))
}

/// What [`Resampler::skip`] left to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Samples written: the kernel's tail over the audio before the loss.
    pub written: usize,
    /// Samples that follow them and are exactly zero; the caller accounts for them.
    pub then_zeros: u64,
}

/// Converts one stream from one rate to another.
///
/// Output sample `n` since creation or [`reset`](Self::reset) belongs to the
/// time `n / output_rate` s after the first input sample, and comes out once the
/// input has reached [`delay_ns`](Self::delay_ns) beyond it. Samples before the
/// first count as zeros. The output does not depend on how the input is cut
/// into blocks, to the bit. A sample that isn't finite spoils the outputs
/// whose kernel covers it, [`settling`](Self::settling) of them, and no more.
#[derive(Clone, Debug)]
pub struct Resampler {
    input_rate: u32,
    output_rate: u32,
    /// None for equal rates: samples are copied.
    polyphase: Option<Polyphase>,
}

impl Resampler {
    /// A resampler from `input_rate` to `output_rate` samples per second.
    ///
    /// # Errors
    /// As [`check_rate`], for either of them.
    pub fn new(input_rate: u32, output_rate: u32) -> Result<Self> {
        check_rate(input_rate)?;
        check_rate(output_rate)?;
        Ok(Self {
            input_rate,
            output_rate,
            polyphase: (input_rate != output_rate).then(|| Polyphase::new(input_rate, output_rate)),
        })
    }

    /// Samples per second of the input.
    pub fn input_rate(&self) -> u32 {
        self.input_rate
    }

    /// Samples per second of the output.
    pub fn output_rate(&self) -> u32 {
        self.output_rate
    }

    /// Tables and history, for whoever locks them in memory.
    pub fn memory(&self) -> impl Iterator<Item = &[f32]> {
        self.polyphase.iter().flat_map(|p| [&*p.rows, &*p.history])
    }

    /// Nanoseconds between the time an output sample belongs to and the capture
    /// of the last input sample it needs: the latency this module adds.
    /// Timestamps need no correction, the output is already aligned.
    pub fn delay_ns(&self) -> i64 {
        let ahead = self.polyphase.as_ref().map_or(0, |p| p.ahead);
        ahead as i64 * 1_000_000_000 / i64::from(self.input_rate)
    }

    /// The largest number of samples that `input` samples can make
    /// [`process`](Self::process) emit.
    pub fn max_output(&self, input: usize) -> usize {
        self.polyphase
            .as_ref()
            .map_or(input, |p| p.max_output(input))
    }

    /// Takes `input` (any length, also none), writes what is ready to the front
    /// of `out`, and says how many samples that is.
    ///
    /// `out` must hold [`max_output`](Self::max_output) of the input's length.
    /// A shorter one is a mistake of the caller: debug builds panic once a
    /// sample doesn't fit, release builds drop it.
    pub fn process(&mut self, input: &[f32], out: &mut [f32]) -> usize {
        match &mut self.polyphase {
            Some(polyphase) => polyphase.process(input, out),
            None => {
                debug_assert!(input.len() <= out.len(), "no room for the output");
                let n = input.len().min(out.len());
                out[..n].copy_from_slice(&input[..n]);
                n
            }
        }
    }

    /// Passes over `missing` input samples that were lost, as if that many
    /// zeros had been processed, in a time that doesn't grow with `missing`.
    ///
    /// `out` must hold [`settling`](Self::settling) samples, as for
    /// [`process`](Self::process).
    pub fn skip(&mut self, missing: u64, out: &mut [f32]) -> Skipped {
        match &mut self.polyphase {
            Some(polyphase) => polyphase.skip(missing, out),
            None => Skipped {
                written: 0,
                then_zeros: missing,
            },
        }
    }

    /// How many of the next outputs mix audio from before this moment with what
    /// comes after it: those to flag around a discontinuity.
    pub fn settling(&self) -> usize {
        self.polyphase.as_ref().map_or(0, |p| p.max_output(p.taps))
    }

    /// Back to the state after [`new`](Self::new).
    pub fn reset(&mut self) {
        if let Some(polyphase) = &mut self.polyphase {
            polyphase.reset();
        }
    }
}

/// Output `n` stands at input position `n·M/L`. Its integer part moves the
/// window over the history, its fraction chooses the row of coefficients.
#[derive(Clone, Debug)]
struct Polyphase {
    path: Runnable,
    /// L and M: the output's and the input's rate without their common factor.
    l: u64,
    m: u64,
    /// From one output to the next: M/L, whole input samples and the rest in `1 / l`.
    whole: usize,
    rest: u64,
    /// Input samples that an output needs after its own position.
    ahead: usize,
    /// Window length and row length, a multiple of [`LANES`].
    taps: usize,
    /// Rows per input sample; the output's fraction `phase / l` lies on row
    /// `phase * phases / l`.
    phases: u64,
    /// `rows` of `taps` coefficients each, oldest input first.
    rows: Box<[f32]>,
    /// Input not yet passed by the window, contiguous.
    history: Box<[f32]>,
    /// Valid samples in `history`.
    filled: usize,
    /// Where in `history` the next output's window starts.
    start: usize,
    /// The next output's fraction of an input sample, in units of `1 / l`.
    phase: u64,
}

impl Polyphase {
    fn new(input_rate: u32, output_rate: u32) -> Self {
        let common = gcd(input_rate, output_rate);
        let (l, m) = (
            u64::from(output_rate / common),
            u64::from(input_rate / common),
        );
        let exact = l <= EXACT_PHASES;
        let phases = if exact { l } else { COARSE_PHASES };
        // Interpolation also needs the far end of the last interval.
        let rows = if exact { phases } else { phases + 1 };

        // Prototype taps per input sample.
        let slower = f64::from(input_rate.min(output_rate));
        let density = slower * f64::from(prototype::DENSITY) / f64::from(input_rate);
        let before = (prototype::TAPS.len() - prototype::DELAY) as f64 - 1.0 + MARGIN;
        let after = prototype::DELAY as f64 + MARGIN;
        let last_fraction = (rows - 1) as f64 / phases as f64;
        // Both ends of the kernel are open: what lies exactly on them is zero.
        let behind = (before / density).ceil() as usize - 1;
        let ahead = (after / density + last_fraction).ceil() as usize - 1;
        let taps = (behind + 1 + ahead).next_multiple_of(LANES);

        let oldest = ahead as f64 - (taps - 1) as f64;
        let rows = (0..rows)
            .flat_map(|row| {
                let position = row as f64 / phases as f64;
                (0..taps).map(move |tap| {
                    let age = position - (oldest + tap as f64);
                    (kernel(age * density + prototype::DELAY as f64) * density) as f32
                })
            })
            .collect();

        let mut polyphase = Self {
            path: Runnable::best(),
            l,
            m,
            whole: (m / l) as usize,
            rest: m % l,
            ahead,
            taps,
            phases,
            rows,
            history: vec![0.0; taps + CHUNK].into(),
            filled: 0,
            start: 0,
            phase: 0,
        };
        polyphase.reset();
        polyphase
    }

    fn reset(&mut self) {
        // Output 0 has its window's end `ahead` samples after the first input.
        self.filled = self.taps - 1 - self.ahead;
        self.history[..self.filled].fill(0.0);
        self.start = 0;
        self.phase = 0;
    }

    fn max_output(&self, input: usize) -> usize {
        // Outputs lie m/l apart, and `input` samples complete those of a
        // half-open interval of that length.
        let outputs = (input as u128 * u128::from(self.l)).div_ceil(u128::from(self.m));
        usize::try_from(outputs).unwrap_or(usize::MAX)
    }

    fn process(&mut self, mut input: &[f32], out: &mut [f32]) -> usize {
        let mut written = 0;
        while !input.is_empty() {
            if self.filled == self.history.len() {
                self.history.copy_within(self.start.., 0);
                self.filled -= self.start;
                self.start = 0;
            }
            let (now, later) = input.split_at(input.len().min(self.history.len() - self.filled));
            self.history[self.filled..][..now.len()].copy_from_slice(now);
            self.filled += now.len();
            input = later;

            let room = &mut out[written..];
            written += match self.l {
                1 => self.outputs_on_one_row(room),
                _ => self.outputs(room),
            };
        }
        written
    }

    /// The outputs whose windows are complete, where L is 1: all have the same coefficients.
    fn outputs_on_one_row(&mut self, out: &mut [f32]) -> usize {
        let Some(rest) = (self.filled - self.start).checked_sub(self.taps) else {
            return 0;
        };
        let ready = rest / self.whole + 1;
        debug_assert!(ready <= out.len(), "no room for the output");
        let written = ready.min(out.len());
        let history = &self.history[self.start..self.filled];
        let (groups, others) = out[..written].as_chunks_mut();
        let alone = groups.len() * TOGETHER;
        for (n, group) in groups.iter_mut().enumerate() {
            let first = n * TOGETHER;
            *group = together(
                self.path,
                &history[first * self.whole..],
                self.whole,
                &self.rows,
            );
        }
        for (n, output) in (alone..).zip(others) {
            *output = dot(
                self.path,
                &history[n * self.whole..][..self.taps],
                &self.rows,
            );
        }
        self.start += ready * self.whole;
        written
    }

    /// The outputs whose windows are complete.
    fn outputs(&mut self, out: &mut [f32]) -> usize {
        let mut written = 0;
        while self.start + self.taps <= self.filled {
            let sample = self.output();
            debug_assert!(written < out.len(), "no room for the output");
            if let Some(slot) = out.get_mut(written) {
                *slot = sample;
                written += 1;
            }
            self.step();
        }
        written
    }

    /// On to the next output, without a division: there are thousands a second.
    #[inline]
    fn step(&mut self) {
        self.start += self.whole;
        self.phase += self.rest;
        if self.phase >= self.l {
            self.phase -= self.l;
            self.start += 1;
        }
    }

    /// The next output.
    #[inline]
    fn output(&self) -> f32 {
        let window = &self.history[self.start..][..self.taps];
        if self.phases == self.l {
            return dot(self.path, window, self.row(self.phase));
        }
        let row = self.phase * self.phases / self.l;
        let rest = self.phase * self.phases % self.l;
        let here = dot(self.path, window, self.row(row));
        if rest == 0 {
            return here;
        }
        let next = dot(self.path, window, self.row(row + 1));
        here + (next - here) * (rest as f32 / self.l as f32)
    }

    #[inline]
    fn row(&self, row: u64) -> &[f32] {
        &self.rows[row as usize * self.taps..][..self.taps]
    }

    fn skip(&mut self, missing: u64, out: &mut [f32]) -> Skipped {
        const ZEROS: [f32; CHUNK] = [0.0; CHUNK];
        // After one window of zeros the history holds nothing else.
        let flushed = missing.min(self.taps as u64);
        let mut left = flushed as usize;
        let mut written = 0;
        while left > 0 {
            let now = left.min(CHUNK);
            written += self.process(&ZEROS[..now], &mut out[written..]);
            left -= now;
        }
        if missing == flushed {
            return Skipped {
                written,
                then_zeros: 0,
            };
        }

        // The rest is the same in numbers only. In u128, because any u64 may come.
        let (l, m, taps) = (u128::from(self.l), u128::from(self.m), self.taps as u128);
        let available = (self.filled - self.start) as u128 + u128::from(missing - flushed);
        let phase = u128::from(self.phase);
        let zeros = match (available + 1).checked_sub(taps) {
            Some(starts) => (starts * l).saturating_sub(phase).div_ceil(m),
            None => 0,
        };
        let position = phase + zeros * m;
        self.phase = (position % l) as u64;
        self.start = 0;
        self.filled = (available - position / l) as usize;
        self.history[..self.filled].fill(0.0);
        Skipped {
            written,
            then_zeros: u64::try_from(zeros).unwrap_or(u64::MAX),
        }
    }
}

/// The prototype in continuous time, at `t` taps after its first: the polynomial through
/// the nearest six (Lagrange's). Their spectrum is empty from a twentieth of their rate
/// on, where it is as good as exact.
fn kernel(t: f64) -> f64 {
    let last = prototype::TAPS.len() as f64 - 1.0;
    if t <= -MARGIN || t >= last + MARGIN {
        return 0.0;
    }
    let first = t.floor() as isize + 1 - NEIGHBOURS / 2;
    let around = first..first + NEIGHBOURS;
    let share = |tap: isize| -> f64 {
        let others = around.clone().filter(|&other| other != tap);
        others
            .map(|other| (t - other as f64) / (tap - other) as f64)
            .product()
    };
    around
        .clone()
        .filter_map(|tap| Some(prototype::TAPS.get(usize::try_from(tap).ok()?)? * share(tap)))
        .sum()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
