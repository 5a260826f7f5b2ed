"""Samples as programs take them: 16 bit, read in pieces, as bytes; and kept."""

from __future__ import annotations

import array
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig import wait_until
from rig.playing import Floats, Recording, Service, begin_of
from rig.speech import Talk
from v2m_engine import AudioCapture, AudioStream, OverrunError, V2MError, VADProcessor

#: Two minutes by `make test-python`.
KEPT_SECONDS = int(os.environ.get("V2M_TEST_KEPT_SECONDS", "14"))
Recorder = Callable[..., Recording]
Starter = Callable[..., Service]


def private(recording: Recording, **options: Any) -> AudioCapture:
    return AudioCapture(engine="private", source=recording.source, **options)


def rounded(samples: Any) -> Any:
    """What int16 is."""
    scaled = np.rint(np.asarray(samples, np.float32) * np.float32(32768))
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def write_floats(path: Path, samples: Floats) -> str:
    data = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, 16000, 64000, 4, 32)
    head = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form
    head += b"data" + struct.pack("<I", len(data))
    path.write_bytes(b"RIFF" + struct.pack("<I", len(head) + len(data)) + head + data)
    return f"file:{path}"


def all_kinds_of(count: int) -> Floats:
    """Every integer's neighbourhood, ties among them, and what is beyond full scale."""
    rng = np.random.default_rng(3)
    integers = rng.integers(-33000, 33000, count)
    parts = rng.choice([0, 0.5, -0.5, 0.25, 0.4999, 0.5001], count)
    drawn = np.where(rng.random(count) < 0.5, integers + parts, rng.normal(0, 20000, count))
    kinds = (drawn / 32768).astype(np.float32)
    kinds[:8] = [1, -1, 0.99998, -1.00002, 3.5, -7, 1e-40, 0.5 / 32768]
    return kinds


def test_int16_is_numpys_rounding_of_the_float_stream(tmp_path: Path) -> None:
    kinds = all_kinds_of(48000)
    options: dict[str, Any] = {
        "source": write_floats(tmp_path / "floats.wav", kinds),
        "engine": "private",
        "buffer_size": 500,
    }
    with (
        AudioCapture(dtype="int16", **options).stream() as integers,
        AudioCapture(dtype="float32", **options).stream() as floats,
    ):
        assert (floats.dtype, integers.dtype) == ("float32", "int16")
        assert memoryview(integers).format == "h" and len(memoryview(integers)) == 500
        chunks = list(integers)
        plain = next(floats)
        assert bytes(plain) == np.asarray(plain).tobytes()
        assert np.array_equal(np.asarray(plain), kinds[plain.position : plain.position + 500])
    assert [chunk.position for chunk in chunks] == list(range(0, 48000, 500))
    for chunk in chunks:
        wanted = rounded(kinds[chunk.position : chunk.position + 500])
        assert len(chunk) == 500 and np.array_equal(np.asarray(chunk), wanted)
        assert bytes(chunk) == wanted.astype("<i2").tobytes()
        assert chunk.copy() == array.array("h", wanted.tobytes())
    view = memoryview(chunks[0])
    assert (view.format, view.ndim, view.readonly, view.contiguous) == ("h", 1, True, True)
    assert view.obj is chunks[0] and view.itemsize == 2


def test_int16_of_speech(tmp_path: Path) -> None:
    """Segments, partial ones as well; and what the engine heard is known of copies, too."""
    talk = Talk(tmp_path / "talk.wav", texts=(("en", "Good morning."),), lead=0.3, tail=0.9)
    capture = AudioCapture(engine="private", source=talk.source, dtype="int16")
    with capture.stream() as audio:
        found = list(audio.segments(partial_ms=300))
    assert [segment.final for segment in found][-1] and len(found) > 1
    for segment in found:
        wanted = rounded(talk.samples[segment.position : segment.end])
        assert np.array_equal(np.asarray(segment), wanted)
        assert VADProcessor().contains_speech(segment)
        assert VADProcessor(hearing="enhanced").contains_speech(bytes_as_samples(segment))


def bytes_as_samples(segment: Any) -> memoryview:
    return memoryview(bytes(segment)).cast("h")


def test_int16_is_made_without_the_gil(recording: Recorder) -> None:
    """Nobody else would get it for ten seconds."""
    turns, stop = 0, False

    def count() -> None:
        nonlocal turns
        while not stop:
            turns += 1
            time.sleep(0)

    before = sys.getswitchinterval()
    capture = private(recording(20), buffer_size=8000, dtype="int16")
    with capture.stream() as audio:
        thread = threading.Thread(target=count)
        sys.setswitchinterval(10)
        try:
            thread.start()
            begun, end = turns, time.monotonic() + 8
            # How soon the system runs the other thread is not ours.
            while turns - begun < 20:
                audio.latest()
                assert time.monotonic() < end
        finally:
            stop = True
            sys.setswitchinterval(before)
            thread.join()


