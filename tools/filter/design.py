"""Designs the resampler's prototype and writes crates/dsp/src/resample/prototype.rs.

    python3 tools/filter/design.py        (needs numpy and pm-remez; a second)

The optimal FIR of minimum phase: the optimal linear-phase one of twice the length
(Parks and McClellan), lifted until its response is nowhere negative, is the square of
the magnitude wanted; of its zeros those within the unit circle are kept, by the
cepstrum (O. Herrmann and W. Schuessler, Electronics Letters 6(11), 1970; A. V. Oppenheim
and R. W. Schafer, Discrete-Time Signal Processing, ch. 13).

It is designed densely, at twelve taps to each sample of the slower of the two rates, so
that it can be evaluated between its taps by a short polynomial. A binomial of five taps,
whose droop the rest makes up for, lets it begin and end so softly that nothing is lost
where there are no more taps to interpolate.

Frequencies are fractions of the slower of the two rates.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pm_remez import remez

Floats = npt.NDArray[np.float64]

DENSITY = 12  # taps per sample of the slower rate: 192 kHz for 16 kHz
TAPS = 380  # 2 ms at 16 kHz; 95 of them meet a signal of 48 kHz
DELAY = 27  # taps: what is compensated, the group delay of speech's low frequencies
SOFT = np.array([1, 4, 6, 4, 1]) / 16
PASS, STOP = 7 / 16, 9 / 16
RIPPLE, REJECTION = 1e-3, 90.0  # of the square, and dB: the ratio of the two errors
POINTS = 1 << 19  # of all spectra here


def design() -> Floats:
    """The taps: their response touches 1 and never passes it."""
    stop_error = 10 ** (-REJECTION / 10) / 2
    taps = TAPS - len(SOFT) + 1
    square = remez(
        2 * taps - 1,
        [0, PASS, STOP, DENSITY / 2],
        [lambda f: np.cos(np.pi * f / DENSITY) ** -8, 0],  # SOFT's response, squared
        weight=[stop_error / RIPPLE, 1],
        fs=DENSITY,
    )
    centred = np.zeros(POINTS)
    centred[:taps] = square.impulse_response[taps - 1 :]
    centred[1 - taps :] = square.impulse_response[: taps - 1]
    power = np.fft.rfft(centred).real
    power -= 1.001 * power.min()
    cepstrum = np.fft.irfft(np.log(power) / 2)
    cepstrum[1 : POINTS // 2] *= 2
    cepstrum[POINTS // 2 + 1 :] = 0
    minimal = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)))[:taps]
    soft = np.convolve(minimal, SOFT)
    return soft / abs(np.fft.rfft(soft, POINTS)).max()


def check(taps: Floats, density: int) -> str:
    """What the taps do, of which some is asserted: at 16 kHz, in dB and ms."""
    response = np.fft.rfft(taps, POINTS)
    slope = np.fft.rfft(taps * np.arange(len(taps)), POINTS)
    frequency = np.arange(len(response)) * density / POINTS
    gain = 20 * np.log10(abs(response) + 1e-15)
    passed, closed = frequency <= PASS, frequency >= STOP
    falling = np.diff(gain[~passed & ~closed])
    delay = (slope[passed] / response[passed]).real / density / 16
    to_4k, to_7k = delay[frequency[passed] <= 1 / 4].max(), delay.max()

    assert gain.max() <= 0.001, "nothing may come out louder than it went in"
    assert gain[passed].min() >= -0.01
    assert (falling < 0).all(), "between the bands it only falls"
    assert gain[closed].max() <= -82
    assert to_4k <= 0.19 and to_7k <= 0.48
    return (
        f"{gain[passed].min():.4f} to {gain.max():.4f} dB, stop band {gain[closed].max():.1f} dB, "
        f"group delay {delay[0]:.3f} ms, to 4 kHz {to_4k:.3f}, to 7 kHz {to_7k:.3f}, "
        f"absolute sum {abs(taps).sum():.2f}, step {np.cumsum(taps).max():.2f}"
    )


def main() -> None:
    taps = design()
    summary = check(taps, DENSITY)
    # What rates get whose samples all meet taps, as 48 kHz does with every fourth.
    for every in (2, 3, 4, 6):
        print(every, check(taps[DELAY % every :: every] * every, DENSITY // every))
    rows = "\n".join(
        "    " + " ".join(f"{x:.10e}," for x in taps[i : i + 4]) for i in range(0, TAPS, 4)
    )
    root = Path(__file__).parents[2]
    (root / "crates/dsp/src/resample/prototype.rs").write_text(f"""\
//! The prototype low-pass, written by `tools/filter/design.py`. At 16 kHz:
//! {summary}.

/// Taps per sample of the slower of the two rates.
pub(super) const DENSITY: u32 = {DENSITY};
/// The delay that is compensated, in taps.
pub(super) const DELAY: usize = {DELAY};
/// The impulse response; its sum is 1, to the ripple.
#[rustfmt::skip]
pub(super) const TAPS: [f64; {TAPS}] = [
{rows}
];
""")
    print(summary)


if __name__ == "__main__":
    main()
