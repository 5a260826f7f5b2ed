"""The engine beside another release's desktop, in a bare root of that release."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from roots import Root, packages

SESSION = ("pipewire-pulse", "pulseaudio-utils", "wireplumber", "dbus-daemon")


# PipeWire 1.4 with WirePlumber 0.5.8; PipeWire 1.6 with WirePlumber 0.5.18.
@pytest.mark.parametrize("release", ["trixie", "forky"])
def test_the_desktop_sees_mutes_and_moves_the_stream(
    root: Callable[..., Root], release: str
) -> None:
    there = root(release)
    there.install(*packages("*engine_*.deb"))
    there.apt("install", "--yes", "--no-install-recommends", *SESSION)
    done = there.run(
        *("env", "PYTHONPATH=/v2m/tests", "python3", "-m", "rig.desktop", "/usr/bin/v2m-engine")
    )
    seen = json.loads(done.stdout)
    assert seen["stream"] is not None and seen["doctor"]["status"] == "good"
    assert seen["profiles"] == ["a2dp-sink", "headset-head-unit", "a2dp-sink"]
    assert seen["others"] and seen["others_then"]
    assert seen["links"] == [["rig-mic:capture_MONO", "v2m-engine:input"]]
    assert seen["title"] == "Speech capture for v2m-engine listen"
    assert "recording stream" in seen["mute found"] and "recording stream" in seen["volume found"]
    assert all(output.startswith("speakers:monitor") for output, _ in seen["moved"])
