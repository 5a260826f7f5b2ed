"""Eight threads on one object at the same moment, whatever it is: each gets what it asked for, or
is told why not. What a GIL would hide shows under a Python that has none
(`packaging/tests/test_free_threaded.py`)."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig.playing import Recording, ring_maps
from rig.speech import Talk
from v2m_engine import AudioCapture, AudioChunk, AudioStream, V2MError, VADProcessor, VADStream

Recorder = Callable[..., Recording]

THREADS = 8
ROUNDS = int(os.environ.get("V2M_TEST_ROUNDS", "5"))


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each of these returned or raised, called by a thread each."""
    ready = threading.Barrier(len(calls))

    def answer(call: Callable[[], Any]) -> Any:
        ready.wait()
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(answer, calls))


def by_all(call: Callable[[], Any]) -> list[Any]:
    return at_once(*[call] * THREADS)


@pytest.fixture
def capture(recording: Recorder) -> Iterator[AudioCapture]:
    """One engine for all rounds."""
    made = AudioCapture(engine="private", source=recording(60).source, buffer_size=800)
    yield made
    made.close()


def test_a_stream_is_opened_once(capture: AudioCapture) -> None:
    for _ in range(ROUNDS):
        stream = capture.stream()
        answers = by_all(stream.__enter__)
        assert answers.count(stream) == 1
        refused = [answer for answer in answers if answer is not stream]
        assert {str(why) for why in refused} == {"the stream is open already"}
        assert {type(why) for why in refused} == {V2MError}
        next(stream)
        by_all(stream.close)
        assert stream.closed


def test_a_recording_is_begun_once(capture: AudioCapture, tmp_path: Path) -> None:
    for number in range(ROUNDS):
        path = tmp_path / f"{number}.wav"
        recording = capture.record(path)
        answers = by_all(recording.__enter__)
        assert answers.count(recording) == 1
        assert len([why for why in answers if isinstance(why, V2MError)]) == THREADS - 1
        assert by_all(recording.close) == [None] * THREADS
        with wave.open(str(path)) as file:
            assert file.getnframes() == recording.samples


def test_a_stream_is_read_in_every_way_and_closed(recording: Recorder) -> None:
    played = recording(300)
    capture = AudioCapture(engine="private", source=played.source, buffer_size=800)
    vad = VADProcessor()

    def until_closed(look: Callable[[AudioStream], Any]) -> list[Any]:
        found: list[Any] = []
        with pytest.raises(V2MError, match="closed"):
            while True:
                found.append(look(audio))
        return found

    def read() -> bytes:
        found = b""
        while piece := bytes(audio.read(160)):
            found += piece
        return found

    def iterate() -> list[AudioChunk]:
        found = []
        for chunk in audio:
            found.append(chunk)
            begun.set()
        return found

    def close() -> None:
        begun.wait()
        time.sleep(0.1)
        audio.close()

    for _ in range(min(ROUNDS, 50)):
        with capture.stream() as audio:
            begun = threading.Event()
            segments, events = audio.segments(), audio.events()
            chunks, spoken, told, pieces, newest, _, views, closed = at_once(
                iterate,
                lambda: list(segments),  # noqa: B023
                lambda: list(events),  # noqa: B023
                read,
                lambda: until_closed(AudioStream.latest),
                lambda: until_closed(vad.contains_speech),
                lambda: until_closed(lambda audio: memoryview(audio).obj),
                close,
            )
        assert closed is None and spoken == []
        assert len(set(told)) == len(told)
        assert {b.position - a.position for a, b in pairwise(chunks)} <= {800}
        for chunk in (*chunks, *newest, *views):
            assert played.holds(chunk.position, chunk)
        assert pieces in played.samples.tobytes()
    capture.close()


def test_each_chunk_goes_to_one_thread(recording: Recorder) -> None:
    played = recording(1)
    capture = AudioCapture(engine="private", source=played.source, buffer_size=32)
    with capture.stream() as audio:
        shares = by_all(lambda: [c.position for c in audio if played.holds(c.position, c)])
    assert sorted(chain.from_iterable(shares)) == list(range(0, 16000, 32))
    capture.close()


