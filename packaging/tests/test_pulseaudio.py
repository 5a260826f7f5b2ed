"""The engine where PulseAudio itself has the sound, in a bare Debian root."""

from __future__ import annotations

import json
from collections.abc import Callable

from roots import Root, packages


def test_the_default_source_is_pulseaudios(root: Callable[..., Root]) -> None:
    there = root("trixie")
    there.install(*packages("*engine_*.deb"))
    there.apt(
        *("install", "--yes", "--no-install-recommends"),
        *("pulseaudio", "pulseaudio-utils", "libasound2-plugins"),
    )
    done = there.run(
        *("env", "PYTHONPATH=/v2m/tests", "python3", "-m", "rig.pulseaudio", "/usr/bin/v2m-engine")
    )
    seen = json.loads(done.stdout)
    assert seen["linked"] == "alsa:pulse"
    assert "v2m-engine" in seen["recorders"], "no desktop sees it"
    doctor = seen["doctor"]
    assert doctor["PipeWire"]["status"] == "good" and "PulseAudio" in doctor["PipeWire"]["meaning"]
    assert "recording stream of PulseAudio" in doctor["visibility"]["meaning"]
    # What is starred can be captured: half a second of it.
    assert seen["starred"] == {"alsa:default": 16_000}
