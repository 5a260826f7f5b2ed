"""Engines that are shared, die, hang or come back, seen by a blocking reader."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig import wait_until
from rig.playing import Recording, Service, process_is_gone
from v2m_engine import AudioCapture, AudioStream, DeviceError, EngineUnavailableError

Recorder = Callable[..., Recording]
Starter = Callable[..., Service]


def private(recording: Recording, **options: Any) -> AudioCapture:
    return AudioCapture(engine="private", source=recording.source, **options)


def pid_of(audio: AudioStream) -> int:
    pid = audio.private_engine_pid
    assert pid is not None
    return pid


def test_the_service_if_there_is_one(recording: Recorder, service: Starter) -> None:
    service("--source", recording(5).source)
    with AudioCapture().stream() as audio:
        assert audio.private_engine_pid is None


def test_the_service_has_any_source(recording: Recorder, service: Starter) -> None:
    first, other = recording(5), recording(5)
    service("--source", first.source)
    with AudioCapture(source=other.source).stream() as audio, AudioCapture().stream() as main:
        assert audio.private_engine_pid is None
        assert other.holds(audio.latest().position, audio.latest())
        assert first.holds(main.latest().position, main.latest())
    with (
        pytest.raises(DeviceError, match="No such file"),
        AudioCapture(source="file:/nonexistent.wav").stream(),
    ):
        pass


def test_captures_share_a_private_engine(recording: Recorder) -> None:
    played, other = recording(5), recording(5)
    first, second, third = private(played), private(played, latency="64/48000"), private(other)
    with first.stream() as a, second.stream() as b, third.stream() as c:
        # The one of this process, whatever the source.
        assert pid_of(a) == pid_of(b) == pid_of(c)
        pid = pid_of(a)
        newest = c.latest()
        assert other.holds(newest.position, newest)
        first.close()
        third.close()
    assert not process_is_gone(pid)  # the second capture keeps it
    with second.stream() as again:
        assert pid_of(again) == pid
    second.close()
    wait_until(lambda: process_is_gone(pid), "the engine to end")


def test_a_private_engine_ends_with_its_capture(recording: Recorder) -> None:
    capture = private(recording(5))
    with capture.stream() as audio:
        pid = pid_of(audio)
        del capture
    assert process_is_gone(pid)


def test_a_private_engine_is_started_once_more(recording: Recorder) -> None:
    played = recording(20)
    with private(played, buffer_size=800).stream() as audio:
        held = [next(audio), next(audio)]
        pid = pid_of(audio)
        os.kill(pid, signal.SIGKILL)
        after = next(chunk for chunk in audio if chunk.gap)
        assert after.position == 0
        assert pid_of(audio) != pid
        assert played.holds(0, after)
        follows = next(audio)
        assert (follows.position, follows.gap) == (800, False)
        # The first engine's memory is still there, and still right.
        assert all(chunk.valid and played.holds(chunk.position, chunk) for chunk in held)


def test_a_private_engine_that_cannot_start_again(
    recording: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = recording(20)
    with private(played, buffer_size=800).stream() as audio:
        chunk = next(audio)
        monkeypatch.setenv("V2M_ENGINE_BIN", "/bin/false")
        os.kill(pid_of(audio), signal.SIGKILL)
        with pytest.raises(EngineUnavailableError, match="the engine is gone"):
            list(audio)
        assert played.holds(0, np.asarray(chunk))


def test_an_engine_whose_libraries_are_missing(
    recording: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "v2m-engine"
    # As the loader ends it.
    program.write_text("#!/bin/sh\nexit 127\n")
    program.chmod(0o755)
    monkeypatch.setenv("V2M_ENGINE_BIN", str(program))
    with (
        pytest.raises(EngineUnavailableError, match=r"libasound2 \(Debian\)") as raised,
        private(recording(5)).stream(),
    ):
        pass
    assert str(program) in str(raised.value)


def test_the_service_comes_back(recording: Recorder, service: Starter) -> None:
    played = recording(20)
    engine = service("--source", played.source)
    with AudioCapture(buffer_size=800).stream() as audio:
        next(audio)
        engine.kill()
        thread = threading.Thread(target=engine.start)
        thread.start()
        after = next(chunk for chunk in audio if chunk.gap)
        assert played.holds(after.position, after)
        assert next(audio).position == after.position + 800
        thread.join()


def test_a_service_that_is_gone_for_good(recording: Recorder, service: Starter) -> None:
    engine = service("--source", recording(20).source)
    with AudioCapture(buffer_size=800).stream(timeout=0.5) as audio:
        chunk = next(audio)
        engine.kill()
        with pytest.raises(EngineUnavailableError, match="the engine is gone"):
            list(audio)
        assert chunk.valid
        assert float(np.abs(np.asarray(chunk)).max()) > 0


def test_an_engine_that_stops_in_order(recording: Recorder, service: Starter) -> None:
    engine = service("--source", recording(20).source)
    with AudioCapture(buffer_size=800).stream(timeout=0.5) as audio:
        os.kill(engine.pid, signal.SIGTERM)
        with pytest.raises(EngineUnavailableError):
            list(audio)


def test_an_engine_that_hangs(recording: Recorder, service: Starter) -> None:
    played = recording(20)
    engine = service("--source", played.source)
    with AudioCapture(buffer_size=800).stream(timeout=0.3) as audio:
        os.kill(engine.pid, signal.SIGSTOP)
        with pytest.raises(DeviceError, match=r"no audio .* for 0\.3 s"):
            list(audio)
        os.kill(engine.pid, signal.SIGCONT)
        chunk = next(audio)
        assert played.holds(chunk.position, chunk)


def test_an_engine_in_a_hurry_to_die(recording: Recorder) -> None:
    """Streams of several threads lose the same engine and find the same next one."""
    played = recording(20)
    capture = private(played, buffer_size=800)
    pids: list[int] = []

    def read(audio: AudioStream) -> None:
        with audio:
            next(audio)
            begun.wait()
            next(chunk for chunk in audio if chunk.gap)
            pids.append(pid_of(audio))
            done.wait()

    begun, done = threading.Barrier(5), threading.Barrier(4)
    threads = [threading.Thread(target=read, args=(capture.stream(),)) for _ in range(4)]
    with capture.stream() as audio:
        for thread in threads:
            thread.start()
        begun.wait()
        os.kill(pid_of(audio), signal.SIGKILL)
        wait_until(lambda: not any(thread.is_alive() for thread in threads), "the readers")
    assert len(pids) == 4
    assert len(set(pids)) == 1
