"""A Bluetooth headset that isn't one: ``headset.c`` exports the device, whose profiles are a
session manager's to set, and the rig brings what PipeWire has of it besides."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from rig.pipewire import PrivatePipeWire
from rig.player import CACHE, build, die_with_parent

SINK, SOURCE = "bluez_output.rig", "bluez_input.rig"


class Headset:
    """One that plays only, until it is told otherwise."""

    def __init__(self, rig: PrivatePipeWire, cache: Path = CACHE) -> None:
        program = build("headset", cache)
        self._log = rig.directory / "headset.log"
        self._processes: list[subprocess.Popen[bytes]] = []

        def start(*command: str | Path) -> None:
            with open(self._log, "ab") as log:
                self._processes.append(
                    subprocess.Popen(command, env=rig.env, stdout=log, preexec_fn=die_with_parent)
                )

        start(program)

        def device() -> int | None:
            for item in rig.dump():
                properties = item.get("info", {}).get("props") or {}
                if properties.get("device.api") == "bluez5" and item["type"].endswith(":Device"):
                    return int(item["id"])
            return None

        self.device = int(rig.wait_for(device, "the headset"))
        # What a call would be heard in: WirePlumber 0.4 goes by it.
        rig.create_sink(SINK)
        default = json.dumps({"name": SINK})
        for key in ("default.configured.audio.sink", "default.audio.sink"):
            rig.tool("pw-metadata", "-n", "default", "0", key, default, "Spa:String:JSON")
        # What stands for its microphone while it can't record: 0.5 goes by who is linked to it.
        loopback = {"bluez5.loopback": True, "audio.position": ["MONO"]}
        source = loopback | {
            "node.name": SOURCE,
            "media.class": "Audio/Source",
            "device.id": self.device,
        }
        own = loopback | {"media.class": "Stream/Input/Audio/Internal", "node.autoconnect": False}
        sides = ("--playback-props", json.dumps(source), "--capture-props", json.dumps(own))
        start("pw-loopback", *sides)
        rig.wait_for_node(SOURCE)

    @property
    def profiles(self) -> list[str]:
        """Those that it has had, one after the other."""
        names = self._log.read_text().split()
        return [name for at, name in enumerate(names) if name != names[at - 1] or at == 0]

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
