"""Write tests/data/vad_steps.f32: single steps of the reference from wild inputs and states.

    python tools/models/vad_steps.py

Each case is a window and an LSTM state from a generator that
`crates/dsp/src/vad/native/tests.rs` repeats exactly; the file holds its seed, the
probability, and the 128 values of the LSTM's output. Speech alone leaves some
neurons silent; the cases are chosen so that every one speaks up, and no weight
can be wrong unnoticed. Louder
than this the reference's own rounding (2e-4 in the LSTM's output at 64 times full
scale, by a run in double precision) would hide small faults.
"""

import numpy as np
from safetensors.numpy import load_file

from rig import ROOT
from rig.vad_reference import Reference

CANDIDATES = 20_000
# The share of its layer that a neuron needs to be heard.
HEARD = 0.02
MASK = (1 << 64) - 1


class Random:
    """SplitMix64, integers only, so that every language gives the same."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def next(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
        return z ^ (z >> 31)

    def below(self, n: int) -> int:
        return self.next() % n

    def unit(self) -> float:
        """-1 to 1, exact in f32."""
        return (self.next() >> 41) / (1 << 22) - 1


def window(r: Random) -> np.ndarray:
    """576 samples: up to three of noise, a square wave, clicks; from 2^-8 to 2^2."""
    x = np.zeros(576, np.float32)
    for _ in range(1 + r.below(3)):
        kind, level = r.below(3), np.float32(2.0 ** (r.below(11) - 8))
        begin, end = sorted((r.below(577), r.below(577)))
        if r.below(3) == 0:
            begin, end = 0, 576
        half = 1 + r.below(60)
        for n in range(begin, end):
            value = r.unit()
            if kind == 1:
                value = 1.0 if n // half % 2 == 0 else -1.0
            if kind == 2:
                value = 1.0 if value > 0.97 else 0.0
            x[n] += level * np.float32(value)
    return x


def activations(x: np.ndarray, w: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs [frame, neuron] of the four convolutions."""
    x = np.concatenate([x, x[-2:-66:-1]])
    frames = np.stack([x[n : n + 256] for n in range(0, 512, 128)])
    parts = frames @ w["stft_conv.weight"][:, 0].T
    x, found = np.hypot(parts[:, :129], parts[:, 129:]), []
    for layer, stride in ((1, 1), (2, 2), (3, 2), (4, 1)):
        x = np.pad(x, ((1, 1), (0, 0)))
        taps = w[f"conv{layer}.weight"]
        rows = [x[n : n + 3] for n in range(0, len(x) - 2, stride)]
        x = np.stack([np.einsum("tc,oct->o", row, taps) for row in rows])
        x = np.maximum(x + w[f"conv{layer}.bias"], 0)
        found.append(x)
    return found


def choose() -> list[int]:
    """Seeds of windows in which every neuron has its say.

    For each neuron the window that makes it stand out most in its layer; and for
    the layers that are the most silent, 2 to 3 and 3 to 4, windows until each pair
    of neurons that ever speak up together does so, those with most new pairs first.
    """
    w = load_file(ROOT / "crates/dsp/models/silero_vad_16k.safetensors")
    shares, pairs = [[], [], [], []], []
    for seed in range(CANDIDATES):
        layers = activations(window(Random(seed)), w)
        layers = [x / (np.linalg.norm(x) + 1e-9) for x in layers]
        for share, x in zip(shares, layers, strict=False):
            share.append(x.max(0))
        second, third, fourth = ((x > HEARD).ravel() for x in layers[1:])
        both = [np.outer(second, third), np.outer(third, fourth)]
        pairs.append(np.packbits(np.concatenate([x.ravel() for x in both])))
    chosen = {int(seed) for share in shares for seed in np.array(share).argmax(0)}
    left = np.bitwise_or.reduce(pairs)
    print(np.bitwise_count(left).sum(), "pairs ever heard together")
    for seed in chosen:
        left &= ~pairs[seed]
    pairs = np.array(pairs)
    while left.any():
        best = int(np.bitwise_count(pairs & left).sum(1).argmax())
        chosen.add(best)
        left &= ~pairs[best]
    return sorted(chosen)


def main() -> None:
    reference, rows = Reference(), []
    for seed in choose():
        r = Random(seed)
        x = window(r)
        hidden = [r.unit() for _ in range(128)]
        cell = [2 * r.unit() for _ in range(128)]
        state = np.array([hidden, cell], np.float32).reshape(2, 1, 128)
        inputs = {"input": x[None], "state": state, "sr": reference.rate}
        p, state = reference.session.run(None, inputs)
        rows.append(np.concatenate([[seed], p.ravel(), state[0, 0]]))
    place = ROOT / "tests/data/vad_steps.f32"
    np.array(rows, "<f4").tofile(place)
    print(len(rows), "cases")


if __name__ == "__main__":
    main()
