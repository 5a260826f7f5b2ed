"""Long recordings: hours from an unpaced file, past 4 GiB, minutes of a real graph."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rig import BINARY, PrivatePipeWire, wait_until
from rig.independent_reader import GAPS, Ring, connect
from rig.recorder import LONG, RATE, Service, Tape, as_float, noise, read_wav
from v2m_engine import AudioCapture

Engine = Callable[..., Service]


def test_hours(engine: Engine, tmp_path: Path) -> None:
    """From a file that is played as fast as the speech detection hears it: faster than any
    microphone, and nothing is missed as long as the ring is not outrun.
    """
    hour = noise(3600 if LONG else 600, seed=6)
    played = np.concatenate([np.roll(hour, n * 7919) for n in range(10)]) if LONG else hour
    service = engine(played, "--no-pace", "--history", "4096" if LONG else "1200")
    out = tmp_path / "out.wav"
    tape = service.start(out, "--last", "5h")
    assert tape.wait(900) == 0, tape.said
    got = read_wav(out)
    assert got.position == 0 and len(got.samples) == len(played) and not got.cues
    for at in range(0, len(played), 1 << 24):
        assert np.array_equal(got.samples[at:][: 1 << 24], as_float(played[at:][: 1 << 24]))
    out.unlink()


@pytest.mark.skipif(not LONG, reason="make test-record")
def test_past_4_gib(engine: Engine, tmp_path: Path) -> None:
    """19 hours of float: the header has grown into RF64."""
    hours = np.concatenate([noise(3600, seed=7)] * 19)
    service = engine(hours, "--no-pace", "--history", "8192")
    out = tmp_path / "out.wav"
    tape = service.start(out, "--last", "5h")
    assert tape.wait(1500) == 0, tape.said
    assert out.stat().st_size > 1 << 32
    with open(out, "rb") as file:
        assert file.read(4) == b"RF64"
    info = soundfile.info(out)
    assert (info.format, info.frames) == ("RF64", len(hours))
    last = soundfile.read(out, start=len(hours) - 3600 * RATE, dtype="float32")[0]
    assert np.array_equal(last, as_float(hours[-3600 * RATE :]))
    assert len(read_wav(out).samples) == len(hours)
    out.unlink()


def test_minutes_through_pipewire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another reader of the same ring saw, bit for bit, losses of the graph and all:
    these are cues.
    """
    seconds = 600 if LONG else 6
    played = tmp_path / "played.f32"
    as_float(noise(20, seed=8)).tofile(played)
    with PrivatePipeWire(quantum=256) as rig, rig.play(str(played), "rig-mic", loop=True):
        env = rig.env | {"XDG_CONFIG_HOME": str(tmp_path)}
        command = [BINARY, "run", "--log", "error", "--capture", "always"]
        running = subprocess.Popen(command, env=env)
        try:
            rig.wait_for_links("rig-mic", "v2m-engine")
            time.sleep(0.5)
            socket = rig.directory / "v2m-engine/engine.sock"
            monkeypatch.setenv("V2M_ENGINE_SOCKET", str(socket))
            seen: dict[int, np.ndarray] = {}

            def watch() -> None:
                with AudioCapture(engine="service", buffer_size=1600).stream() as stream:
                    for chunk in stream:
                        seen[chunk.position] = np.array(chunk.copy(), np.float32)
                        if len(seen) * 1600 > (seconds + 3) * RATE:
                            break

            watcher = threading.Thread(target=watch)
            watcher.start()
            while not seen:
                time.sleep(0.01)

            class Engines:
                env = rig.env | {"V2M_ENGINE_SOCKET": str(socket)}

            out = str(tmp_path / "out.wav")
            command = [str(BINARY), "record", out, "--format", "wav32", "--seconds", str(seconds)]
            tape = Tape(Engines, command)  # type: ignore[arg-type]
            wait_until((tmp_path / "out.wav").exists, "the file")
            peer, descriptor, _ = connect(str(socket))
            ring = Ring(descriptor)
            time.sleep(1)
            running.send_signal(signal.SIGSTOP)
            time.sleep(0.3)
            running.send_signal(signal.SIGCONT)
            assert tape.wait(seconds + 60) == 0, tape.said
            watcher.join(seconds + 60)
            gaps = [(gap.position, gap.length) for gap in ring.records(GAPS)]
            peer.close()
        finally:
            running.terminate()
            running.wait(10)
    got = read_wav(tmp_path / "out.wav")
    assert len(got.samples) == seconds * RATE
    lost: list[tuple[int, int]] = []
    for position, length in gaps:
        first = max(position - got.position, 0)
        end = min(position + length - got.position, len(got.samples))
        if lost and sum(lost[-1]) == first < end:
            first, _ = lost.pop()
        if first < end:
            lost.append((first, end - first))
    assert lost and [(at, f"gap {length / RATE:.3f} s") for at, length in lost] == got.cues
    compared = 0
    for position, samples in seen.items():
        at = position - got.position
        if at >= 0 and at + 1600 <= len(got.samples):
            assert np.array_equal(got.samples[at : at + 1600], samples), position
            compared += 1600
    assert compared >= (seconds - 1) * RATE
    assert np.abs(got.samples).max() > 0.1
