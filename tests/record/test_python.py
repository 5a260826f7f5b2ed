"""`capture.record`: the recorder from Python, on a thread that no GIL holds up."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rig import wait_until
from rig.recorder import RATE, Service, as_float, fill_disk, read_wav, small_disk
from v2m_engine import AudioCapture, EngineUnavailableError, V2MError

Engine = Callable[..., Service]


@pytest.fixture
def service(engine: Engine, minute: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Service:
    running = engine(minute)
    monkeypatch.setenv("V2M_ENGINE_SOCKET", running.env["V2M_ENGINE_SOCKET"])
    return running


def test_while_it_lasts(service: Service, minute: np.ndarray, tmp_path: Path) -> None:
    capture = AudioCapture(engine="service")
    with capture.record(tmp_path / "out.wav", last=1.0) as recording:
        assert not recording.done and "running" in repr(recording)
        # The interpreter is busy, which costs nothing.
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            sum(range(10_000))
        assert recording.files == [tmp_path / "out.wav"] and recording.samples > RATE // 4
    assert recording.done and recording.lost == 0 and recording.trouble is None
    got = read_wav(tmp_path / "out.wav")
    assert len(got.samples) == recording.samples >= RATE
    assert np.array_equal(got.samples, as_float(minute)[got.position :][: len(got.samples)])
    recording.close()


def test_asyncio(service: Service, minute: np.ndarray, tmp_path: Path) -> None:
    async def run() -> None:
        capture = AudioCapture(engine="service", buffer_size=1600)
        async with capture.stream() as audio, capture.record(str(tmp_path / "a.flac")) as recording:
            for _ in range(5):
                await anext(audio)
        assert recording.done and recording.samples > RATE // 4
        # Cancelled in the middle: the file is finished all the same.
        async with asyncio.timeout(0.5):
            async with capture.record(tmp_path / "b.wav"):
                await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    got = read_wav(tmp_path / "b.wav")
    assert np.array_equal(got.samples, as_float(minute)[got.position :][: len(got.samples)])
    assert len(got.samples) > RATE // 4


def test_a_length_and_waiting_for_it(service: Service, tmp_path: Path) -> None:
    capture = AudioCapture(engine="service")
    with capture.record(tmp_path / "out.wav", seconds=1.0, format="wav16") as recording:
        assert not recording.wait(0.05)
        assert recording.wait(20)
    assert recording.samples == RATE
    with pytest.raises(V2MError, match="used already"), recording:
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "x.mp3"}, "mp3"),
        ({"path": "x.wav", "format": "ogg"}, "flac24"),
        ({"path": "x.wav", "last": -1}, "last=-1"),
        ({"path": "x.wav", "seconds": 0}, "more than 0"),
        ({"path": "x.wav", "seconds": float("nan")}, "seconds=NaN"),
        ({"path": "x.wav", "sync": 0.0}, "0.05"),
        ({"path": "."}, "format"),
        ({"path": "-", "split": True}, "standard output"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AudioCapture().record(**arguments)  # type: ignore[arg-type]


def test_refusals(service: Service, tmp_path: Path) -> None:
    capture = AudioCapture(engine="service")
    there = tmp_path / "there.wav"
    there.write_text("precious")
    with pytest.raises(ValueError, match="exists already"), capture.record(there):
        pass
    assert there.read_text() == "precious"
    with pytest.raises(V2MError, match="not begun"):
        capture.record(tmp_path / "a.wav").wait()
    with pytest.raises(ZeroDivisionError), capture.record(there, overwrite=True):
        _ = 1 / 0
    assert read_wav(there).ring
    gone = pytest.raises(EngineUnavailableError, match="is gone")
    with gone, capture.record(tmp_path / "gone.wav") as recording:
        time.sleep(0.4)
        service.kill()
        wait_until(lambda: recording.done, "the end")
    assert len(read_wav(tmp_path / "gone.wav").samples) > RATE // 4


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")
def test_a_full_disk(service: Service, minute: np.ndarray, tmp_path: Path) -> None:
    capture = AudioCapture(engine="service")
    with small_disk(tmp_path) as mount:
        full = pytest.raises(V2MError, match="could not be written: No space left")
        with full, capture.record(mount / "out.wav", sync=0.2) as recording:
            time.sleep(0.6)
            fill_disk(mount)
            trouble = wait_until(lambda: recording.trouble, "the trouble")
            assert "No space left" in trouble
        got = read_wav(mount / "out.wav")
        assert np.array_equal(got.samples, as_float(minute)[got.position :][: len(got.samples)])


def test_a_forked_child_leaves_it_alone(service: Service, tmp_path: Path) -> None:
    capture = AudioCapture(engine="service")
    with capture.record(tmp_path / "out.wav") as recording:
        time.sleep(0.3)
        child = os.fork()
        if child == 0:
            try:
                recording.close()
                recording.wait(1)
            except V2MError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        time.sleep(0.3)
    assert len(read_wav(tmp_path / "out.wav").samples) == recording.samples > RATE // 2


def test_the_program_ends_without_closing(service: Service, tmp_path: Path) -> None:
    """As if killed: what was synced is there."""
    code = (
        "import sys, time, os; from v2m_engine import AudioCapture\n"
        "r = AudioCapture(engine='service').record(sys.argv[1], sync=0.2); r.__enter__()\n"
        "time.sleep(1.2); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "out.wav"], env=service.env, check=True)
    assert len(read_wav(tmp_path / "out.wav").samples) > 0.7 * RATE


def test_standard_output(service: Service) -> None:
    code = (
        "from v2m_engine import AudioCapture\n"
        "with AudioCapture(engine='service').record('-', seconds=0.5) as r: r.wait()"
    )
    command = [sys.executable, "-c", code]
    written = subprocess.run(command, env=service.env, stdout=subprocess.PIPE, check=True).stdout
    start = written.index(b"data") + 8
    assert written.startswith(b"RIFF") and len(written) - start == RATE  # 16 bits each


def test_a_fifo_that_nobody_reads_holds_nobody_up(service: Service, tmp_path: Path) -> None:
    fifo = tmp_path / "out.wav"
    os.mkfifo(fifo)
    capture = AudioCapture(engine="service")
    with pytest.raises(V2MError, match="nobody reads it"), capture.record(fifo) as recording:
        wait_until(lambda: recording.trouble is not None, "what it waits for")
        assert recording.trouble == "nobody reads it yet" and not recording.done


def test_who_reads_a_fifo_late_gets_all_of_it(
    service: Service, minute: np.ndarray, tmp_path: Path
) -> None:
    fifo = tmp_path / "out.wav"
    os.mkfifo(fifo)
    with AudioCapture(engine="service").record(fifo, format="wav32", last=0.5) as recording:
        wait_until(lambda: recording.samples > RATE, "a second of audio")
        with fifo.open("rb") as ear:
            heard = ear.read(5 * RATE)
        # Nobody listens to what would follow.
        wait_until(lambda: recording.done, "the end")
    start = heard.index(b"data") + 8
    samples = np.frombuffer(heard[start : start + 4 * RATE], "<f4")
    whole = as_float(minute)
    at = np.flatnonzero(whole == samples[0])
    assert any(np.array_equal(whole[n : n + RATE], samples) for n in at)
