"""The recorder as a user runs it, files that fill or freeze, and a reader of WAV."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rig import BINARY, wait_until

#: The full lengths of `make test-record`; without it short ones.
LONG = bool(os.environ.get("V2M_TEST_RECORD_LONG"))
RATE = 16_000


def noise(seconds: float, seed: int = 1) -> np.ndarray:
    """16-bit noise without a zero: silence in a recording of it is the recorder's."""
    samples = np.random.default_rng(seed).integers(-16000, 16000, int(seconds * RATE))
    samples[samples == 0] = 1
    return samples.astype("<i2")


def as_float(samples: np.ndarray) -> np.ndarray:
    return (samples / np.float32(32768)).astype(np.float32)


class Service:
    """The user's engine, playing a file at 16 kHz: the ring holds its very samples. Or with
    another source, by name."""

    def __init__(self, directory: Path, path: Path | str, *arguments: str, **env: str) -> None:
        source = f"file:{path}" if isinstance(path, Path) else path
        self.env = (
            os.environ
            | env
            | {
                "XDG_RUNTIME_DIR": str(directory),
                "XDG_CONFIG_HOME": str(directory / "config"),
                "V2M_ENGINE_SOCKET": str(directory / "engine.sock"),
            }
        )
        self.process = subprocess.Popen(
            [BINARY, "run", "--log", "error", "--source", source, *arguments], env=self.env
        )
        wait_until(
            lambda: self.process.poll() is not None or self.status() is not None, "the engine"
        )
        assert self.process.poll() is None

    def status(self) -> dict[str, Any] | None:
        import json

        done = subprocess.run(
            [BINARY, "status", "--json"], env=self.env, capture_output=True, check=False
        )
        return json.loads(done.stdout) if done.returncode == 0 else None

    def position(self) -> int:
        status = self.status()
        assert status is not None
        return int(status["ring"]["position"])

    def start(self, out: str | Path, *arguments: str, **options: Any) -> Tape:
        """A WAV is of the ring's own samples, unless a format is asked for."""
        if str(out).endswith(".wav") and "--format" not in arguments:
            arguments += ("--format", "wav32")
        return Tape(self, [str(BINARY), "record", str(out), *arguments], **options)

    def record(self, out: str | Path, *arguments: str) -> Tape:
        """Records to the end; fails if that fails."""
        tape = self.start(out, *arguments)
        assert tape.wait() == 0, tape.said
        return tape

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Tape:
    """A recorder at work."""

    def __init__(
        self, service: Service, command: list[str], *, before: tuple[str, ...] = (), **env: str
    ) -> None:
        self.process = subprocess.Popen(
            [*before, *command],
            env=service.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""

    def wait(self, seconds: float = 60) -> int:
        self.said = self.process.communicate(timeout=seconds)[1]
        assert "panicked" not in self.said, self.said
        return self.process.returncode

    def stop(self, seconds: float = 60) -> int:
        """Ctrl-C, and its end."""
        self.process.send_signal(signal.SIGINT)
        return self.wait(seconds)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()


@dataclass
class Wav:
    """What a WAV or RF64 file says of itself."""

    samples: np.ndarray
    """Full scale 1.0, whatever it is made of; of several channels a row each frame."""
    position: int
    ring: str
    comment: str
    time_reference: int
    cues: list[tuple[int, str]]

    def silences(self) -> list[tuple[int, int]]:
        """Stretches of zeros: first sample, length."""
        zero = np.concatenate(([0], (self.samples == 0).astype(np.int8), [0]))
        edges = np.flatnonzero(np.diff(zero))
        return [(int(a), int(b - a)) for a, b in edges.reshape(-1, 2)]


def read_wav(path: Path) -> Wav:
    """Reads a recording chunk by chunk, from the documents of the formats alone."""
    data = np.memmap(path, dtype=np.uint8, mode="r")

    def take(at: int, count: int) -> bytes:
        return bytes(data[at : at + count])

    form = take(0, 4)
    assert form in (b"RIFF", b"RF64") and take(8, 4) == b"WAVE"
    end = struct.unpack("<I", take(4, 4))[0] + 8
    large, at = 0, 12
    found: dict[str, bytes] = {}
    points: dict[int, int] = {}
    labels: dict[int, str] = {}
    samples = np.zeros(0, np.float32)
    while at + 8 <= min(end, len(data)):
        name, size = struct.unpack("<4sI", take(at, 8))
        if not name.strip().isalnum():
            # A head that is half an older one: its RIFF and its data don't end together.
            break
        body = at + 8
        if name == b"ds64":
            end, large = struct.unpack("<QQ", take(body, 16))
            end += 8
        elif name == b"data":
            size = large if size == 0xFFFFFFFF and large else size
            tag = struct.unpack("<H", found["fmt "][:2])[0]
            kind, step = ("<f4", 4) if tag == 3 else ("<i2", 2)
            assert body + size <= len(data), "the header promises more than the file holds"
            samples = np.frombuffer(data, kind, size // step, body).copy()
            if kind == "<i2":
                samples = as_float(samples)
            channels = struct.unpack("<H", found["fmt "][2:4])[0]
            if channels > 1:
                samples = samples.reshape(-1, channels)
        elif name == b"cue ":
            content = take(body, size)
            for n in range(struct.unpack("<I", content[:4])[0]):
                number, _, _, _, _, sample = struct.unpack("<II4sIII", content[4 + 24 * n :][:24])
                points[number] = sample
        elif name == b"LIST" and take(body, 4) == b"adtl":
            inner = body + 4
            while inner < body + size:
                length = struct.unpack("<I", take(inner + 4, 4))[0]
                text = take(inner + 8, length)
                labels[struct.unpack("<I", text[:4])[0]] = text[4:].rstrip(b"\0").decode()
                inner += 8 + length + length % 2
        elif name == b"LIST":
            found["INFO"] = take(body, size)
        else:
            found[name.decode()] = take(body, size) if size < 1 << 16 else b""
        at = body + size + size % 2
    comment = found["bext"][:256].rstrip(b"\0").decode()
    matched = re.search(r"ring ([0-9a-f]{32}), position (\d+)", comment)
    assert matched, comment
    assert comment[:60] in found["INFO"].decode(errors="replace")
    return Wav(
        samples=samples,
        position=int(matched[2]),
        ring=matched[1],
        comment=comment,
        time_reference=struct.unpack("<Q", found["bext"][338:346])[0],
        cues=[(points[number], labels[number]) for number in sorted(points)],
    )


@contextmanager
def small_disk(directory: Path, megabytes: int = 16) -> Iterator[Path]:
    """A file system of its own: ext4 on a loop device."""
    image, mount = directory / "disk.img", directory / "disk"
    mount.mkdir()
    with open(image, "wb") as out:
        out.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    try:
        yield mount
    finally:
        with suppress(subprocess.SubprocessError):
            subprocess.run(["fsfreeze", "-u", mount], capture_output=True, timeout=10, check=False)
        wait_until(
            lambda: (
                subprocess.run(["umount", mount], capture_output=True, check=False).returncode == 0
            ),
            "the disk to be free",
        )


def fill_disk(mount: Path) -> Path:
    """Takes all the room that there is."""
    hog = mount / "hog"
    with open(hog, "wb", buffering=0) as out, suppress(OSError):
        while True:
            out.write(b"x" * 4096)
    return hog


@contextmanager
def slow_disk(directory: Path, *options: str) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A FUSE file system and the process that serves it: stop that, and it stalls."""
    real, mount = directory / "real", directory / "fuse"
    real.mkdir()
    mount.mkdir()
    server = subprocess.Popen(["bindfs", "-f", *options, real, mount])
    try:
        wait_until(lambda: os.path.ismount(mount) or server.poll() is not None, "bindfs")
        assert server.poll() is None
        yield mount, server
    finally:
        server.send_signal(signal.SIGCONT)
        subprocess.run(["umount", "-l", mount], check=False)
        server.terminate()
        server.wait(10)


@contextmanager
def frozen(mount: Path) -> Iterator[None]:
    """The file system takes nothing meanwhile; who writes waits."""
    subprocess.run(["fsfreeze", "-f", mount], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "-u", mount], check=True, timeout=30)


#: Runs what follows without io_uring: the kernel refuses it as a container's does.
WITHOUT_IO_URING = (sys.executable, str(Path(__file__).with_name("no_io_uring.py")))