def test_each_utterance_and_each_event_goes_to_one_thread(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=Talk.texts[1:2])
    capture = AudioCapture(engine="private", source=talk.source)
    with capture.stream() as audio:
        segments, events = audio.segments(), audio.events()
        half = THREADS // 2
        shares = at_once(*[lambda: list(segments)] * half, *[lambda: list(events)] * half)
    spoken = [(segment.position, segment.end) for share in shares[:half] for segment in share]
    alone = VADProcessor(hearing="enhanced").speech_timestamps(talk.samples)
    assert sorted(spoken) == [(stamp["start"], stamp["end"]) for stamp in alone]
    told = [event for share in shares[half:] for event in share]
    assert len(set(told)) == len(told)
    # By the engine's own rules, by which the first utterance may be two.
    assert sum(event.kind == "speech-start" for event in told) >= len(alone)
    capture.close()


def test_memory_is_shared_and_let_go(capture: AudioCapture) -> None:
    """The ring stays mapped as long as one view is left, and no longer."""

    def look(chunk: AudioChunk) -> bytes:
        for _ in range(50):
            view = memoryview(chunk)
            array, copy = np.asarray(chunk), chunk.copy()
            assert array.tobytes() == view.tobytes() == bytes(copy) == bytes(chunk)
            memoryview(chunk.speech).tolist()
            repr(chunk)
        return bytes(view)

    def looked_at() -> memoryview:
        with capture.stream() as audio:
            chunk = next(audio)
            for _ in range(ROUNDS):
                assert set(by_all(lambda: look(chunk))) == {bytes(chunk)}
        return memoryview(chunk)

    kept = looked_at()
    capture.close()
    gc.collect()
    assert ring_maps() and len(kept.tolist()) == 800
    del kept
    gc.collect()
    assert not ring_maps()


def test_pieces_of_eight_threads_are_one_sequence() -> None:
    piece = np.random.default_rng(1).normal(0, 0.1, 500).astype(np.float32)
    vad, pushed = VADProcessor(), VADStream()
    count = 10 * ROUNDS
    found = by_all(lambda: sum(len(vad.probabilities(piece, resume=True)) for _ in range(count)))
    assert sum(found) == THREADS * count * 500 // 512
    by_all(lambda: [pushed.push(piece) for _ in range(count)])
    assert pushed.position == THREADS * count * 500
    assert by_all(vad.reset) == by_all(pushed.reset) == [None] * THREADS
    assert pushed.position == 0


def test_an_iterator_is_never_run_by_two() -> None:
    def items() -> Iterator[Any]:
        running = threading.Lock()
        for _ in range(40):
            assert running.acquire(blocking=False)
            silence = np.zeros(512, np.float32)
            running.release()
            yield silence

    many = VADProcessor().speech_timestamps_many
    for _ in range(ROUNDS):
        assert at_once(*[lambda: many(items(), jobs=4)] * 2) == [[[]] * 40] * 2


def test_a_stream_is_bound_to_one_event_loop(capture: AudioCapture) -> None:
    async def take() -> AudioChunk:
        # More than what may be there already.
        for _ in range(3):
            chunk = await anext(audio)
        return chunk

    for _ in range(ROUNDS):
        with capture.stream() as audio:
            answers = by_all(lambda: asyncio.run(take()))
        chunks = [one for one in answers if isinstance(one, AudioChunk)]
        told = {str(one) for one in answers if not isinstance(one, AudioChunk)}
        assert chunks and told <= {"the stream is bound to a different event loop"}


def test_the_switch_interval_is_put_back(capture: AudioCapture) -> None:
    before = sys.getswitchinterval()

    def use() -> None:
        with capture.stream(switch_interval=0.0005) as audio:
            next(audio)

    for _ in range(ROUNDS):
        assert by_all(use) == [None] * THREADS
        assert sys.getswitchinterval() == before


def test_streams_open_while_the_capture_is_closed(capture: AudioCapture) -> None:
    def use() -> int:
        with capture.stream() as audio:
            return len(next(audio))

    for _ in range(ROUNDS):
        *lengths, closed = at_once(*[use] * (THREADS - 1), capture.close)
        assert closed is None and lengths == [800] * (THREADS - 1)
