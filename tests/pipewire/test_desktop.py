"""A recording stream to the desktop, which never fights its session manager."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from rig import BINARY
from rig.desktop import look, look_at_headset


def version(seen: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in seen["version"].split(".")[:2])


pytestmark = pytest.mark.skipif(
    shutil.which("wireplumber") is None or shutil.which("pactl") is None,
    reason="WirePlumber or pactl is not installed",
)


def test_the_desktop_sees_the_stream_and_both_link_what_is_theirs() -> None:
    seen = look(str(BINARY))
    assert seen["others"], "another program's stream is not linked while the engine captures"
    assert seen["links"] == [["rig-mic:capture_MONO", "v2m-engine:input"]]
    # Where a release can't show it, the doctor says so.
    visible = version(seen) >= (1, 0)
    assert (seen["stream"] is not None) == visible
    assert (seen["doctor"]["status"] == "good") == visible, seen["doctor"]
    if visible:
        properties = seen["stream"]["properties"]
        assert properties["application.icon_name"] == "audio-input-microphone"
        assert seen["title"] == "Speech capture for v2m-engine listen"
        assert (
            "recording stream" in seen["mute found"] and "recording stream" in seen["volume found"]
        )
        assert all(output.startswith("speakers:monitor") for output, _ in seen["moved"])
        assert seen["others_then"]


def test_a_bluetooth_headset_has_its_microphone_while_it_is_captured() -> None:
    assert look_at_headset(str(BINARY)) == ["a2dp-sink", "headset-head-unit", "a2dp-sink"]
