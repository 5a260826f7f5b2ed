"""Who reads is named where people look: the desktop's list, the service manager's, status."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rig import BINARY, PrivatePipeWire, wait_until
from rig.service import Engine, command, status


@pytest.fixture
def heard(tmp_path: Path) -> Callable[[], list[str]]:
    """What a service manager is told."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    lines: list[str] = []

    def more() -> list[str]:
        while True:
            try:
                lines.extend(manager.recv(4096).decode().splitlines())
            except BlockingIOError:
                return lines

    return more


def listen(rig: PrivatePipeWire, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [BINARY, *arguments],
        env=rig.env | {"HOME": str(rig.directory)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def titles(rig: PrivatePipeWire) -> list[str]:
    """What the desktop calls the engine's streams."""
    nodes = [item["info"]["props"] for item in rig.dump() if item["type"].endswith(":Node")]
    return sorted(n["media.name"] for n in nodes if n.get("node.name") == "v2m-engine")


def title(rig: PrivatePipeWire) -> str:
    (only,) = titles(rig)
    return only


def test_the_desktop_and_the_service_manager_name_the_reading_programs(
    rig: PrivatePipeWire, tmp_path: Path, heard: Callable[[], list[str]]
) -> None:
    with Engine(rig, NOTIFY_SOCKET=str(tmp_path / "notify")):
        rig.wait_for_links("rig-mic", "v2m-engine")
        assert title(rig) == "Speech capture"
        first = listen(rig, "listen")
        wait_until(lambda: title(rig) == "Speech capture for v2m-engine listen", "the first reader")
        second = listen(rig, "record", "-", "--format", "s16le")
        both = "v2m-engine listen, v2m-engine record"
        wait_until(lambda: title(rig) == f"Speech capture for {both}", "the second reader")
        wait_until(lambda: f"STATUS=capturing rig-mic for {both}" in heard(), "both in its text")
        first.kill()
        first.wait()
        wait_until(lambda: title(rig) == "Speech capture for v2m-engine record", "the first to go")
        wait_until(
            lambda: heard()[-1] == "STATUS=capturing rig-mic for v2m-engine record", "the same"
        )
        # Another source's node tells of its own readers, and the manager of both.
        third = listen(rig, "listen", "--source", "rig-mic-stereo")
        wait_until(
            lambda: "rig-mic-stereo for v2m-engine listen" in heard()[-1], "the other source"
        )
        assert titles(rig) == [f"Speech capture for v2m-engine {n}" for n in ("listen", "record")]
        for program in (second, third):
            program.kill()
            program.wait()


def test_a_name_that_lies_is_shown_harmlessly(
    rig: PrivatePipeWire, tmp_path: Path, heard: Callable[[], list[str]]
) -> None:
    name = "evil\nREADY=1\x1b[31m"
    with Engine(rig, NOTIFY_SOCKET=str(tmp_path / "notify")):
        rig.wait_for_links("rig-mic", "v2m-engine")
        liar = subprocess.Popen(
            ["bash", "-c", f'exec -a "$1" {BINARY} listen', "-", name],
            env=rig.env | {"HOME": str(rig.directory)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: "evil" in title(rig), "the reader")
        assert "\n" not in title(rig) and "\x1b" not in title(rig)
        wait_until(lambda: "evil" in heard()[-1], "the same")
        assert heard().count("READY=1") == 1
        liar.kill()
        liar.wait()


def test_status_tells_since_when_and_how_much(rig: PrivatePipeWire) -> None:
    before = time.time()
    with Engine(rig):
        reader = listen(rig, "record", "-", "--format", "s16le")
        wait_until(lambda: status(rig)["readers"], "the reader")
        wait_until(lambda: (status(rig)["readers"][0]["read"] or 0) > 16_000, "a second of audio")
        found = status(rig)["readers"][0]
        assert before - 1 <= found["since_s"] <= time.time() + 1
        # No more than there was to read, and all of it but what is on its way.
        passed = found["age_s"] * found["rate"]
        assert found["read"] <= passed + found["rate"]
        assert found["read"] + found["lag"] >= passed - found["rate"]
        line = next(s for s in command(rig, "status").stdout.splitlines() if "record" in s)
        assert "since " in line and " read " in line
        reader.kill()
        reader.wait()
