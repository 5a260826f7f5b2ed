"""Uses an installed v2m_engine as a program would, on a PipeWire of its own.

Run by the package tests in whatever they installed into; prints what it used.
Its argument is where tests/rig lies.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from itertools import pairwise

sys.path.insert(0, sys.argv[1])

from rig import PROGRAMS, PrivatePipeWire

from v2m_engine import AudioCapture, __version__

# The player came compiled.
for compiler in ("cc", "pkg-config"):
    del PROGRAMS[compiler]


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


def through(capture: AudioCapture) -> tuple[int | None, float]:
    """Reads a second, by iteration; the private engine's process and the loudest sample."""
    with capture.stream() as audio:
        chunks = [next(audio) for _ in range(4)]
        assert all(b.position == a.position + 4096 for a, b in pairwise(chunks))
        return audio.private_engine_pid, max(map(loudest, chunks))


async def awaited(capture: AudioCapture) -> float:
    async with capture.stream() as audio:
        chunk = await anext(audio)
        return loudest(chunk)


def main() -> None:
    with PrivatePipeWire(quantum=1024) as rig:
        os.environ.update(rig.env)
        give_ports(rig)
        rig.play_impulses(7)
        private, level = through(AudioCapture(engine="private"))
        assert private is not None and level > 0.01, (private, level)
        assert asyncio.run(awaited(AudioCapture(engine="private"))) >= 0

        service = subprocess.Popen(["v2m-engine", "run", "--log", "error"])
        try:
            rig.wait_for_node("v2m-engine")
            pid, level = through(AudioCapture())
            assert pid is None and level > 0.01, (pid, level)
            done = subprocess.run(
                ["v2m-engine", "status", "--json"], capture_output=True, check=True, timeout=20
            )
            status = json.loads(done.stdout)
            assert status["version"] == __version__
        finally:
            service.terminate()
            assert service.wait(20) == 0
        print(
            json.dumps(
                {
                    "python": sys.version.split()[0],
                    "version": __version__,
                    "pipewire": status["source"]["server_version"],
                }
            )
        )


main()
