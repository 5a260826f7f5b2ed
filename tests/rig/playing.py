"""Engines that play files, and how tests watch them."""

from __future__ import annotations

import os
import subprocess
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rig import BINARY, wait_until

Floats = npt.NDArray[np.float32]


def write_wav(path: Path, samples: npt.NDArray[np.int16]) -> None:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(samples.astype("<i2").tobytes())


class Recording:
    """A WAV of noise at 16 kHz, which goes through the engine bit by bit as it is."""

    def __init__(self, path: Path, seconds: float, seed: int = 1) -> None:
        noise = np.random.default_rng(seed).integers(-16000, 16000, int(seconds * 16000))
        # No two windows alike, and no silence: zeros would be the engine's.
        noise[noise == 0] = 1
        write_wav(path, noise.astype(np.int16))
        self.path = path
        self.source = f"file:{path}"
        self.samples: Floats = (noise / 32768).astype(np.float32)

    def holds(self, position: int, samples: Any) -> bool:
        """Whether these samples are the recording's from `position` on."""
        got = np.asarray(samples)
        return bool(np.array_equal(got, self.samples[position : position + len(got)]))

    @property
    def int16(self) -> npt.NDArray[np.int16]:
        """The samples as they stand in the file."""
        return (self.samples * 32768).astype(np.int16)


def begin_of(known: npt.NDArray[Any], piece: Any) -> int:
    """Where this piece stands in what is known, which has no window twice."""
    piece = np.asarray(piece).ravel()
    for at in np.flatnonzero(known[: len(known) - len(piece) + 1] == piece[0]):
        if np.array_equal(known[at : at + len(piece)], piece):
            return int(at)
    raise AssertionError("it isn't in there")


def process_is_gone(pid: int) -> bool:
    """Ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


class Service:
    """The user's engine on the socket that the environment names."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        socket = os.environ["V2M_ENGINE_SOCKET"]
        self.process = subprocess.Popen([BINARY, "run", "--log", "error", *self.arguments])
        running = self.process
        wait_until(
            lambda: (
                running.poll() is not None
                or subprocess.run([BINARY, "status"], capture_output=True, check=False).returncode
                == 0
            ),
            f"an engine at {socket}",
        )
        assert running.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def ring_maps() -> list[tuple[int, int, str]]:
    maps = []
    with open("/proc/self/maps") as lines:
        for line in lines:
            if "memfd:v2m-ring" in line:
                addresses, protection, *_ = line.split()
                start, end = (int(address, 16) for address in addresses.split("-"))
                maps.append((start, end, protection))
    return maps


def address_of(samples: Any) -> int:
    return int(np.asarray(samples).__array_interface__["data"][0])