def test_kept_chunks_under_a_short_history(recording: Recorder, service: Starter) -> None:
    """Whoever keeps views has them overwritten, and is told; whoever copies, or reads, has
    the right audio."""
    played = recording(KEPT_SECONDS)
    service("--source", played.source, "--history", "4")
    kept, copied, read = [], [], []
    with (
        AudioCapture(buffer_size=1600).stream() as audio,
        AudioCapture(buffer_size=1600, dtype="int16").stream() as integers,
        AudioCapture(buffer_size=1600).stream() as pieces,
    ):
        for floats in audio:
            copied.append((floats.position, floats.copy()))
            kept.append((floats, next(integers)))
            read.append(np.asarray(pieces.read(1600)))
    first, last = kept[0][0], kept[-1][0]
    assert len(kept) > 5 * KEPT_SECONDS
    assert not first.valid and last.valid
    for copy in (first.copy, lambda: bytes(first)):
        with pytest.raises(OverrunError) as told:
            copy()
        assert told.value.lost > 0
    assert all(played.holds(position, samples) for position, samples in copied)
    for _, chunk in kept:
        place = slice(chunk.position, chunk.position + 1600)
        assert chunk.valid and np.array_equal(np.asarray(chunk), rounded(played.samples[place]))
    # What was read follows on itself.
    begin_of(played.samples, np.concatenate(read))


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_read_gives_everything_in_pieces_of_any_length(recording: Recorder, dtype: Any) -> None:
    played = recording(1.5)
    rng = np.random.default_rng(1)
    pieces = []
    with private(played, buffer_size=400, dtype=dtype).stream() as audio:
        while True:
            wanted = int(rng.integers(1, 3000))
            pieces.append(audio.read(wanted))
            if len(pieces[-1]) < wanted:
                break
            assert len(pieces[-1]) == wanted
        assert [len(audio.read(10)) for _ in range(2)] == [0, 0]
        # From where the stream was entered; and the iteration is still there.
        begin = len(played.samples) - sum(map(len, pieces))
        assert next(audio).position == begin < 8000
    assert all(isinstance(piece, array.array) for piece in pieces)
    got = np.concatenate([np.asarray(piece) for piece in pieces])
    wanted_all = played.samples if dtype == "float32" else rounded(played.samples)
    assert got.dtype == dtype and np.array_equal(got, wanted_all[begin:])
    assert len(audio.read(5)) == 0


def test_read_within_a_time(recording: Recorder) -> None:
    played = recording(3)
    with private(played, buffer_size=160).stream() as audio:
        with pytest.raises(TimeoutError, match="32000 samples"):
            audio.read(32000, 0)
        with pytest.raises(TimeoutError):
            audio.read(32000, timeout=0.05)
        # Nothing of it is lost.
        assert played.holds(0, audio.read(32000, timeout=30))
        for wrong in (0, -1, 1 << 40):
            with pytest.raises(ValueError, match=f"n={wrong}: must be 1 to"):
                audio.read(wrong)
        with pytest.raises(ValueError, match="timeout=-1"):
            audio.read(1, -1)
    with pytest.raises(V2MError, match="not open"):
        private(played).stream().read(1)


def test_read_says_what_was_overwritten(recording: Recorder, service: Starter) -> None:
    played = recording(20)
    service("--source", played.source, "--history", "4")
    with AudioCapture(buffer_size=160).stream() as audio:
        begin = audio.position
        before = len(audio.read(1000))
        wait_until(lambda: audio.position > begin + 2 * audio.history, "twice the history", 40)
        with pytest.raises(OverrunError, match="overwritten") as told:
            audio.read(1000)
        assert told.value.lost > audio.history // 2
        # The next ones stay readable for a while, and lie where they should.
        after = np.asarray(audio.read(8000))
        places = [begin - 160 + before + told.value.lost - near for near in range(161)]
        assert any(played.holds(place, after) for place in places)


def test_read_from_one_engine_to_the_next(recording: Recorder) -> None:
    played = recording(20)
    with private(played, buffer_size=160).stream() as audio:
        assert played.holds(0, audio.read(4000))
        pid = audio.private_engine_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        read = [audio.read(8000) for _ in range(3)]
        # What was left of the first one, then another file from its beginning.
        short = [len(piece) < 8000 for piece in read]
        assert short.count(True) <= 1
        at = 4000
        for piece in read:
            if not played.holds(at, piece):
                at = 0
                assert played.holds(0, piece)
            at += len(piece)
        assert audio.private_engine_pid != pid


def test_threads_share_what_is_read(recording: Recorder) -> None:
    played = recording(1)
    found: list[Any] = []

    def take(audio: AudioStream) -> None:
        while len(piece := audio.read(250)) == 250:
            found.append(piece)

    with private(played, buffer_size=160).stream() as audio:
        threads = [threading.Thread(target=take, args=(audio,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 64
    starts = {played.samples[at : at + 250].tobytes() for at in range(0, 16000, 250)}
    assert {piece.tobytes() for piece in found} == starts
