"""Names of devices as anybody may give them, through PipeWire and through ALSA."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import BINARY, PrivatePipeWire
from rig.hostile import ODD, is_clean


@pytest.fixture(scope="module")
def rig() -> Iterator[PrivatePipeWire]:
    with PrivatePipeWire(quantum=1024) as rig:
        for number, odd in enumerate(ODD):
            properties = {
                "factory.name": "support.null-audio-sink",
                "node.name": f"mic{number}{odd}",
                "node.description": f"Microphone {odd}",
                "media.class": "Audio/Source/Virtual",
                "audio.position": "MONO",
                "object.linger": True,
                "node.group": "rig",
                "adapter.auto-port-config": {"mode": "dsp", "monitor": True},
            }
            rig.tool("pw-cli", "create-node", "adapter", json.dumps(properties))
        yield rig


def run(rig: PrivatePipeWire, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BINARY, *arguments],
        env=rig.env | {"HOME": str(rig.directory)} | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def names(rig: PrivatePipeWire) -> list[str]:
    listed = json.loads(run(rig, "sources", "--json").stdout)
    return [source["name"] for source in listed if source["name"].startswith("mic")]


def test_sources_of_pipewire(rig: PrivatePipeWire) -> None:
    assert len(names(rig)) == len(ODD)
    for arguments in (["sources"], ["sources", "--json"]):
        done = run(rig, *arguments)
        assert done.returncode == 0 and is_clean(done.stdout), done.stdout
    assert all("\ufffd" in name or " " in name for name in names(rig))


def test_a_source_is_captured_by_the_name_that_is_shown(rig: PrivatePipeWire) -> None:
    shown = next(name for name in names(rig) if name.startswith("mic0"))
    engine = subprocess.Popen(
        [BINARY, "run", "--source", shown, "--capture", "always"],
        env=rig.env | {"HOME": str(rig.directory)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 20
        status = ""
        while f": {shown}" not in status:
            assert time.monotonic() < deadline, status
            time.sleep(0.05)
            status = run(rig, "status").stdout
        assert is_clean(status), status
        assert is_clean(run(rig, "monitor", "--once").stdout)
        assert is_clean(run(rig, "doctor").stdout)
    finally:
        engine.terminate()
        _, log = engine.communicate(timeout=20)
    assert shown in log and is_clean(log), log


@pytest.mark.parametrize("odd", ODD[:8])
def test_refusals_name_what_was_asked_for(rig: PrivatePipeWire, odd: str) -> None:
    for out, source in (
        ("/dev/null", f"alsa:hw:{odd}"),
        ("/dev/null", f"file:/nowhere/{odd}.wav"),
        (f"/nowhere/{odd}.wav", "file:/usr/share/sounds/alsa/Front_Center.wav"),
    ):
        done = run(rig, "record", out, "--format", "wav", "--source", source)
        assert done.returncode in (1, 2) and is_clean(done.stderr), done.stderr


def test_sources_of_alsa(rig: PrivatePipeWire) -> None:
    """The configuration is a user's, what stands in it may be a device's own words."""
    config = Path(rig.directory) / "asound.conf"
    entries = []
    for number, odd in enumerate(ODD):
        text = odd.replace("\\", "\\\\").replace('"', '\\"')
        entries.append(
            f'pcm.odd{number} {{ type null hint {{ show on description "Odd {text}" }} }}\n'
        )
    config.write_text("".join(entries) + "ctl.default { type hw card 0 }\n")
    env = {"ALSA_CONFIG_PATH": os.fspath(config)}
    done = run(rig, "sources", **env)
    assert is_clean(done.stdout) and done.stdout.count("alsa:odd") == len(ODD), done.stdout
    assert is_clean(run(rig, "sources", "--json", **env).stdout)
