"""What the three have in common: devices to choose from, and audio in blocks of a fixed length.

Audio is one channel, the source's voice. Blocks follow each other without repeats; where samples
were lost, here or before the engine, the block after them says so.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .. import AudioCapture, AudioStream, OverrunError, Source, sources

RATES = (8000, 16000, 24000, 32000, 48000)
DEFAULT_RATE = 48000
#: As many as a program may ask for; all are the same.
MOST_CHANNELS = 32
#: Bytes of one sample in each of PortAudio's formats.
SAMPLE_SIZES = {"float32": 4, "int32": 4, "int24": 3, "int16": 2, "int8": 1, "uint8": 1}
#: Seconds: the block where the program leaves its length to us.
BLOCK = 0.01
#: Seconds: the quantum that the engine asks the graph for unless it is told otherwise.
QUANTUM = 128 / 48000


@dataclass(frozen=True)
class Device:
    """A source, numbered."""

    index: int
    name: str
    """What the desktop calls it."""
    source: str
    """What `AudioCapture(source=...)` takes."""
    default: bool
    monitor: bool
    """What a sink or a program plays, rather than a microphone."""
    rate: int
    """Hz; the rate in which it loses nothing, as far as the engine gives it."""

    def answers_to(self, text: str) -> bool:
        """Whether each word of `text` stands in its name, in their order."""
        return any(_in_order(text, name) for name in (self.name, self.source))


def _in_order(text: str, name: str) -> bool:
    at, name = 0, name.lower()
    for word in text.lower().split():
        at = name.find(word, at)
        if at < 0:
            return False
        at += len(word)
    return True


def devices() -> list[Device]:
    """All sources that can be captured now, in the engine's order."""
    return [_device(index, source) for index, source in enumerate(sources())]


def _device(index: int, source: Source) -> Device:
    rate = source.rate if source.rate in RATES else DEFAULT_RATE
    return Device(
        index,
        source.description or source.name,
        source.name,
        source.default,
        source.kind in ("monitor", "app"),
        rate,
    )


def is_source(text: str) -> bool:
    """Whether this names a source in the engine's words rather than a device:
    `monitor:default`, `node:NAME`, `app:NAME`, `alsa:PCM`, `file:PATH`."""
    kinds = ("monitor", "node", "app", "clean", "alsa", "file")
    return text.partition(":")[0] in kinds and ":" in text


class Block(NamedTuple):
    """Samples in the format that was asked for, and when."""

    samples: bytes
    frames: int
    captured: float
    """Seconds of CLOCK_MONOTONIC (`time.monotonic()`) at which the first one was captured."""
    overflow: bool
    """Samples were lost before or in it."""


