"""Audio and the probabilities of silero-vad's ONNX model for it, for `tests/vad_native.rs`.

    python -m rig.vad_reference DIRECTORY [--minutes 32] [--test]

Writes `audio.f32` (16 kHz mono) and `probabilities.f32` (one per 512 samples),
both raw little-endian f32. Needs numpy, onnxruntime and silero-vad (without
torch), and with `--test` onnx and safetensors. Half of it is speech: recordings from
Debian's pocketsphinx-testdata and alsa-utils, and what espeak-ng says, where they are
installed; at many levels, with pauses and with noise. The rest is noise, tones, silence,
steps, and full-scale garbage. The model's state runs through all of it. With `--test`
the tests that compare with it run at once.
"""

import argparse
import glob
import os
import shutil
import subprocess
import tempfile
import wave
from importlib.util import find_spec
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnxruntime

from rig import ROOT

RATE, WINDOW, CONTEXT = 16000, 512, 64
TEXTS = [
    "The quick brown fox jumps over the lazy dog, and nobody in the house noticed.",
    "Please write down the following numbers: seven, forty two, one hundred and six.",
    "Es war einmal ein König, der hatte drei Töchter, und keine wollte heiraten.",
    "Demain, dès l'aube, à l'heure où blanchit la campagne, je partirai.",
]


