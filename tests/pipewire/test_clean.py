"""The source `clean`: a microphone that hears what a loudspeaker plays, in a private graph."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rig import BINARY, ROOT, PrivatePipeWire, wait_until
from rig.player import build_player
from rig.service import Engine, status
from rig.speech import say
from v2m_engine import AudioCapture, AudioStream, Echo, VADProcessor

RATE = 16_000


def loudspeaker(rig: PrivatePipeWire, name: str = "speakers") -> None:
    """A default sink that the microphone hears."""
    rig.create_sink(name)
    value = json.dumps({"name": name})
    rig.tool("pw-metadata", "-n", "default", "0", "default.audio.sink", value, "Spa:String:JSON")
    rig.link(f"{name}:monitor_FL", "rig-mic:input_MONO")


def voice(path: Path, text: str, gain: float = 1.0) -> Path:
    """Somebody who says it, at 48 kHz, over and over."""
    words = say(text) * gain
    at = np.arange(3 * len(words)) / 3
    np.interp(at, np.arange(len(words)), words).astype(np.float32).tofile(path)
    return path


def heard(rig: PrivatePipeWire, seconds: float, skip: float = 0.0) -> npt.NDArray[np.float32]:
    """What comes in that time after some that is skipped."""
    command = [BINARY, "record", "-", "--format", "f32le", "--seconds", str(skip + seconds)]
    timeout = 30 + 1.5 * (seconds + skip)
    done = subprocess.run(command, env=rig.env, capture_output=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr
    samples = np.frombuffer(done.stdout, np.float32)[int(skip * RATE) :]
    assert len(samples) > seconds * RATE * 0.9
    return samples


def level(rig: PrivatePipeWire, seconds: float, skip: float = 0.0) -> float:
    """The same in dBFS."""
    return float(10 * np.log10(np.mean(heard(rig, seconds, skip) ** 2) + 1e-12))


def test_what_the_sink_plays_is_not_heard_and_a_voice_is(
    rig: PrivatePipeWire, tmp_path: Path
) -> None:
    loudspeaker(rig)
    far = voice(tmp_path / "far.f32", "The weather tomorrow will be mostly sunny with some clouds.")
    near = voice(tmp_path / "near.f32", "Stop talking, please, and listen to me.")
    with Engine(rig, "--source", "clean"):
        with rig.play(far, "speakers", loop=True):
            wait_until(lambda: status(rig)["source"]["echo"]["plays"], "the far end")
            cleaned = level(rig, 3, skip=3)
            echo = status(rig)["source"]["echo"]
            assert echo["far"] == "monitor:speakers" and echo["why"] is None
            assert not echo["converging"]
            with rig.play(near, loop=True, name="talker"):
                spoken = level(rig, 3, skip=1)
        # Without the sink it is the microphone as it is, and says so.
        rig.destroy_node("speakers")
        wait_until(lambda: status(rig)["source"]["echo"]["why"], "the reason")
        assert any("clean" in line for line in status(rig)["degraded"])
        with rig.play(far, loop=True):
            raw = level(rig, 3, skip=1)
    assert raw > -40
    assert cleaned < raw - 30
    assert spoken > raw - 12


@pytest.mark.parametrize("rate", [44_100, 96_000])
def test_the_graph_may_run_at_any_rate(rig: PrivatePipeWire, tmp_path: Path, rate: int) -> None:
    rig.set_rate(rate)
    loudspeaker(rig)
    far = voice(tmp_path / "far.f32", "The weather tomorrow will be mostly sunny with some clouds.")
    with Engine(rig, "--source", "clean"):
        with rig.play(far, "speakers", loop=True):
            wait_until(lambda: status(rig)["source"]["echo"]["plays"], "the far end")
            assert status(rig)["source"]["echo"]["why"] is None
            assert status(rig)["source"]["rate"] == rate
            cleaned = level(rig, 3, skip=3)
        with rig.play(far, loop=True):
            raw = level(rig, 3, skip=1)
    assert raw > -40
    assert cleaned < raw - 30


def windows(stream: AudioStream, until: Callable[[Echo], bool], seconds: float = 20) -> list[Echo]:
    """What is told of each window, up to the first of which that holds."""
    told: list[Echo] = []
    end = time.monotonic() + seconds
    for chunk in stream:
        told += chunk.echo[-1:]
        if told and until(told[-1]):
            return told
        assert time.monotonic() < end, told[-20:]
    raise AssertionError("it ends")


def test_each_window_says_what_was_taken_off_it(
    rig: PrivatePipeWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loudspeaker(rig)
    far = voice(tmp_path / "far.f32", "The weather tomorrow will be mostly sunny with some clouds.")
    near = voice(tmp_path / "near.f32", "Stop talking, please, and listen to me.", 2)

    def known(echo: Echo) -> bool:
        return echo.cancelled_db > 20 and not echo.converging

    with Engine(rig, "--source", "clean") as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        # At another rate than that in which speech is found, too.
        capture = AudioCapture(engine="service", sample_rate=48_000, buffer_size=1536)
        with capture.stream(timeout=20) as stream:
            assert windows(stream, lambda echo: True)[-1] == Echo(0.0, False, False, False)
            with rig.play(far, "speakers", loop=True):
                assert windows(stream, known)[-1].plays
                with rig.play(near, loop=True, name="talker"):
                    windows(stream, lambda echo: echo.both)
            windows(stream, lambda echo: not echo.plays)
            # Another loudspeaker is another room, learnt as soon.
            loudspeaker(rig, "headset")
            rig.wait_for(
                lambda: any(a.startswith("headset:") and "far-end" in b for a, b in rig.links()),
                "the far end's links",
            )
            with rig.play(far, "headset", loop=True, name="other"):
                assert windows(stream, known)[-1].plays


def resources(pid: int) -> tuple[float, int]:
    """MB of memory that are a process's own, and its descriptors."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (own,) = (line.split()[1] for line in lines if line.startswith("RssAnon:"))
    return int(own) / 1024, len(os.listdir(f"/proc/{pid}/fd"))


