"""What the three have in common: devices to choose from, and audio in blocks of a fixed length.

Audio is one channel, the source's voice. Blocks follow each other without repeats; where samples
were lost, here or before the engine, the block after them says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from .. import AudioCapture, AudioStream, OverrunError, Source, sources

RATES = (8000, 16000, 24000, 32000, 48000)
DEFAULT_RATE = 48000
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
    `monitor:default`, `app:NAME`, `alsa:PCM`, `file:PATH`."""
    return text.partition(":")[0] in ("monitor", "app", "clean", "alsa", "file") and ":" in text


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
        self.rate, self.sample = rate, sample
        self.block = block or round(rate * BLOCK)
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
        return Block(converted(samples, self.sample), frames, captured, overflow)

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


class Reading:
    """Any number of frames at a time out of an input's blocks."""

    def __init__(self, source: Input) -> None:
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


_Call: TypeAlias = Callable[[Block], bool]
_Finished: TypeAlias = Callable[[], None]


class Calling(threading.Thread):
    """Calls a program's callback with each block, on a thread of its own."""

    def __init__(self, source: Input, call: _Call, finished: _Finished) -> None:
        """
        Args:
            call: takes a block; False ends it.
            finished: called once, after the last block.
        """
        super().__init__(name="v2m_engine callback", daemon=True)
        self._source, self._call, self._finished = source, call, finished
        #: Why it ended, if not by `stop` or the callback.
        self.error: Exception | None = None
        #: Share of the time that the callbacks take.
        self.load = 0.0

    def run(self) -> None:
        try:
            for block in self._source:
                begun = time.monotonic()
                if not self._call(block):
                    break
                share = (time.monotonic() - begun) * self._source.rate / block.frames
                self.load += (share - self.load) / 8
        except Exception as error:
            self.error = error
        finally:
            self._finished()

    def end(self) -> None:
        """Waits for the callback that runs, unless it is what calls."""
        self._source.stop()
        if self is not threading.current_thread():
            self.join()


def converted(samples: bytes, sample: str) -> bytes:
    """Float32 in another of PortAudio's formats, rounded and clipped; int16 comes as such."""
    if sample in ("float32", "int16"):
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