class Reference:
    """silero-vad's ONNX model, one window after the other."""

    def __init__(self, path: str | None = None, rate: int = RATE) -> None:
        if path is None:
            package = find_spec("silero_vad").submodule_search_locations[0]
            path = str(Path(package) / "data" / "silero_vad.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.rate = np.array(rate, np.int64)
        self.context, self.window = CONTEXT * rate // RATE, WINDOW * rate // RATE
        self.reset()

    def reset(self) -> None:
        self.state = np.zeros((2, 1, 128), np.float32)
        self.input = np.zeros((1, self.context + self.window), np.float32)

    def step(self, window: np.ndarray) -> float:
        self.input[0, : self.context] = self.input[0, self.window :]
        self.input[0, self.context :] = window
        inputs = {"input": self.input, "state": self.state, "sr": self.rate}
        p, self.state = self.session.run(None, inputs)
        return p[0, 0]

    def probabilities(self, audio: np.ndarray, gaps: np.ndarray | None = None) -> np.ndarray:
        """One for each window, starting anew after those that are true in `gaps`."""
        self.reset()
        whole = len(audio) // self.window * self.window
        windows = audio[:whole].reshape(-1, self.window)
        found = np.empty(len(windows), np.float32)
        for n, window in enumerate(windows):
            if n and gaps is not None and gaps[n - 1]:
                self.reset()
            found[n] = self.step(window)
        return found


def read(path: str) -> np.ndarray:
    """A recording as 16 kHz mono float32; a WAV of another rate by the nearest sample."""
    if not path.endswith(".wav"):
        return np.fromfile(path, "<i2").astype(np.float32) / 32768
    with wave.open(path) as file:
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        data = data.reshape(-1, file.getnchannels())[:, 0].astype(np.float32) / 32768
        at = np.arange(0, len(data), file.getframerate() / RATE).astype(int)
        return data[at]


def speech() -> list[np.ndarray]:
    data = "/usr/share/pocketsphinx/test/data"
    paths = glob.glob(f"{data}/librivox/*.wav") + glob.glob(f"{data}/cards/*.wav")
    paths += glob.glob(f"{data}/*.raw") + glob.glob("/usr/share/sounds/alsa/*.wav")
    found = [read(p) for p in sorted(paths)]
    if shutil.which("espeak-ng"):
        with tempfile.TemporaryDirectory() as place:
            for n, text in enumerate(TEXTS):
                for speed in (120, 175, 260):
                    path = f"{place}/{n}-{speed}.wav"
                    voice = ["en", "en-us", "de", "fr"][n]
                    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-w", path, text]
                    subprocess.run(command, check=True)
                    found.append(read(path))
    if not found:
        raise SystemExit("no speech: install espeak-ng or pocketsphinx-testdata")
    return found


def audio(minutes: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    words, parts, length, turn = speech(), [], 0, 0
    while length < minutes * 60 * RATE:
        kind, n = turn % 12, int(rng.integers(RATE // 4, 6 * RATE))
        t = np.arange(n) / RATE
        if kind % 2 == 0 or kind == 11:
            x = words[turn // 2 % len(words)] * 10 ** (rng.uniform(-40, 0) / 20)
            x = x + rng.normal(0, 1, len(x)) * np.abs(x).max() * 10 ** (-rng.uniform(0, 60) / 20)
        elif kind == 1:
            x = np.zeros(n)
        elif kind == 3:
            x = rng.normal(0, 10 ** rng.uniform(-5, -0.5), n)
        elif kind == 5:
            x = rng.choice([-1.0, 1.0], n)  # full-scale garbage, bit by bit
        elif kind == 7:
            x = rng.uniform(-1, 1, n)  # and as a broken driver sends it
        elif kind == 9:
            f = rng.uniform(50, 6000)
            x = 0.5 * np.sin(2 * np.pi * f * t) * (1 + np.sign(np.sin(2 * np.pi * 3 * t))) / 2
        parts.append(np.clip(x, -1, 1).astype(np.float32))
        length += len(parts[-1])
        turn += 1
    return np.concatenate(parts)


def dictation(minutes: float, seed: int = 2) -> np.ndarray:
    """Recorded speech at many levels with pauses, noise below all of it, as 16-bit floats."""
    rng = np.random.default_rng(seed)
    words, parts, length = speech(), [], 0
    while length < minutes * 60 * RATE:
        word = words[int(rng.integers(len(words)))]
        x = np.concatenate([word, np.zeros(int(rng.integers(RATE // 5, 3 * RATE)), np.float32)])
        x = x * 10 ** (rng.uniform(-30, 0) / 20)
        x = x + rng.normal(0, 10 ** rng.uniform(-4, -1.5), len(x))
        parts.append(np.clip(x, -1, 1))
        length += len(x)
    samples = np.concatenate(parts)[: int(minutes * 60 * RATE)]
    return (np.round(samples * 32767) / 32768).astype(np.float32)


def compare_weights() -> None:
    """Our weights are exactly those in silero-vad's ONNX model."""
    import runpy

    from safetensors.numpy import load_file

    extract = runpy.run_path(str(ROOT / "tools/models/extract.py"))["extract"]
    models = ROOT / "crates/dsp/models"
    package = Path(find_spec("silero_vad").submodule_search_locations[0])
    theirs = extract(str(package / "data" / "silero_vad_16k_sequence.onnx"))
    ours = load_file(models / "silero_vad_16k.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def main() -> None:
    parser = argparse.ArgumentParser(description="reference audio and probabilities")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--minutes", type=float, default=32)
    parser.add_argument("--test", action="store_true", help="run the tests that need it")
    args = parser.parse_args()
    samples = audio(args.minutes)
    samples = samples[: len(samples) // WINDOW * WINDOW]
    args.directory.mkdir(parents=True, exist_ok=True)
    samples.tofile(args.directory / "audio.f32")
    found = Reference().probabilities(samples)
    found.tofile(args.directory / "probabilities.f32")
    share = float((found > 0.5).mean())
    print(f"{len(samples) / RATE / 60:.1f} minutes, {share:.0%} of it speech to the reference")
    if args.test:
        compare_weights()
        command = "cargo test --release --package v2m-dsp --test vad_native"
        place = {"V2M_VAD_REFERENCE": str(args.directory.resolve())}
        command += " -- --ignored --nocapture"
        raise SystemExit(subprocess.run(command.split(), env=os.environ | place).returncode)


if __name__ == "__main__":
    main()
