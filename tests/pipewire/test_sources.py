"""Sources that come, go, change and never were; daemons that die."""

from __future__ import annotations

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rig import BINARY, PrivatePipeWire, wait_until
from rig.service import NS_PER_SAMPLE, QUANTUM, Engine, command, status, tone, wait_for_level
from v2m_engine import AudioCapture, DeviceError


def test_sources_are_listed_and_the_default_is_marked(rig: PrivatePipeWire) -> None:
    rig.set_default_source("rig-mic-stereo")
    done = command(rig, "sources", "--json")
    assert done.returncode == 0, done.stderr
    sources = {source["name"]: source["default"] for source in json.loads(done.stdout)}
    assert sources["rig-mic-stereo"] is True and sources["rig-mic"] is False
    text = command(rig, "sources").stdout
    assert "* rig-mic-stereo" in text and "  rig-mic " in text


def test_without_pipewire_everything_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        [BINARY, "sources"], env=env, capture_output=True, text=True, timeout=20, check=False
    )
    # What ALSA has, if anything, is listed all the same.
    assert done.returncode == (0 if done.stdout else 1)
    assert "PipeWire" in done.stderr and done.stderr.count("\n") == 1
    # The engine waits for it; a client is told that no audio comes.
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DeviceError) as refusal:
        AudioCapture(engine="private").stream(timeout=2).__enter__()
    assert "PipeWire" in str(refusal.value)


def test_an_unknown_source_is_waited_for_and_named(
    rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine(rig, "--source", "no-such-mic") as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        wait_until(lambda: status(rig)["source"]["waiting"], "the reason")
        assert "no-such-mic" in status(rig)["source"]["waiting"]
        with pytest.raises(DeviceError) as refusal:
            AudioCapture(engine="service").stream(timeout=1).__enter__()
        assert "no-such-mic" in str(refusal.value)
        rig.create_source("no-such-mic")
        rig.wait_for_links("no-such-mic", "v2m-engine")
        with AudioCapture(engine="service").stream(timeout=20) as stream:
            next(iter(stream))


def test_a_client_lives_through_the_death_of_the_daemon(
    rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Engine(rig) as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        rig.wait_for_links("rig-mic", "v2m-engine")
        rig.play(tone(rig, tmp_path / "a", 0.5), "rig-mic", loop=True)
        with AudioCapture(engine="service", buffer_size=160).stream(timeout=30) as stream:
            chunks = iter(stream)
            before = wait_for_level(chunks, 0.5)
            rig.kill()
            # Silence, flagged, while nothing comes: a reader is not left waiting.
            silent = next(c for c in chunks if c.gap and not np.any(np.asarray(c)))
            rig.start()
            rig.wait_for_links("rig-mic", "v2m-engine")
            rig.play(tone(rig, tmp_path / "b", 0.25), "rig-mic", loop=True)
            after = wait_for_level(chunks, 0.25)
        assert before.position < silent.position < after.position
        # Position and time have gone on together.
        samples = after.position - before.position
        drift_ns = (after.time_ns - before.time_ns) - samples * NS_PER_SAMPLE
        assert abs(drift_ns) <= QUANTUM / 48_000 * 1e9 + NS_PER_SAMPLE, f"{drift_ns / 1e6:.2f} ms"
        assert status(rig)["losses"]["gaps"] >= 1


def test_the_default_is_followed_and_unplugging_survived(
    rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Engine(rig) as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        rig.create_source("usb-mic")
        rig.set_default_source("rig-mic")
        rig.wait_for_links("rig-mic", "v2m-engine")
        rig.play(tone(rig, tmp_path / "a", 0.5), "rig-mic", loop=True, name="one")
        second = rig.play(tone(rig, tmp_path / "b", 0.25), "usb-mic", loop=True, name="two")
        with AudioCapture(engine="service", buffer_size=160).stream(timeout=30) as stream:
            chunks = iter(stream)
            wait_for_level(chunks, 0.5)
            rig.set_default_source("usb-mic")
            wait_for_level(chunks, 0.25)
            second.kill()
            rig.destroy_node("usb-mic")
            wait_until(lambda: status(rig)["source"]["linked"] != "usb-mic", "the unplugging")
            rig.create_source("usb-mic")
            rig.play(tone(rig, tmp_path / "c", 0.75), "usb-mic", loop=True, name="three")
            wait_for_level(chunks, 0.75)
            assert all(np.diff([next(chunks).position for _ in range(50)]) == 160)


def runs_at(rig: PrivatePipeWire, rate: int, quantum: int) -> bool:
    source = status(rig)["source"]
    return (source["rate"], source["quantum"]) == (rate, quantum)


def test_quantum_and_rate_change_under_a_reader(
    rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Engine(rig) as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        rig.wait_for_links("rig-mic", "v2m-engine")
        rig.play(tone(rig, tmp_path / "a", 0.5), "rig-mic", loop=True)
        with AudioCapture(engine="service", buffer_size=160).stream(timeout=30) as stream:
            chunks = iter(stream)
            first = last = wait_for_level(chunks, 0.5)
            for rate, quantum in [(44_100, 1024), (96_000, 8192), (192_000, 512), (48_000, 256)]:
                rig.set_rate(rate)
                rig.set_quantum(quantum)
                wait_until(partial(runs_at, rig, rate, quantum), f"{quantum}/{rate}")
                last = wait_for_level(chunks, 0.5)
        # Whatever was lost on the way was filled in: position is still time.
        drift_ns = (last.time_ns - first.time_ns) - (last.position - first.position) * NS_PER_SAMPLE
        assert abs(drift_ns) <= 8192 / 96_000 * 1e9, f"{drift_ns / 1e6:.2f} ms"
        assert status(rig)["state"] == "running"