def test_the_loudspeaker_never_begins_to_speak(rig: PrivatePipeWire, tmp_path: Path) -> None:
    """V2M_TEST_ECHO_SECONDS is how long it talks: 600 for ten minutes. The engine's memory and
    descriptors stay what they are meanwhile."""
    seconds = float(os.environ.get("V2M_TEST_ECHO_SECONDS", "12"))
    loudspeaker(rig)
    text = "The weather tomorrow will be mostly sunny. Bring an umbrella on Tuesday, though."
    far = voice(tmp_path / "far.f32", text)
    find = VADProcessor().speech_timestamps
    with Engine(rig, "--source", "clean") as engine:
        with rig.play(far, "speakers", loop=True):
            heard(rig, 2)
            before = resources(engine.process.pid)
            cleaned = heard(rig, seconds, skip=1)
            after = resources(engine.process.pid)
        with rig.play(far, loop=True):
            raw = heard(rig, 6)
    assert find(raw)
    assert not find(cleaned)
    assert after[0] < before[0] + 8 and after[1] <= before[1] + 2, (before, after)


def interrupt(rig: PrivatePipeWire, socket: str, *command: str) -> subprocess.Popen[str]:
    example = ROOT / "python/examples/interrupt.py"
    return subprocess.Popen(
        [sys.executable, example, *command],
        env=rig.env | {"V2M_ENGINE_SOCKET": socket},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_voice_stops_when_somebody_speaks_and_does_not_stop_itself(
    rig: PrivatePipeWire, tmp_path: Path
) -> None:
    loudspeaker(rig)
    words = "The weather tomorrow will be mostly sunny with some clouds. "
    far = voice(tmp_path / "far.f32", words * 3)
    near = voice(tmp_path / "near.f32", "Stop talking, please, and listen to me.")
    command = [str(build_player()), str(far), "speakers"]
    with Engine(rig) as engine:
        # A machine that loses cycles tears the echo, and what is left may pass for a voice: not
        # every time.
        for _ in range(4):
            undisturbed = interrupt(rig, engine.socket, *command)
            said = undisturbed.communicate(timeout=60)[0]
            if "played to the end" in said:
                break
            # What was heard then is still going on for whoever listens at once.
            time.sleep(3)
        assert "played to the end" in said
        disturbed = interrupt(rig, engine.socket, *command, "--loop")
        rig.wait_for(lambda: any(b.startswith("speakers:") for _, b in rig.links()), "the voice")
        time.sleep(3)
        with rig.play(near, loop=True, name="talker"):
            assert "interrupted after" in disturbed.communicate(timeout=30)[0]
        assert disturbed.returncode == undisturbed.returncode == 0
