"""Sources of several channels in the graph: which are heard, and what is said of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rig import BINARY, PrivatePipeWire
from rig.service import Engine
from rig.speech import say
from v2m_engine import AudioCapture, DeviceError

RATE = 48_000
EIGHT = [f"AUX{n}" for n in range(8)]
Floats = npt.NDArray[np.floating]


def all_status(rig: PrivatePipeWire) -> Any:
    done = subprocess.run(
        [BINARY, "status", "--json"], env=rig.env, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def status(rig: PrivatePipeWire) -> Any:
    return all_status(rig)["source"]


def tone(hertz: float, level: float) -> Floats:
    return level * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)


def play(rig: PrivatePipeWire, path: Path, source: str, **ports: Floats) -> None:
    for port, sound in ports.items():
        sound.astype(np.float32).tofile(path / port)
        rig.play(path / port, source, loop=True, port=port, name=f"player-{port}")


def level(stream: Any, hertz: float) -> float:
    """A tone's amplitude in the next tenths of a second without a gap."""
    while True:
        parts = [next(stream) for _ in range(5)]
        if not any(part.gap for part in parts):
            samples = np.concatenate([np.asarray(part) for part in parts])
            turn = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / 16_000)
            return float(2 * np.abs(np.mean(samples * turn)))


def settles(stream: Any, hertz: float, wanted: float) -> None:
    """The tone comes to be heard at that amplitude, within 0.1 dB, and stays so."""
    for _ in range(100):
        if abs(level(stream, hertz) - wanted) <= 0.011 * max(wanted, 0.001):
            break
    for _ in range(5):
        assert level(stream, hertz) == pytest.approx(wanted, rel=0.0115, abs=1e-4)


def test_one_live_channel_of_eight_comes_at_its_own_level(
    rig: PrivatePipeWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.create_source("interface", channels=EIGHT)
    with Engine(rig, "--source", "interface") as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        rig.wait_for_links("interface", "v2m-engine", count=8)
        assert ("interface:capture_AUX2", "v2m-engine:input_3") in rig.links()
        with AudioCapture(engine="service", buffer_size=1600).stream(timeout=30) as stream:
            play(rig, tmp_path, "interface", AUX2=tone(1000, 0.25))
            settles(iter(stream), 1000, 0.25)
        channels = rig.wait_for(
            lambda: (c := status(rig)["channels"]) and c[2]["heard"] == 1 and c, "the status"
        )
        assert [c["name"] for c in channels] == EIGHT
        assert [c["dead"] for c in channels] == [n != 2 for n in range(8)]


def test_opposite_polarity_does_not_cancel_and_a_mean_is_had_for_the_asking(
    rig: PrivatePipeWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Players begin whole cycles of the graph apart, which are whole periods of this tone.
    hertz = 6 * RATE / 256
    play(rig, tmp_path, "rig-mic-stereo", FL=tone(hertz, 0.25), FR=-tone(hertz, 0.25))
    for channel, wanted in (("auto", 0.25), ("FR", 0.25), ("mix", 0.0)):
        with Engine(rig, "--source", "rig-mic-stereo", "--channel", channel) as engine:
            monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
            rig.wait_for_links("rig-mic-stereo", "v2m-engine", count=2)
            with AudioCapture(engine="service", buffer_size=1600).stream(timeout=30) as stream:
                settles(iter(stream), hertz, wanted)
            if channel == "auto":
                rig.wait_for(
                    lambda: sum(c["inverted"] for c in status(rig)["channels"]) == 1, "polarity"
                )


def test_the_one_who_speaks_is_heard_beside_a_loopback(
    rig: PrivatePipeWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = say("Where is the nearest railway station, and when does the next train leave?")
    voice = np.interp(np.arange(3 * len(words)) / 3, np.arange(len(words)), words)
    rig.create_source("interface", channels=EIGHT)
    play(rig, tmp_path, "interface", AUX6=tone(440, 0.5), AUX7=tone(440, 0.5))
    with Engine(rig, "--source", "interface") as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        rig.wait_for_links("interface", "v2m-engine", count=8)
        with AudioCapture(engine="service", buffer_size=1600).stream(timeout=30) as stream:
            settles(iter(stream), 440, 0.5)
            play(rig, tmp_path, "interface", AUX1=0.2 * voice / np.abs(voice).max())
            # What there is of it in the voice is not much.
            chunks = iter(stream)
            assert any(level(chunks, 440) < 0.05 for _ in range(100))
            assert all(level(chunks, 440) < 0.05 for _ in range(10))
        assert [c["heard"] for c in status(rig)["channels"]] == [0, 1, 0, 0, 0, 0, 0, 0]
        log = engine.stop()
    assert "hears channel 2, AUX1" in log


def test_a_channel_that_is_not_there_is_named_with_those_that_are(
    rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine(rig, "--source", "rig-mic-stereo", "--channel", "AUX9") as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        rig.wait_for(lambda: "AUX9" in (status(rig)["waiting"] or ""), "the reason")
        with pytest.raises(DeviceError, match="no channel AUX9: there are FL, FR"):
            AudioCapture(engine="service").stream(timeout=1).__enter__()


def test_a_service_gives_each_channel_that_is_asked_for(
    rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in rig.env.items():
        monkeypatch.setenv(name, value)
    with Engine(rig, "--source", "rig-mic-stereo", "--channel", "2"):
        for channel in (2, "FR", "fr", "FL"):
            capture = AudioCapture(source="rig-mic-stereo", channel=channel, engine="service")
            with capture.stream(timeout=20) as stream:
                next(stream)
                assert not stream.private_engine_pid
                streams = all_status(rig)["streams"]
                heard = {one["channel"] for one in streams if one["clients"]}
                assert heard == {str(channel).upper()}
