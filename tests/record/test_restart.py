"""Engines that go while they are recorded: what one gave stands before the gap, what the
next one gives behind it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rig import BINARY, wait_until
from rig.alsa import AlsaMic, frames_of
from rig.recorder import RATE, Service, Wav, as_float, read_wav
from v2m_engine import AudioCapture

Engine = Callable[..., Service]


def parts(wav: Wav, played: np.ndarray) -> list[np.ndarray]:
    """What lies between the gaps; each gap is marked, and all of the rest was played."""
    gaps = wav.silences()
    marked = [at for at, label in wav.cues if label.startswith("gap")]
    assert marked == [at for at, _ in gaps]
    bounds = [0, *(edge for at, length in gaps for edge in (at, at + length)), len(wav.samples)]
    found = [wav.samples[a:b] for a, b in zip(bounds[::2], bounds[1::2], strict=True)]
    whole = as_float(played)
    for part in found:
        begin = np.flatnonzero(whole[: -len(part)] == part[0])
        assert any(np.array_equal(whole[at : at + len(part)], part) for at in begin), (
            len(part),
            gaps,
        )
    return found


def again(service: Service) -> Service:
    """Starts it once more, at the same place."""
    runtime = Path(service.env["XDG_RUNTIME_DIR"])
    return Service(runtime, runtime / "played.wav")


@pytest.mark.parametrize("form", ["wav32", "wav16"])
def test_the_service_comes_back(
    engine: Engine, minute: np.ndarray, tmp_path: Path, form: str, writing: tuple[str, ...]
) -> None:
    service = engine(minute)
    out = tmp_path / "out.wav"
    tape = service.start(out, "--format", form, "--sync", "0.05", before=writing)

    def grown(size: int) -> None:
        wait_until(lambda: out.exists() and out.stat().st_size > size, "audio")

    grown(50_000)
    for _ in range(2):
        service.kill()
        held = out.stat().st_size
        service = again(service)
        grown(held + 2 * RATE)
    assert tape.stop() == 0, tape.said
    service.kill()
    assert "the engine is gone" in tape.said and "goes on" in tape.said
    found = parts(read_wav(out), minute)
    assert len(found) == 3


def test_engines_that_are_gone_before_they_were_taken(
    engine: Engine, minute: np.ndarray, tmp_path: Path
) -> None:
    """What they gave is taken as theirs, though another is looked for by then."""
    service = engine(minute)
    out = tmp_path / "out.wav"
    tape = service.start(out, "--sync", "2")
    wait_until(lambda: out.exists() and out.stat().st_size > 50_000, "audio")

    def is_recorded(by: Service) -> bool:
        status = by.status()
        return status is not None and bool(status["readers"])

    for least in (RATE // 8, RATE // 16):
        service.kill()
        service = again(service)
        wait_until(lambda s=service: is_recorded(s), "the recorder")
        begin = service.position()
        wait_until(lambda s=service, n=begin + least: s.position() > n, "audio that is not taken")
    assert tape.stop() == 0, tape.said
    service.kill()
    assert len(parts(read_wav(out), minute)) == 3


def test_a_private_engine_is_started_again(
    minute: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    service = engine(minute)
    service.kill()
    for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "V2M_ENGINE_SOCKET"):
        monkeypatch.setenv(name, service.env[name])
    source = f"file:{service.env['XDG_RUNTIME_DIR']}/played.wav"
    capture = AudioCapture(engine="private", source=source, buffer_size=160)
    with capture.stream() as audio, capture.record(tmp_path / "out.wav", sync=0.05) as recording:
        wait_until(lambda: recording.samples > RATE // 2, "audio")
        assert audio.private_engine_pid is not None
        os.kill(audio.private_engine_pid, signal.SIGKILL)
        before = recording.samples
        wait_until(lambda: recording.samples > before + RATE, "more audio")
        assert not recording.done
    found = parts(read_wav(tmp_path / "out.wav"), minute)
    assert len(found) == 2


def test_no_more_than_was_asked_for(engine: Engine, minute: np.ndarray, tmp_path: Path) -> None:
    """The time without an engine counts."""
    service = engine(minute)
    out = tmp_path / "out.wav"
    tape = service.start(out, "--seconds", "3", "--sync", "0.05")
    wait_until(lambda: out.exists() and out.stat().st_size > 50_000, "audio")
    service.kill()
    service = again(service)
    assert tape.wait() == 0, tape.said
    service.kill()
    wav = read_wav(out)
    assert len(wav.samples) == 3 * RATE
    parts(wav, minute)


def test_killed_while_muted(tmp_path: Path) -> None:
    """A microphone with a clock of its own, whose engine is killed while it is muted: whenever
    that is and for however long, what comes after stands where its time is.
    """
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    ppm = rng.randrange(-300, 300)
    mic = AlsaMic(tmp_path, ppm=ppm)
    out = tmp_path / "out.wav"

    def start() -> Service:
        return Service(tmp_path, "alsa:mic", HOME=str(tmp_path), **mic.env)

    def grown() -> None:
        held = out.stat().st_size if out.exists() else 0
        wait_until(lambda: out.exists() and out.stat().st_size > held + 4 * 24_000, "audio")

    service = start()
    tape = service.start(out, "--rate", "48000", "--sync", "0.1", "--source", "alsa:mic")
    try:
        grown()
        for _ in range(2):
            subprocess.run([BINARY, "mute"], env=service.env, check=True, timeout=20)
            time.sleep(rng.uniform(0, 1))
            service.kill()
            time.sleep(rng.uniform(0, 0.5))
            service = start()
            time.sleep(rng.uniform(0, 1))
            subprocess.run([BINARY, "unmute"], env=service.env, check=True, timeout=20)
            grown()
        assert tape.stop() == 0, tape.said
    finally:
        service.kill()
    samples = read_wav(out).samples
    heard = np.flatnonzero(samples)
    # Its clock runs away from the file's, which is the engine's, meanwhile.
    apart = frames_of(samples[heard]) - heard * (1 + ppm * 1e-6)
    apart = (apart - apart[0] + 0x8000) % 0x10000 - 0x8000
    assert heard[-1] - heard[0] > 2 * 48_000
    # A first time is as late as the thread woke.
    assert np.abs(apart).max() < 0.02 * 48_000, np.unique(apart.round())
