"""The virtual microphone, as another program records it in a whole session."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rig import PrivatePipeWire, wait_until
from rig.service import Engine, status
from rig.session import Session
from rig.speech import TEXTS, Talk

RATE, QUANTUM = 48_000, 1024
NODE = "v2m-engine.microphone"

Floats = npt.NDArray[np.float32]

needs_session = pytest.mark.skipif(
    shutil.which("wireplumber") is None or shutil.which("pw-record") is None,
    reason="WirePlumber or pw-record is not installed",
)


@pytest.fixture
def session() -> Iterator[Session]:
    """A graph that runs at the microphone's own rate, so that nothing is resampled."""
    with Session(quantum=QUANTUM) as private:
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


class Index:
    """Where pieces are in samples, no two of which are alike."""

    def __init__(self, samples: Floats) -> None:
        self.samples = samples
        self.order = np.argsort(samples, kind="stable")
        self.ascending = samples[self.order]

    def find(self, piece: Floats) -> int | None:
        first = np.searchsorted(self.ascending, piece[0], "left")
        last = np.searchsorted(self.ascending, piece[0], "right")
        for at in self.order[first:last]:
            if np.array_equal(self.samples[at : at + len(piece)], piece):
                return int(at)
        return None


def matched(played: Index, heard: Floats) -> list[tuple[int, int, int]]:
    """Stretches of a recording that are those played: where they are in either, and how long. A
    graph that loses cycles moves them against each other, and the engine puts silence there."""
    stretches = []
    sounds = np.flatnonzero(heard)
    at = 0
    while (then := np.searchsorted(sounds, at)) < len(sounds):
        at = int(sounds[then])
        place = played.find(heard[at : at + 16]) if at + 16 <= len(heard) else None
        if place is None:
            at += 16
            continue
        length = min(len(heard) - at, len(played.samples) - place)
        differs = heard[at : at + length] != played.samples[place : place + length]
        first = int(np.argmax(differs)) if differs.any() else length
        stretches.append((at, place, first))
        at += first
    return stretches


def covered(length: int, stretches: Iterable[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    there = np.zeros(length, np.bool_)
    for begin, count in stretches:
        there[begin : begin + count] = True
    return there


def runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and end of each stretch of true ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


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
    stretches = matched(Index(played), heard)
    same = covered(len(heard), ((at, count) for at, _, count in stretches))
    assert np.mean(same | (heard == 0)) > 0.99
    assert np.mean(same) > 0.8


@needs_session
def test_speech_comes_whole_and_silence_is_exact(session: Session, tmp_path: Path) -> None:
    """V2M_TEST_UTTERANCES is how many are said: 200 take twelve minutes."""
    count = int(os.environ.get("V2M_TEST_UTTERANCES", "3"))
    texts = tuple(TEXTS[n % len(TEXTS)] for n in range(count))
    talk = Talk(tmp_path / "talk.wav", texts=texts)
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
            told = status(rig)
    heard = read(tmp_path / "heard.wav")
    stretches = matched(Index(played), heard)
    same = covered(len(heard), ((at, count) for at, _, count in stretches))
    given = covered(len(played), ((place, count) for _, place, count in stretches))
    # Of each utterance that came while it was recorded every sample is there, from before its
    # first sound: all but the cycles that the graph lost, which are whole ones.
    first = next(place for _, place, _ in stretches)
    odd = whole = 0
    for start, end in ((3 * start - RATE // 20, 3 * end) for start, end in talk.spoken):
        if start < first + RATE // 2 and first < end:
            continue
        missing = runs(~given[start:end])
        # Where it goes on after a loss is known to 16 samples.
        odd += sum((end - begin + 64) % QUANTUM > 128 for begin, end in missing)
        whole += given[start:end].mean() > 0.5
    assert odd <= told["virtual_microphone"]["slips"] + told["losses"]["gaps"], told
    assert whole >= len(talk.spoken) - 1
    # Between them it is silent, to the bit, and there is nothing but speech and fades.
    silent = heard == 0
    assert np.mean(silent) > 0.1
    assert np.mean(same | silent) > 0.95
    assert max(end - begin for begin, end in runs(silent[:-RATE])) > RATE // 4


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
