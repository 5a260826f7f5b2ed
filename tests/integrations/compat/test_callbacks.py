"""When callbacks come: what a program does after `start()` has returned is done before the first
one, and none comes after `stop()`. Programs set there what their callbacks read."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rig.playing import Recording
from v2m_engine.compat import _input, pyaudio
from v2m_engine.compat import sounddevice as sd

RATE = 16000
#: A stream that calls back, and how to start it, to stop it and to close it.
Program = Callable[[str, Callable[[], None]], Any]


def by_sounddevice(source: str, called: Callable[[], None]) -> Any:
    stream = sd.InputStream(
        RATE, random.choice([0, 40, 160]), source, 1, callback=lambda *_: called()
    )
    return stream, stream.start, [stream.stop, stream.abort], stream.close


def by_pyaudio(source: str, called: Callable[[], None]) -> Any:
    def callback(*_: Any) -> tuple[None, int]:
        called()
        return None, pyaudio.paContinue

    stream = pyaudio.PyAudio().open(
        RATE, 1, pyaudio.paInt16, True, start=False, input_device_index=0, stream_callback=callback
    )
    return stream, stream.start_stream, [stream.stop_stream], stream.close


@pytest.fixture
def _a_thread_keeps_the_gil() -> Iterator[None]:
    """Until it waits for something: what comes in between two of its steps came too early."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(60)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture
def _audio_is_there_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a stream has begun: its thread needs not wait for a block."""
    start = _input.Input.start

    def slow(self: _input.Input) -> None:
        start(self)
        time.sleep(random.choice([0, 0.01, 0.05]))

    monkeypatch.setattr(_input.Input, "start", slow)


@pytest.mark.usefixtures("_a_thread_keeps_the_gil", "_audio_is_there_already")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("program", [by_sounddevice, by_pyaudio])
def test_in_any_order(only_device: Recording, program: Program, seed: int) -> None:
    random.seed(seed)
    ready, calls, wrong = False, threading.Semaphore(0), 0

    def called() -> None:
        nonlocal wrong
        wrong += not ready
        calls.release()

    for _ in range(3):
        stream, start, stops, close = program(only_device.source, called)
        for _ in range(random.randrange(1, 4)):
            enters = hasattr(stream, "__enter__") and random.random() < 0.3
            stream.__enter__() if enters else start()
            ready = True
            if random.random() < 0.7:
                assert calls.acquire(timeout=20)
            if random.random() < 0.3:
                start()  # it has begun: nothing happens
            random.choice(stops)()
            ready = False
        close()
    assert not wrong


@pytest.mark.usefixtures("_a_thread_keeps_the_gil", "_audio_is_there_already")
def test_a_stream_that_is_started_by_opening_it(only_device: Recording) -> None:
    """PyAudio's callbacks use the variable that it is assigned to."""
    used, over = [], threading.Event()

    def callback(*_: Any) -> tuple[None, int]:
        try:
            used.append(stream.get_time())
        finally:
            over.set()
        return None, pyaudio.paComplete

    stream = pyaudio.PyAudio().open(
        RATE, 1, pyaudio.paInt16, True, input_device_index=0, stream_callback=callback
    )
    assert over.wait(20) and used
    stream.close()


def test_the_first_one_takes_the_time_of_a_block(
    only_device: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much audio there is by then; and nothing of that is left out."""
    start, begun = _input.Input.start, []

    def slow(self: _input.Input) -> None:
        start(self)
        begun.append(time.monotonic())
        time.sleep(0.2)
        begun.append(time.monotonic())

    monkeypatch.setattr(_input.Input, "start", slow)
    first, over = [], threading.Event()

    def callback(_: Any, frames: int, when: Any, status: sd.CallbackFlags) -> None:
        first.append((time.monotonic(), when.inputBufferAdcTime))
        raise sd.CallbackStop

    with sd.InputStream(
        RATE, 1600, only_device.source, 1, callback=callback, finished_callback=over.set
    ) as stream:
        assert over.wait(20)
        ((called, captured),) = first
        there, returned = begun
        assert captured <= there and called >= returned + stream.latency


def test_stopping_at_once(only_device: Recording) -> None:
    """Doesn't wait for the first block, nor leave a thread."""
    before = threading.active_count()
    ended = []
    stream = sd.InputStream(
        RATE,
        60 * RATE,
        only_device.source,
        1,
        callback=lambda *_: ended.append("called"),
        finished_callback=lambda: ended.append("ended"),
    )
    stream.start()
    stream.stop()
    assert ended == ["ended"] and threading.active_count() == before
    stream.close()
