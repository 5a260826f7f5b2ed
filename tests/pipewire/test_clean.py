"""The source `clean`: a microphone that hears what a loudspeaker plays, in a private graph."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np

from rig import BINARY, PrivatePipeWire, wait_until
from rig.service import Engine, status
from rig.speech import say

RATE = 16_000


def loudspeaker(rig: PrivatePipeWire) -> None:
    """A default sink that the microphone hears."""
    rig.create_sink("speakers")
    value = json.dumps({"name": "speakers"})
    rig.tool("pw-metadata", "-n", "default", "0", "default.audio.sink", value, "Spa:String:JSON")
    rig.link("speakers:monitor_FL", "rig-mic:input_MONO")


def voice(path: Path, text: str, gain: float = 1.0) -> Path:
    """Somebody who says it, at 48 kHz, over and over."""
    words = say(text) * gain
    at = np.arange(3 * len(words)) / 3
    np.interp(at, np.arange(len(words)), words).astype(np.float32).tofile(path)
    return path


def level(rig: PrivatePipeWire, seconds: float, skip: float = 0.0) -> float:
    """Of what comes in that time after some that is skipped, in dBFS."""
    command = [BINARY, "record", "-", "--format", "f32le", "--seconds", str(skip + seconds)]
    done = subprocess.run(command, env=rig.env, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    samples = np.frombuffer(done.stdout, np.float32)[int(skip * RATE) :]
    assert len(samples) > seconds * RATE * 0.9
    return float(10 * np.log10(np.mean(samples**2) + 1e-12))


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
