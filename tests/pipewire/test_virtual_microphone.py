"""The virtual microphone, as another program records it in a whole session."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rig import PrivatePipeWire, wait_until
from rig.service import Engine, status
from rig.session import Session
from rig.speech import TEXTS, Talk

RATE = 48_000
NODE = "v2m-engine.microphone"

Floats = npt.NDArray[np.float32]

needs_session = pytest.mark.skipif(
    shutil.which("wireplumber") is None or shutil.which("pw-record") is None,
    reason="WirePlumber or pw-record is not installed",
)


@pytest.fixture
def session() -> Iterator[Session]:
    """A graph that runs at the microphone's own rate, so that nothing is resampled."""
    with Session(quantum=1024) as private:
        yield private


@contextmanager
def recording(session: Session, path: Path) -> Iterator[None]:
    command = ["pw-record", "--target", NODE, "--channels", "1", "--format", "f32"]
    program = subprocess.Popen([*command, "--rate", str(RATE), path], env=session.env)
    try:
        yield
    finally:
        program.send_signal(signal.SIGINT)
        program.wait(10)


def read(path: Path) -> Floats:
    """The samples of a WAV of floats, whose header has 58 bytes or so."""
    data = path.read_bytes()
    start = data.index(b"data") + 8
    return np.frombuffer(data[start : start + (len(data) - start) // 4 * 4], np.float32)


def find(played: Floats, piece: Floats) -> int | None:
    """Where a piece is in what is played over and over."""
    for at in np.flatnonzero(played[: -len(piece)] == piece[0]):
        if np.array_equal(played[at : at + len(piece)], piece):
            return int(at)
    return None


def matched(played: Floats, heard: Floats) -> npt.NDArray[np.bool_]:
    """Which samples of a recording are those played, in their order: a graph that loses cycles
    moves them against each other, and the engine puts silence there."""
    same = np.zeros(len(heard), np.bool_)
    at = 0
    while at + 16 <= len(heard):
        place = find(played, heard[at : at + 16])
        if place is None:
            at += 16
            continue
        length = min(len(heard) - at, len(played) - place)
        differs = heard[at : at + length] != played[place : place + length]
        first = int(np.argmax(differs)) if differs.any() else length
        same[at : at + first] = True
        at += first
    return same


@needs_session
def test_every_sample_comes_through_and_only_while_somebody_records(
    session: Session, tmp_path: Path
) -> None:
    played = (np.random.default_rng(1).standard_normal(20 * RATE) * 0.1).astype(np.float32)
    played.tofile(tmp_path / "noise.f32")
    rig = session.rig
    arguments = ["--capture", "while-used", "--linger", "1", "--virtual-microphone"]
    with rig.play(tmp_path / "noise.f32", loop=True, rate=0), Engine(rig, *arguments):
        rig.wait_for_node(NODE)
        assert status(rig)["state"] == "idle"
        assert status(rig)["virtual_microphone"]["state"] == "idle"
        with recording(session, tmp_path / "heard.wav"):
            wait_until(lambda: status(rig)["virtual_microphone"]["state"] == "recorded", "a reader")
            wait_until(lambda: status(rig)["state"] == "running", "capture")
            time.sleep(2)
            microphone = status(rig)["virtual_microphone"]
            latency = rig.node(NODE)["info"]["params"]["Latency"]
        assert latency[0]["minNs"] == latency[0]["maxNs"] == microphone["latency_ms"] * 1_000_000
        wait_until(lambda: status(rig)["state"] == "idle", "capture to end")
        assert status(rig)["virtual_microphone"]["state"] == "idle"
    heard = read(tmp_path / "heard.wav")
    heard = heard[np.flatnonzero(heard)[0] :]
    assert len(heard) > RATE
    same = matched(played, heard)
    assert np.mean(same | (heard == 0)) > 0.99
    assert np.mean(same) > 0.8


@needs_session
def test_speech_comes_whole_and_silence_is_exact(session: Session, tmp_path: Path) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=TEXTS[:3])
    at = np.arange(3 * len(talk.samples)) / 3
    # No two samples are alike, so that each can be found.
    played = np.interp(at, np.arange(len(talk.samples)), talk.samples)
    played = played + np.random.default_rng(2).standard_normal(len(played)) * 1e-4
    played = played.astype(np.float32)
    played.tofile(tmp_path / "talk.f32")
    rig = session.rig
    arguments = ["--virtual-microphone", "--virtual-microphone-gate", "speech"]
    with rig.play(tmp_path / "talk.f32", loop=True, rate=0), Engine(rig, *arguments):
        rig.wait_for_node(NODE)
        with recording(session, tmp_path / "heard.wav"):
            time.sleep(len(played) / RATE + 2)
    heard = read(tmp_path / "heard.wav")
    same = matched(played, heard)
    # Of whichever utterances came whole into the recording every sample is there.
    whole = 0
    for start, end in ((3 * start, 3 * end) for start, end in talk.spoken):
        place = find(heard, played[end - 16 : end])
        if place is None or place + 16 < end - start:
            continue
        there = same[place + 16 - (end - start) : place + 16]
        whole += bool(there.mean() > 0.98)  # all but what the graph lost
    assert whole >= len(talk.spoken) - 1
    # Between them it is silent, to the bit, and there is nothing but speech and fades.
    silent = heard == 0
    assert np.mean(silent) > 0.1
    assert np.mean(same | silent) > 0.95
    edges = np.flatnonzero(np.diff(silent.astype(np.int8)) == 1)
    runs = [int(np.argmax(~silent[edge + 1 :])) for edge in edges]
    assert max(runs) > RATE // 4


def test_it_comes_back_with_the_daemon(rig: PrivatePipeWire) -> None:
    with Engine(rig, "--virtual-microphone") as engine:
        wait_until(lambda: status(rig)["virtual_microphone"]["state"] == "idle", "it")
        rig.kill()
        wait_until(lambda: status(rig)["virtual_microphone"]["why"], "the reason")
        rig.start()
        wait_until(lambda: status(rig)["virtual_microphone"]["state"] == "idle", "it again")
        log = engine.stop()
    assert "no virtual microphone" in log
    rig.wait_for(lambda: rig._find_node(NODE) is None, "the node to go")
