"""Threads, signals, forks and sudden ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rig import wait_until
from rig.playing import Recording, process_is_gone
from v2m_engine import AudioCapture, V2MError

Recorder = Callable[..., Recording]

# What runs in the background of a script has SIGINT ignored, and passes that on.
CLIENT = """
import asyncio, pathlib, signal, sys, threading, time
from v2m_engine import AudioCapture, together
signal.signal(signal.SIGINT, signal.default_int_handler)
capture = AudioCapture(engine="private", source=sys.argv[1])
async def on_a_loop(audio, wait):
    async with capture.stream() as audio:
        print(audio.private_engine_pid, flush=True)
        async for _ in wait(audio):
            pass
WAITS = {
    "chunks": lambda audio: audio,
    "segments": lambda audio: audio.segments(),
    "events": lambda audio: audio.events(),
    "reading": lambda audio: iter(lambda: audio.read(160_000), None),
    "together": lambda audio: together(audio),
}
how, _, what = sys.argv[2].rpartition(" ")
def tell():
    engines = lambda: "".join(
        (task / "children").read_text() for task in pathlib.Path("/proc/self/task").iterdir()
    )
    while not engines():
        time.sleep(0.01)
    print(engines(), flush=True)
if what == "entering":
    threading.Thread(target=tell).start()
    with capture.stream(timeout=None) as audio:
        pass
if how == "async":
    asyncio.run(on_a_loop(capture, WAITS[what]))
with capture.stream() as audio:
    print(audio.private_engine_pid, flush=True)
    if what == "recording":
        with capture.record(sys.argv[3]) as recording:
            recording.wait()
    for _ in WAITS[what](audio):
        pass
"""
ALL_WAITS = ["chunks", "segments", "events", "reading", "together", "recording"]
ASYNC_WAITS = ["async chunks", "async segments", "async events"]


def private(recording: Recording, **options: Any) -> AudioCapture:
    return AudioCapture(engine="private", source=recording.source, **options)


def client(recording: Recording, wait: str = "chunks") -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            CLIENT,
            recording.source,
            wait,
            recording.path.with_suffix(".out.wav"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_private_engine_ends_with_its_client(recording: Recorder, how: int) -> None:
    process, engine = client(recording(60))
    process.send_signal(how)
    process.communicate()
    wait_until(lambda: process_is_gone(engine), "the engine's end", 1)


@pytest.mark.parametrize("wait", [*ALL_WAITS, *ASYNC_WAITS])
def test_ctrl_c_ends_a_wait(recording: Recorder, wait: str) -> None:
    process, engine = client(recording(60), wait)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in errors
    assert process.returncode == -signal.SIGINT
    wait_until(lambda: process_is_gone(engine), "the engine's end", 1)


def test_ctrl_c_ends_the_wait_for_a_stream(recording: Recorder) -> None:
    """Out of this pipe nothing comes."""
    silent = recording(1)
    silent.path.unlink()
    os.mkfifo(silent.path)
    process, engine = client(silent, "entering")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in errors
    wait_until(lambda: process_is_gone(engine), "the engine's end", 1)


COMPUTING = """
import signal, sys, wave
import numpy as np
from v2m_engine import VADProcessor, read_audio
signal.signal(signal.SIGINT, signal.default_int_handler)
vad, silence = VADProcessor(), np.zeros(16_000 * 3600 * 40, np.int16)
with wave.open(sys.argv[2], "wb") as file:
    file.setparams((1, 2, 384_000, 0, "NONE", ""))
    file.writeframes(b"")
with open(sys.argv[2], "r+b") as file:  # more than an hour, which takes no room on the disk
    for at, length in ((4, 3_600_000_036), (40, 3_600_000_000)):
        file.seek(at)
        file.write(length.to_bytes(4, "little"))
    file.truncate(3_600_000_044)
print("begins", flush=True)
{
    "probabilities": lambda: vad.probabilities(silence),
    "timestamps": lambda: vad.speech_timestamps(silence),
    "many": lambda: vad.speech_timestamps_many([silence]),
    "reading": lambda: read_audio(sys.argv[2], 8000),
}[sys.argv[1]]()
"""


@pytest.mark.parametrize("what", ["probabilities", "timestamps", "many", "reading"])
def test_ctrl_c_ends_what_computes(tmp_path: Path, what: str) -> None:
    """Much sooner than hours of audio are through."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMPUTING, what, tmp_path / "silence.wav"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline()
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=15)
    finally:
        process.kill()
    assert "KeyboardInterrupt" in errors and process.returncode == -signal.SIGINT


