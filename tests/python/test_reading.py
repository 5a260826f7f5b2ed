"""What a stream gives: the source's samples, all of them, in place."""

from __future__ import annotations

import array
import gc
import os
import resource
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from rig import independent_reader, wait_until
from rig.playing import Recording, Service, address_of, ring_maps
from v2m_engine import AudioCapture, AudioChunk, AudioStream, DeviceError, OverrunError, V2MError

Recorder = Callable[..., Recording]
Starter = Callable[..., Service]


def private(recording: Recording, **options: Any) -> AudioCapture:
    return AudioCapture(engine="private", source=recording.source, **options)


def test_every_sample_of_the_source(recording: Recorder) -> None:
    played = recording(1.5)
    with private(played, buffer_size=1600).stream() as audio:
        chunks = list(audio)
    assert [chunk.position for chunk in chunks] == list(range(0, 24000, 1600))
    assert all(played.holds(chunk.position, chunk) for chunk in chunks)
    assert not any(chunk.gap for chunk in chunks)
    assert all(chunk.valid for chunk in chunks)


def test_hops_overlap(recording: Recorder) -> None:
    played = recording(1)
    with private(played, buffer_size=4000).stream(hop=1500) as audio:
        chunks = list(audio)
    assert [chunk.position for chunk in chunks] == list(range(0, 16000 - 4000 + 1, 1500))
    assert all(len(chunk) == 4000 and played.holds(chunk.position, chunk) for chunk in chunks)


def test_a_quantum_at_a_time(recording: Recorder) -> None:
    played = recording(1)
    with private(played, buffer_size=1000).stream(hop="quantum") as audio:
        ends = []
        for number, chunk in enumerate(audio):
            assert played.holds(chunk.position, chunk)
            ends.append(chunk.position + len(chunk))
            if number == 3:
                time.sleep(0.3)  # 4800 samples: more than a window
    steps = np.diff(ends)
    assert ends[0] == 1000
    assert ends[-1] == 16000
    assert (steps > 0).all()
    assert steps.max() == 1000  # caught up without leaving anything out


def test_times_are_those_of_a_microphone(recording: Recorder) -> None:
    with private(recording(1), buffer_size=1000).stream() as audio:
        before = time.monotonic_ns()
        first, *rest = audio
        after = time.monotonic_ns()
        assert before - 10**9 < first.time_ns < after
        for chunk in rest:
            assert chunk.time_ns - first.time_ns == (chunk.position - first.position) * 62500
        assert first.time_ns < audio.written_ns < after


def test_a_chunk_is_the_rings_own_memory(recording: Recorder) -> None:
    with private(recording(1)).stream() as audio:
        chunk = next(audio)
        maps = ring_maps()
        assert maps
        assert {protection for *_, protection in maps} == {"r--s"}
        for samples in (
            chunk,
            memoryview(chunk),
            np.asarray(chunk),
            np.frombuffer(memoryview(chunk), np.float32),
        ):
            start = address_of(samples)
            assert any(low <= start and start + 4 * 4096 <= high for low, high, _ in maps) or any(
                # A window across the ring's end lies in two maps, back to back.
                low <= start < high
                for low, high, _ in maps
            )
            assert start == address_of(chunk)


def test_the_buffer(recording: Recorder) -> None:
    with private(recording(1)).stream() as audio:
        chunk = next(audio)
        view = memoryview(chunk)
        assert (view.format, view.itemsize, view.ndim) == ("f", 4, 1)
        assert (view.shape, view.strides, view.nbytes) == ((4096,), (4,), 16384)
        assert view.readonly
        assert view.c_contiguous
        assert view.obj is chunk
        assert len(chunk) == len(view) == 4096
        samples = np.asarray(chunk)
        assert samples.dtype == np.float32
        assert not samples.flags.writeable
        assert not samples.flags.owndata
        with pytest.raises(ValueError, match="WRITEABLE"):
            samples.flags.writeable = True
        with pytest.raises(TypeError, match="read-only"):
            view[0] = 1.0  # type: ignore[call-overload]
        with pytest.raises((BufferError, TypeError)):
            os.readv(0, [chunk])
        assert bytes(chunk) == samples.tobytes()
        # Whoever asks for plain bytes gets no shape and no format.
        assert b"".join([chunk]) == samples.tobytes()


def test_the_stream_is_its_newest_samples(recording: Recorder) -> None:
    played = recording(1)
    with private(played).stream() as audio:
        assert len(audio) == 4096
        held = np.asarray(audio)
        position = audio.latest().position
        wait_until(lambda: audio.position > position + 8192, "more audio")
        newer = audio.latest()
        assert newer.position > position
        assert played.holds(newer.position, newer)
        assert len(memoryview(audio)) == 4096
        assert address_of(held) != address_of(audio)
        # What was held is what it was.
        assert any(played.holds(p, held) for p in range(position + 1))


def test_a_copy_is_owned(recording: Recorder) -> None:
    played = recording(1)
    with private(played).stream() as audio:
        copy = next(audio).copy()
    assert isinstance(copy, array.array)
    assert copy.typecode == "f"
    assert played.holds(0, copy)
    copy[0] = 0.5


