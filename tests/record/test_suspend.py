"""A suspend, as the clocks tell of it: CLOCK_BOOTTIME and the wall clock go on, CLOCK_MONOTONIC
stood still."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rig import wait_until
from rig.recorder import RATE, Service, as_float, read_wav
from v2m_engine import AudioCapture

Engine = Callable[..., Service]

CLOCKS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_BOOTTIME) {
        FILE *file = fopen(getenv("SLEPT"), "r");
        long seconds = 0;
        if (file) { if (fscanf(file, "%ld", &seconds) == 1) now->tv_sec += seconds; fclose(file); }
    }
    return result;
}
"""


@pytest.fixture
def sleep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets the engine and its clients find that the machine slept, for so many seconds in all."""
    (tmp_path / "clocks.c").write_text(CLOCKS)
    command = ["cc", "-shared", "-fPIC", "-o", tmp_path / "clocks.so", tmp_path / "clocks.c"]
    subprocess.run(command, check=True, timeout=60)
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "clocks.so"))
    monkeypatch.setenv("SLEPT", str(tmp_path / "slept"))

    def slept(seconds: int) -> None:
        (tmp_path / "slept.new").write_text(str(seconds))
        (tmp_path / "slept.new").rename(tmp_path / "slept")

    return slept


@pytest.mark.parametrize("form", ["wav32", "wav16"])
def test_a_recording_has_silence_of_its_length(
    engine: Engine, minute: np.ndarray, tmp_path: Path, sleep: Callable[[int], None], form: str
) -> None:
    service = engine(minute)
    out = tmp_path / "out.wav"
    # Of the length that is asked for the suspends are a part.
    tape = service.start(out, "--format", form, "--seconds", "104s", "--sync", "0.05")
    wait_until(lambda: service.position() > RATE, "a second of it")
    before = service.position()
    sleep(40)
    wait_until(lambda: service.position() > before + RATE, "another second")
    sleep(100)
    assert tape.wait() == 0, tape.said
    wav = read_wav(out)
    assert len(wav.samples) == 104 * RATE
    lengths = [length for _, length in wav.silences()]
    # A clock is read in microseconds: some samples more or less would be hours in years.
    assert lengths == pytest.approx([40 * RATE, 60 * RATE], abs=8)
    assert [at for at, _ in wav.silences()] == [at for at, _ in wav.cues]
    assert [label.split()[0] for _, label in wav.cues] == ["suspended"] * 2
    # Nothing else is missing: positions are of the time in which the machine was awake.
    awake = wav.samples[wav.samples != 0]
    first = int(np.flatnonzero(as_float(minute) == awake[0])[0]) if form == "wav32" else None
    if first is not None:
        assert np.array_equal(awake, as_float(minute)[first : first + len(awake)])


def test_what_comes_after_it_has_the_wall_clock_time_of_then_and_readers_are_told(
    engine: Engine,
    minute: np.ndarray,
    sleep: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = engine(minute)
    monkeypatch.setenv("V2M_ENGINE_SOCKET", service.env["V2M_ENGINE_SOCKET"])
    with AudioCapture(engine="service", buffer_size=512).stream(timeout=20) as stream:
        events, chunks = stream.events(), iter(stream)
        first = next(chunks)
        sleep(7200)
        flagged = next(chunk for chunk in chunks if chunk.gap)
        assert not np.array_equal(np.asarray(flagged), np.zeros(512)), "the audio is the source's"
        event = next(event for event in events if event.kind == "gap")
        assert event.detail == "suspended"
        assert event.length == pytest.approx(7200 * RATE, abs=8)
        # No sample stands for it, and nobody is thrown out of the ring by a night.
        last = next(chunks)
        apart_s = (last.time_ns - first.time_ns) / 1e9
        assert (last.position - first.position) / RATE == pytest.approx(apart_s, abs=0.05)
        time.sleep(0.3)
        assert not next(chunk for chunk in chunks if not chunk.gap).gap
    status = service.status()
    assert status is not None and status["losses"]["lost_samples"] == 0
