"""Speech at known places: what espeak-ng says, between silences, in noise."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rig.playing import Floats, write_wav

RATE = 16000
TEXTS = (
    ("en", "The quick brown fox jumps over the lazy dog."),
    ("en-us", "Please call me back tomorrow morning."),
    ("de", "Es war einmal ein König, der hatte drei Töchter."),
    ("en", "Where is the nearest railway station?"),
    ("fr", "Demain, dès l'aube, je partirai."),
)


@functools.cache
def say(text: str, voice: str = "en") -> Floats:
    """Speech at 16 kHz, from its first to its last sound."""
    program = shutil.which("espeak-ng")
    assert program, "espeak-ng is missing: packaging/setup.sh test installs it"
    command = [program, "-v", voice, "-s", "160", "--stdout", text]
    # It leaves things in there.
    with tempfile.TemporaryDirectory() as own:
        env = {"XDG_RUNTIME_DIR": own, "HOME": own}
        done = subprocess.run(command, capture_output=True, check=True, timeout=30, env=env)
    spoken = done.stdout
    # A WAV whose header, being a pipe's, knows no length.
    rate = int.from_bytes(spoken[24:28], "little")
    samples = np.frombuffer(spoken[44 : len(spoken) // 2 * 2], "<i2").astype(np.float32) / 32768
    at = np.arange(int(len(samples) * RATE / rate)) * rate / RATE
    speech = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
    loud = np.flatnonzero(np.abs(speech) > 0.01)
    return speech[loud[0] : loud[-1] + 1]


@dataclass
class Talk:
    """Utterances with pauses of 1.2 to 2 s between them, in noise if `snr` (dB) says so."""

    path: Path
    texts: tuple[tuple[str, str], ...] = TEXTS
    snr: float | None = None
    lead: float = 0.8
    tail: float = 1.5
    samples: Floats = field(init=False)
    """As the engine will have them."""
    spoken: list[tuple[int, int]] = field(init=False)
    """First and last sample of each utterance."""

    def __post_init__(self) -> None:
        rng = np.random.default_rng(5)
        parts: list[npt.NDArray[np.floating]] = [np.zeros(int(self.lead * RATE))]
        self.spoken = []
        for voice, text in self.texts:
            words = say(text, voice)
            begin = sum(map(len, parts))
            self.spoken.append((begin, begin + len(words)))
            parts += [words, np.zeros(int(rng.uniform(1.2, 2) * RATE))]
        parts[-1] = np.zeros(int(self.tail * RATE))
        audio = np.concatenate(parts)
        if self.snr is not None:
            power = float(np.mean(np.concatenate([audio[a:b] for a, b in self.spoken]) ** 2))
            audio += rng.normal(0, np.sqrt(power) * 10 ** (-self.snr / 20), len(audio))
        scaled = np.clip(np.round(audio * 32768), -32768, 32767).astype(np.int16)
        write_wav(self.path, scaled)
        self.samples = (scaled / 32768).astype(np.float32)

    @property
    def source(self) -> str:
        return f"file:{self.path}"


def read_pocketsphinx(path: Path) -> Floats:
    """One of pocketsphinx-testdata's recordings at 16 kHz."""
    if path.suffix == ".wav":
        with wave.open(str(path)) as file:
            assert file.getframerate() == RATE
            data = file.readframes(file.getnframes())
    else:
        data = path.read_bytes()
    return (np.frombuffer(data, "<i2") / 32768).astype(np.float32)