def test_the_speech_of_a_chunk_is_the_rings_own_memory(recording: Recorder) -> None:
    with private(recording(1)).stream() as audio:
        chunks = list(audio)
        assert audio.position == 16000
    speech = chunks[1].speech
    assert (len(speech), speech.format, speech.readonly) == (8, "f", True)
    probabilities = np.asarray(speech)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert address_of(speech) - address_of(chunks[0].speech) == 4 * 8
    assert any(low <= address_of(speech) < high for low, high, _ in ring_maps())


def test_the_rest_of_a_file_is_in_the_buffer(recording: Recorder) -> None:
    played = recording(0.5)
    with private(played, buffer_size=3000).stream() as audio:
        assert len(list(audio)) == 2
        assert audio.latest().position == 5000
        assert played.holds(5000, audio)
        assert next(audio, None) is None


def test_a_file_shorter_than_the_buffer(recording: Recorder) -> None:
    with (
        pytest.raises(DeviceError, match="1600 samples"),
        private(recording(0.1)).stream(),
    ):
        pass


def test_an_overrun_counts_what_was_lost(recording: Recorder, service: Starter) -> None:
    """The reader stops for longer than the 4 s of history."""
    played = recording(40)
    service("--source", played.source, "--history", "4")
    with AudioCapture(buffer_size=1000).stream() as audio:
        assert audio.history == 65536
        last = next(audio)
        held = np.asarray(last)
        assert last.valid
        end = last.position + 1000
        wait_until(lambda: audio.position > end + audio.history, "4 s of audio", 20)
        assert not last.valid
        with pytest.raises(OverrunError) as gone:
            last.copy()
        assert gone.value.lost == 1000
        with pytest.raises(OverrunError, match="overwritten") as overrun:
            next(audio)
        lost = overrun.value.lost
        assert lost >= audio.history - 1000
        fresh = next(audio)
        assert fresh.position == end + lost
        assert played.holds(fresh.position, fresh)
        assert next(audio).position == fresh.position + 1000
        assert len(held) == 1000  # still readable, whatever it holds now


def test_clients_of_different_speeds(recording: Recorder, service: Starter) -> None:
    played = recording(3)
    service("--source", played.source)
    fast = AudioCapture(buffer_size=400).stream(hop="quantum")
    slow = AudioCapture(buffer_size=8000).stream()
    with fast, slow:
        quick = [(chunk.position, played.holds(chunk.position, chunk)) for chunk in fast]
        slowly = list(slow)
    assert all(right for _, right in quick)
    assert len(quick) > 50
    assert all(played.holds(chunk.position, chunk) for chunk in slowly)
    assert {b.position - a.position for a, b in pairwise(slowly)} == {8000}


def test_an_independent_reader_sees_the_same(recording: Recorder, service: Starter) -> None:
    played = recording(2)
    engine = service("--source", played.source, "--history", "4")
    peer, descriptor, source = independent_reader.connect(os.environ["V2M_ENGINE_SOCKET"])
    ring = independent_reader.Ring(descriptor)
    assert source == played.source
    assert ring.engine_pid == engine.pid
    assert ring.history == 65536
    with AudioCapture(buffer_size=1000).stream() as audio:
        for chunk in audio:
            theirs = ring.samples(chunk.position, 1000)
            assert theirs.tobytes() == bytes(chunk)
            assert ring.time_ns(chunk.position) == chunk.time_ns
            assert ring.heartbeat_ns() > 0
        assert ring.state() == 3
        assert ring.committed() == audio.position == 32000
        assert ring.counters()["written_ns"] == audio.written_ns
    assert ring.records(independent_reader.GAPS) == []
    assert ring.sources() == [str(played.path)]
    assert [r.detail for r in ring.records(independent_reader.NOTICES) if r.kind == 5][-1] == 3
    assert ring.wake_word() > 10
    peer.close()


def test_chunks_leak_nothing(recording: Recorder, service: Starter) -> None:
    service("--source", recording(30).source, "--history", "4")
    with AudioCapture(buffer_size=16).stream(hop=1) as audio:

        def take(count: int) -> int:
            for _ in range(count):
                chunk: AudioChunk = audio.latest()
                np.asarray(memoryview(chunk))[0]
                chunk.speech  # noqa: B018
                memoryview(audio)
            gc.collect()
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        take(20_000)
        before = take(1)
        assert take(100_000) - before < 2000  # KiB; a lost reference would be 10 MB


def test_after_closing(recording: Recorder) -> None:
    stream = private(recording(1)).stream()
    with pytest.raises(V2MError, match="not open"):
        next(stream)
    with stream as audio:
        chunk = next(audio)
        with pytest.raises(V2MError, match="open already"):
            audio.__enter__()
    assert audio.closed
    audio.close()
    for use in (memoryview, iter, AudioStream.latest, AudioStream.__enter__):
        with pytest.raises(V2MError, match="closed"):
            use(audio)
    with pytest.raises(V2MError, match="closed"):
        audio.position  # noqa: B018
    assert next(audio, None) is None  # an iteration under way ends
    assert chunk.valid