class Input:
    """One source at one rate in one format, in blocks; started and stopped any number of times."""

    def __init__(self, source: str | None, rate: int, sample: str, block: int) -> None:
        """
        Args:
            source: as `AudioCapture` takes it.
            rate: Hz, one of `RATES`.
            sample: one of `SAMPLE_SIZES`.
            block: frames; 0: ours to choose.
        """
        self.rate: int = rate
        self.sample: str = sample
        self.block: int = block or round(rate * BLOCK)
        self._piece = _piece(self.block, rate)
        self._capture = AudioCapture(
            rate, self._piece, source=source, dtype="int16" if sample == "int16" else "float32"
        )
        self._stream: AudioStream | None = None
        self._started = 0
        #: Position after what was taken.
        self._end = 0

    def start(self) -> None:
        """Opens it and waits until audio comes; what was captured before that is left out."""
        self._started = time.monotonic_ns()
        stream = self._capture.stream()
        stream.__enter__()
        self._end = stream.position
        self._stream = stream

    def __iter__(self) -> Iterator[Block]:
        return self

    def __next__(self) -> Block:
        """The next block, waited for. Ends when it is stopped, or a file is over.

        Raises:
            V2MError: the source is gone.
        """
        samples, overflow, captured = b"", False, 0.0
        frames = 0
        while frames < self.block:
            # As it is now: another thread may stop it.
            stream = self._stream
            if stream is None:
                raise StopIteration
            try:
                chunk = next(stream)
                piece = bytes(chunk)
            except OverrunError:
                overflow = True
                continue
            self._end = chunk.position + len(chunk)
            if chunk.time_ns < self._started:
                continue
            if not samples:
                captured = chunk.time_ns / 1e9
            samples += piece
            frames += len(chunk)
            overflow |= chunk.gap
        if self.sample != "int16":  # which the stream gives itself
            samples = converted(samples, self.sample)
        return Block(samples, frames, captured, overflow)

    @property
    def available(self) -> int:
        """Frames of whole blocks that are there already."""
        stream = self._stream
        waiting = stream.position - self._end if stream else 0
        return max(0, waiting) // self.block * self.block

    @property
    def latency(self) -> float:
        """Seconds from the capture of a block's first sample to the block, as graphs
        usually run."""
        return QUANTUM + self.block / self.rate

    def stop(self) -> None:
        """Ends the iteration, from any thread."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def close(self) -> None:
        """Stops it and lets go of the engine."""
        self.stop()
        self._capture.close()


def _piece(block: int, rate: int) -> int:
    """How many samples to take at a time: all of a block, or the longest part of a long one
    that divides it and lasts 20 ms at most, so that little from before the start is left out."""
    parts = (block // n for n in range(1, block // (rate // 1000) + 2) if block % n == 0)
    return next((part for part in parts if part * 50 <= rate), block)


class Resampled:
    """An input at a rate that the engine doesn't give: at 48 kHz, resampled by soxr."""

    def __init__(self, source: str | None, rate: int, sample: str, block: int) -> None:
        """As `Input`, for any rate."""
        import soxr

        self.rate: int = rate
        self.sample: str = sample
        self.block: int = block or round(rate * BLOCK)
        self._input = Input(source, DEFAULT_RATE, "float32", 0)
        self._resampler = soxr.ResampleStream(DEFAULT_RATE, rate, 1)
        self._clear()

    def _clear(self) -> None:
        self._resampler.clear()
        #: Resampled, not handed out yet; float32.
        self._ready = bytearray()
        #: Seconds that went into the resampler and did not come out yet.
        self._inside = 0.0
        #: When the last sample that went in was captured.
        self._newest = 0.0
        self._overflow = False

    def start(self) -> None:
        """As `Input.start`."""
        self._clear()
        self._input.start()

    def __iter__(self) -> Iterator[Block]:
        return self

    def __next__(self) -> Block:
        """As `Input`; some 15 ms later."""
        import numpy as np

        while len(self._ready) < 4 * self.block:
            piece = next(self._input)
            self._overflow |= piece.overflow
            out = self._resampler.resample_chunk(np.frombuffer(piece.samples, np.float32))
            self._ready += out.tobytes()
            self._inside += piece.frames / DEFAULT_RATE - len(out) / self.rate
            self._newest = piece.captured + piece.frames / DEFAULT_RATE
        captured = self._newest - self._inside - len(self._ready) / 4 / self.rate
        samples = bytes(self._ready[: 4 * self.block])
        del self._ready[: 4 * self.block]
        overflow, self._overflow = self._overflow, False
        return Block(converted(samples, self.sample), self.block, captured, overflow)

    @property
    def available(self) -> int:
        """As `Input.available`; not what is inside the resampler."""
        coming = self._input.available / DEFAULT_RATE - self._resampler.delay() / self.rate
        frames = len(self._ready) // 4 + max(0, int(coming * self.rate))
        return frames // self.block * self.block

    @property
    def latency(self) -> float:
        """As `Input.latency`."""
        return self._input.latency + self.block / self.rate + 0.015

    def stop(self) -> None:
        """As `Input.stop`."""
        self._input.stop()

    def close(self) -> None:
        """As `Input.close`."""
        self._input.close()


def open_input(source: str | None, rate: int, sample: str, block: int) -> Input | Resampled:
    """An input at any rate that `why_not` has nothing against."""
    return (Input if rate in RATES else Resampled)(source, rate, sample, block)


def why_not(rate: float) -> str | None:
    """Why there is no input at this rate; None: there is."""
    if rate in RATES:
        return None
    given = f"{rate:g} Hz; the engine gives {', '.join(map(str, RATES))} Hz"
    if not 4000 <= rate <= 192000 or rate != int(rate):
        return given
    if importlib.util.find_spec("soxr") is None:
        return f"{given}, and others where soxr is installed: pip install soxr"
    return None


class Reading:
    """Any number of frames at a time out of an input's blocks."""

    def __init__(self, source: Input | Resampled) -> None:
        self._source = source
        self._pending = bytearray()

    def read(self, frames: int) -> tuple[bytes, bool]:
        """The next `frames`, waited for, and whether samples were lost; fewer at the end."""
        needed = frames * SAMPLE_SIZES[self._source.sample]
        overflow = False
        while len(self._pending) < needed:
            block = next(self._source, None)
            if block is None:
                break
            self._pending += block.samples
            overflow |= block.overflow
        taken = bytes(self._pending[:needed])
        del self._pending[:needed]
        return taken, overflow

    @property
    def available(self) -> int:
        """Frames that can be read without waiting."""
        return len(self._pending) // SAMPLE_SIZES[self._source.sample] + self._source.available

    def drop(self) -> bytes:
        """What was taken from the input and not read."""
        dropped = bytes(self._pending)
        self._pending.clear()
        return dropped


def converted(samples: bytes, sample: str) -> bytes:
    """Float32 in another of PortAudio's formats, rounded and clipped."""
    if sample == "float32":
        return samples
    import numpy as np

    bits = 8 * SAMPLE_SIZES[sample]
    full = 2.0 ** (bits - 1)
    scaled = np.rint(np.frombuffer(samples, "<f4").astype(np.float64) * full)
    whole = np.clip(scaled, -full, full - 1).astype("<i4")
    if sample == "int24":
        return whole.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    if sample == "uint8":
        return (whole + 128).astype(np.uint8).tobytes()
    return whole.astype(f"<i{bits // 8}").tobytes()


def in_channels(samples: bytes, size: int, channels: int) -> bytes:
    """The one channel that there is, in each of several: samples of `size` bytes, interleaved."""
    if channels == 1:
        return samples
    each = (samples[at : at + size] * channels for at in range(0, len(samples), size))
    return b"".join(each)