def test_threads_share_a_stream(recording: Recorder) -> None:
    positions: list[int] = []
    with private(recording(1), buffer_size=400).stream() as audio:

        def take() -> None:
            positions.extend([chunk.position for chunk in audio])

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(positions) == list(range(0, 16000, 400))


def test_closing_wakes_a_waiting_thread(recording: Recorder) -> None:
    capture = private(recording(60), buffer_size=16000)
    with capture.stream(timeout=None) as audio:
        next(audio)
        waits = threading.Thread(target=list, args=(audio,))
        waits.start()
        time.sleep(0.05)
        audio.close()
        waits.join(2)
        assert not waits.is_alive()


def test_waiting_leaves_the_gil(recording: Recorder) -> None:
    counted = 0
    stop = threading.Event()

    def count() -> None:
        nonlocal counted
        while not stop.wait(0.005):
            counted += 1

    thread = threading.Thread(target=count)
    thread.start()
    with private(recording(1), buffer_size=16000).stream() as audio:
        next(audio)
    stop.set()
    thread.join()
    assert counted > 50


def test_a_busy_thread_loses_nothing(recording: Recorder) -> None:
    played = recording(2)
    stop = False

    def busy() -> None:
        while not stop:
            sum(range(1000))

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        with private(played, buffer_size=160).stream() as audio:
            positions = [c.position for c in audio if c.valid and played.holds(c.position, c)]
    finally:
        stop = True
        thread.join()
    assert positions == list(range(0, 32000, 160))


def test_a_forked_child(recording: Recorder) -> None:
    """It keeps its parent's chunks, leaves the parent's engine alone, has its own."""
    played = recording(20)
    capture = private(played, buffer_size=800)
    with capture.stream() as audio:
        chunk = next(audio)
        parents = audio.private_engine_pid
        assert parents is not None
        child = os.fork()
        if child == 0:
            code = 1
            try:
                assert played.holds(0, chunk)
                with pytest.raises(V2MError, match="after the fork"):
                    next(audio)
                with pytest.raises(V2MError, match="after the fork"):
                    audio.latest()
                with capture.stream() as own:
                    assert own.private_engine_pid != parents
                audio.close()
                capture.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not process_is_gone(parents)
        # The chunks go on where they were, in the same ring.
        following = next(audio)
        assert (following.position, following.gap) == (800, False)


CHILD = """
import os
import sys
import wave

from v2m_engine import AudioCapture, VADProcessor


def hear(capture: AudioCapture, vad: VADProcessor) -> tuple[int, bool]:
    with capture.stream() as audio:
        chunk = next(audio)
        vad.contains_speech(chunk)
        with wave.open(played.removeprefix("file:")) as file:
            file.setpos(chunk.position)
            return os.getpid(), bytes(chunk) == file.readframes(len(chunk))


played = sys.argv[1]


if __name__ == "__main__":
    import multiprocessing

    capture = AudioCapture(
        engine="private", source=played, buffer_size=800, dtype="int16"
    )
    with capture.stream() as audio:
        next(audio)
        with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
            found = pool.starmap(hear, [(capture, VADProcessor())] * 4)
        assert all(pid != os.getpid() and is_what_was_played for pid, is_what_was_played in found)
        next(audio)
    print("heard")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_other_processes_have_engines_of_their_own(
    recording: Recorder, tmp_path: Path, method: str
) -> None:
    """Settings go there, by each of the ways in which Python makes processes."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    command = [sys.executable, str(script), recording(20).source, method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_an_engine_does_not_wait_for_forked_children(recording: Recorder) -> None:
    capture = private(recording(20), buffer_size=800)
    with capture.stream() as audio:
        pid = audio.private_engine_pid
        assert pid is not None
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
    capture.close()
    try:
        assert process_is_gone(pid)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_descriptors_are_given_back(recording: Recorder) -> None:
    def open_now() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    capture = private(recording(20), buffer_size=160)
    with capture.stream() as audio:
        next(audio)
    # What other tests left to the collector is not ours to count.
    gc.collect()
    before = open_now()
    for _ in range(50):
        with capture.stream() as audio:
            next(audio)
    assert open_now() <= before
