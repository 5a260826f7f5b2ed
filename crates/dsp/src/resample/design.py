"""Designs the resampler's prototype and writes prototype.rs beside this file.

    python3 design.py        (needs numpy and scipy; a few seconds)

A low-delay FIR at 48 kHz: complex Chebyshev approximation of a pure delay in
the pass band and of zero in the stop band, by Lawson's iteratively reweighted
least squares (C. L. Lawson, 1961; for complex FIR filters: L. J. Karam and
J. H. McClellan, IEEE Trans. Circuits Syst. II 42(3), 1995).
"""

from pathlib import Path

import numpy as np
from scipy import signal

RATE = 48_000
TAPS = 256
DELAY = 30  # samples: 0.625 ms, exactly 10 samples at 16 kHz
PASS, STOP = 7_000.0, 8_000.0
STOP_WEIGHT = 115.0  # how much smaller the error is in the stop band


def design():
    f = np.r_[np.linspace(0, PASS, 400), np.linspace(STOP, RATE / 2, 900)]
    w = 2 * np.pi * f / RATE
    wanted = np.where(f <= PASS, np.exp(-1j * w * DELAY), 0)
    band = np.where(f <= PASS, 1.0, STOP_WEIGHT)
    basis = np.exp(-1j * np.outer(w, np.arange(TAPS)))
    lawson = np.ones(len(f))
    best = (np.inf, None)
    for _ in range(300):
        g = np.sqrt(lawson) * band
        a = np.r_[(basis * g[:, None]).real, (basis * g[:, None]).imag]
        b = np.r_[(wanted * g).real, (wanted * g).imag]
        gram = a.T @ a
        gram += 1e-13 * np.trace(gram) / TAPS * np.eye(TAPS)
        h = np.linalg.solve(gram, a.T @ b)
        error = abs(basis @ h - wanted) * band
        best = min(best, (error.max(), h), key=lambda x: x[0])
        lawson = lawson * (error / error.max()) ** 0.7 + 1e-9
        lawson *= len(f) / lawson.sum()
    return best[1]


def describe(h):
    f, response = signal.freqz(h, worN=1 << 16, fs=RATE)
    db = 20 * np.log10(abs(response) + 1e-15)
    _, delay = signal.group_delay((h, [1]), w=np.linspace(20, PASS, 2000), fs=RATE)
    ripple = abs(db[f <= PASS]).max()
    stop = db[f >= STOP].max()
    ms = delay / RATE * 1e3
    delays = f"{ms.min():.3f} to {ms.max():.3f} ms"
    return f"ripple {ripple:.3f} dB, stop band {stop:.1f} dB, group delay {delays}"


def main():
    h = design()
    summary = describe(h)
    rows = "\n".join(
        "    " + " ".join(f"{x:.12e}," for x in h[i : i + 4]) for i in range(0, TAPS, 4)
    )
    Path(__file__).with_name("prototype.rs").write_text(f"""\
//! The prototype low-pass, written by `design.py`: {summary}.

/// The rate the prototype is designed at, in hertz.
pub(super) const RATE: u32 = {RATE:_};
/// The delay it approximates, in samples at [`RATE`].
pub(super) const DELAY: usize = {DELAY};
/// Its impulse response at [`RATE`].
#[rustfmt::skip]
pub(super) const TAPS: [f64; {TAPS}] = [
{rows}
];
""")
    print(summary)


if __name__ == "__main__":
    main()
