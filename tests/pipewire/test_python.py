"""What Python programs, and those that read a pipe, get of a live microphone."""

from __future__ import annotations

import os
import subprocess
import time
from itertools import pairwise

import numpy as np
import pytest

from rig import BINARY, PrivatePipeWire, wait_until
from rig.service import Engine, running
from v2m_engine import AudioCapture, Event, Source, sources

RATE = 16_000


@pytest.fixture
def here(rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch) -> PrivatePipeWire:
    """A private PipeWire that this process is in as well."""
    for name, value in rig.env.items():
        monkeypatch.setenv(name, value)
    return rig


def test_sources(here: PrivatePipeWire) -> None:
    here.create_source("studio", channels=("FL", "FR"), description="Studio microphone")
    here.set_default_source("studio")

    def listed() -> dict[str, Source]:
        return {source.name: source for source in sources()}

    found = wait_until(lambda: (now := listed()).get("studio") and now, "the source")
    studio = found["studio"]
    assert (studio.description, studio.kind, studio.channels) == ("Studio microphone", "source", 2)
    assert not studio.muted and studio.rate in (None, 48_000)
    assert wait_until(lambda: listed()["studio"].default, "it as default")
    assert sum(source.default for source in listed().values()) == 1


def test_gaps_are_events(here: PrivatePipeWire) -> None:
    """As many samples as are counted as lost, and what the engine's state was meanwhile."""
    with Engine(here, "--source", "rig-mic"), AudioCapture(buffer_size=1600).stream() as audio:
        running(here)
        events = audio.events()
        begun = audio.position
        before = running(here)["losses"]["lost_samples"]
        here.freeze()
        time.sleep(2.5)
        here.thaw()
        time.sleep(1)
        after = running(here)
        found: list[Event] = []
        while not found or found[-1].position + found[-1].length < begun + 2 * RATE:
            found.append(next(events))
        end = audio.position
        while (event := next(events)).detail != "running":
            found.append(event)
        assert end > begun
    gaps = [event for event in found if event.kind == "gap" and event.position >= begun]
    lost = after["losses"]["lost_samples"] - before
    assert sum(gap.length for gap in gaps) == pytest.approx(lost, abs=RATE // 10)
    assert {gap.detail for gap in gaps} <= {"xrun", "interrupted", "continued"}
    states = [event.detail for event in found if event.kind == "state"]
    assert "waiting" in states
    assert all(a.position <= b.position for a, b in pairwise(gaps))


def test_a_pipe_gets_audio_as_it_comes(here: PrivatePipeWire) -> None:
    """A quantum (5.3 ms) at a time, as far as the machine lets it."""
    with Engine(here, "--source", "rig-mic"):
        running(here)
        command = [BINARY, "record", "-", "--format", "s16le", "--seconds", "3"]
        pieces = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=here.env) as record:
            assert record.stdout is not None
            while piece := os.read(record.stdout.fileno(), 1 << 16):
                pieces.append(len(piece))
        assert record.returncode == 0
    assert sum(pieces) == 3 * RATE * 2
    # By a timer of 20 ms it would be 150 at most.
    assert len(pieces) > 200


def test_muting_is_an_event(here: PrivatePipeWire) -> None:
    with Engine(here, "--source", "rig-mic"), AudioCapture(buffer_size=1600).stream() as audio:
        running(here)
        events = audio.events()

        def told(kind: str) -> Event:
            # What it remembers is not this user's.
            env = here.env | {"HOME": str(here.directory)}
            subprocess.run([BINARY, kind], env=env, check=True, timeout=20)
            return next(event for event in events if event.kind in ("mute", "unmute"))

        mute = told("mute")
        assert mute.kind == "mute" and mute.length == 0
        wait_until(lambda: audio.position > mute.position + RATE // 2, "half a second of silence")
        assert not np.asarray(audio.latest()).any()
        unmute = told("unmute")
        assert unmute.kind == "unmute"
        assert unmute.position - unmute.length == mute.position and unmute.length > RATE // 4


def test_another_source_is_an_event_with_its_name(here: PrivatePipeWire) -> None:
    here.create_source("studio", channels=("FL", "FR"))
    here.set_default_source("rig-mic")
    with Engine(here), AudioCapture(buffer_size=1600).stream() as audio:
        running(here)
        events = (event for event in audio.events() if event.kind == "source")
        told = []
        for name in ("studio", "rig-mic", "studio"):
            here.set_default_source(name)
            told.append(next(event for event in events if event.detail == name))
        assert all(a.position <= b.position for a, b in pairwise(told))
