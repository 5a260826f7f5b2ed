"""Uses an installed v2m_engine as a program would, on a PipeWire of its own.

Run by the package tests in whatever they installed into; prints what it used.
Its arguments are where the tests' helpers lie, and a file of speech for its player.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from array import array
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from rig import PrivatePipeWire
from rig.player import PATIENCE
from v2m_engine import AudioCapture, VADProcessor, __version__


def give_ports(rig: PrivatePipeWire) -> None:
    """Newer daemons leave it to a session manager to give the microphone its ports."""
    if "rig-mic:capture_MONO" in rig.tool("pw-link", "--output"):
        return
    form = {"mediaType": "audio", "mediaSubtype": "raw", "format": "F32P", "rate": 48000}
    ports = {
        "direction": "Input",
        "mode": "dsp",
        "monitor": True,
        "format": form | {"channels": 1, "position": ["MONO"]},
    }
    microphone = str(rig.node_id("rig-mic"))
    rig.tool("pw-cli", "set-param", microphone, "PortConfig", json.dumps(ports))
    rig.wait_for(
        lambda: "rig-mic:capture_MONO" in rig.tool("pw-link", "--output"), "the microphone's port"
    )


def loudest(chunk: object) -> float:
    return max(abs(sample) for sample in memoryview(chunk))  # type: ignore[arg-type]


def through(capture: AudioCapture) -> tuple[str | None, float]:
    """Reads a second, by iteration; the private engine's program and the loudest sample."""
    with capture.stream(timeout=30 * PATIENCE) as audio:
        chunks = [next(audio) for _ in range(4)]
        assert all(b.position == a.position + 4096 for a, b in pairwise(chunks))
        private = audio.private_engine_pid
        program = private and os.readlink(f"/proc/{private}/exe")
        return program or None, max(map(loudest, chunks))


async def awaited(capture: AudioCapture) -> list[float]:
    """The same with asyncio; the loudest sample of each chunk."""
    async with capture.stream(timeout=30 * PATIENCE) as audio:
        return [loudest(await anext(audio)) for _ in range(4)]


async def heard() -> bool:
    """Whether speech is found, as the README does it; half a minute of audio at most."""
    capture = AudioCapture(sample_rate=16000, buffer_size=4096)
    vad = VADProcessor(threshold=0.5)
    async with capture.stream(timeout=30 * PATIENCE) as audio:
        for _ in range(120):
            if vad.contains_speech(audio):
                return True
            await anext(audio)
    return False


def recorded(speech: str) -> bool:
    """The same of memory that is no stream's."""
    samples = array("f", Path(speech).read_bytes())[::3]
    vad = VADProcessor(threshold=0.5)
    return vad.contains_speech(samples) and not vad.contains_speech(array("f", bytes(64_000)))


def answers() -> bool:
    """Whether a service runs; it captures once somebody listens."""
    return (
        subprocess.run(["v2m-engine", "status"], capture_output=True, check=False).returncode == 0
    )


def main() -> None:
    with PrivatePipeWire(quantum=1024) as rig:
        os.environ.update(rig.env)
        give_ports(rig)
        speech = sys.argv[2]
        assert recorded(speech)
        with rig.play(speech, loop=True):
            assert asyncio.run(heard())
        rig.play_impulses(7)
        program, level = through(AudioCapture(engine="private"))
        assert program is not None and level > 0.01, (program, level)
        level = max(asyncio.run(awaited(AudioCapture(engine="private"))))
        assert level > 0.01, level

        service = subprocess.Popen(["v2m-engine", "run", "--log", "error"])
        try:
            rig.wait_for(answers, "the service", 60)
            other, level = through(AudioCapture())
            assert other is None and level > 0.01, (other, level)
            done = subprocess.run(
                ["v2m-engine", "status", "--json"],
                capture_output=True,
                check=True,
                timeout=20 * PATIENCE,
            )
            status = json.loads(done.stdout)
            assert status["version"] == __version__
        finally:
            service.terminate()
            assert service.wait(20 * PATIENCE) == 0
        print(
            json.dumps(
                {
                    "python": sys.version.split()[0],
                    "version": __version__,
                    "engine": program,
                    "pipewire": status["source"]["server_version"],
                }
            )
        )


main()
