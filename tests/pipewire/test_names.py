"""What a source's name means: found by each of its names, followed, or told what there is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig import BINARY, PrivatePipeWire, wait_until
from rig.service import Engine, command, status, tone, wait_for_level
from v2m_engine import AudioCapture


def linked(rig: PrivatePipeWire) -> Any:
    return status(rig)["source"]["linked"]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("rig-mic", "rig-mic"),
        ("Rig stereo microphone", "rig-mic-stereo"),
        ("STEREO", "rig-mic-stereo"),
        ("monitor:loud", "monitor:speakers"),
        ("monitor:default", "monitor:speakers"),
        ("app:player", "app:Music Player"),
    ],
)
def test_a_source_is_found_by_each_of_its_names(
    rig: PrivatePipeWire, written: str, name: str
) -> None:
    rig.create_sink("speakers", description="Loud speakers")
    rig.create_stream("music", program="Music Player")
    with Engine(rig, "--source", written):
        wait_until(lambda: linked(rig) == name, f"{written} to be {name}")
        assert status(rig)["source"]["missing"] is None


def test_a_source_is_found_by_its_serial(rig: PrivatePipeWire) -> None:
    for _ in range(2):
        rig.create_source("twin")
    serials = [
        item["info"]["props"]["object.serial"]
        for item in rig.dump()
        if item["type"].endswith(":Node") and item["info"]["props"].get("node.name") == "twin"
    ]
    with Engine(rig, "--source", "twin"):
        why = wait_until(lambda: status(rig)["source"]["missing"], "two of one name")
        assert all(str(serial) in why for serial in serials)
    with Engine(rig, "--source", str(serials[1])):
        wait_until(lambda: linked(rig) == "twin", "the second")


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("nothing", ["no source is called nothing", "rig-mic (Rig microphone)"]),
        ("rig", ["several sources fit rig", "rig-mic", "rig-mic-stereo"]),
        ("monitor:nothing", ["no sink is called nothing"]),
        ("monitor:default", ["no sink is there"]),
        ("app:nothing", ["no program that plays"]),
    ],
)
def test_none_or_several_are_told_at_once_with_what_there_is(
    rig: PrivatePipeWire, tmp_path: Path, written: str, says: list[str]
) -> None:
    # A service that nobody listens to, its log, its status.
    with Engine(rig, "--source", written, "--capture", "while-used") as engine:
        why = wait_until(lambda: status(rig)["source"]["missing"], "the reason")
        assert all(part in why for part in says), why
        assert why in command(rig, "status").stdout
        # Those who wait for it: of the service, or by an engine of their own.
        for own in ([], ["--source", written]):
            out = tmp_path / f"out{len(own)}.wav"
            for arguments in (["record", str(out)], ["listen"]):
                line = first_words(rig, *arguments, *own)
                assert all(part in line for part in says), line
        log = engine.stop()
    assert all(part in log.split("somebody listens")[0] for part in says), log


def first_words(rig: PrivatePipeWire, *arguments: str) -> str:
    """The first line on standard error of a command that goes on."""
    waiting = subprocess.Popen(
        [BINARY, *arguments],
        env=rig.env | {"HOME": str(rig.directory)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert waiting.stderr is not None
    try:
        return waiting.stderr.readline()
    finally:
        waiting.kill()
        waiting.communicate()


def test_what_is_captured_stays_when_another_of_its_name_comes(rig: PrivatePipeWire) -> None:
    with Engine(rig, "--source", "usb"):
        rig.create_source("usb-one")
        wait_until(lambda: linked(rig) == "usb-one", "the first")
        rig.create_source("usb-two")
        rig.create_sink("usb-three")
        assert linked(rig) == "usb-one"
        rig.destroy_node("usb-one")
        wait_until(lambda: linked(rig) == "usb-two", "the one that is left")


def followed(
    rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch, source: str, steps: Callable[[Any], None]
) -> None:
    with Engine(rig, "--source", source) as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        with AudioCapture(engine="service", buffer_size=160).stream(timeout=30) as stream:
            chunks = iter(stream)
            steps(chunks)
            # Time goes on, whatever came and went.
            assert all(np.diff([next(chunks).position for _ in range(50)]) == 160)


def test_the_default_sinks_monitor_is_followed(
    rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def make_default(name: str) -> None:
        value = json.dumps({"name": name})
        rig.tool(
            *("pw-metadata", "-n", "default", "0", "default.audio.sink", value, "Spa:String:JSON")
        )

    def steps(chunks: Any) -> None:
        wait_for_level(chunks, 0.5)
        make_default("second")
        wait_for_level(chunks, 0.25)
        rig.destroy_node("second")
        # Silence, and no microphone instead.
        silent = next(c for c in chunks if c.gap and not np.any(np.asarray(c)))
        assert silent and linked(rig) is None
        make_default("first")
        wait_for_level(chunks, 0.5)

    rig.play(tone(rig, tmp_path / "m", 0.75), "rig-mic", loop=True, name="mic")
    for name, value in (("first", 0.5), ("second", 0.25)):
        rig.create_sink(name)
        rig.play(tone(rig, tmp_path / name, value), name, loop=True, name=f"into-{name}")
    make_default("first")
    followed(rig, monkeypatch, "monitor:default", steps)


def test_a_program_is_followed_as_it_comes_and_goes(
    rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def begins(name: str, value: float) -> None:
        rig.create_stream(name, program="Music Player")
        rig.play(tone(rig, tmp_path / name, value), name, loop=True, name=f"into-{name}")

    def steps(chunks: Any) -> None:
        wait_for_level(chunks, 0.5)
        begins("song-two", 0.25)
        wait_for_level(chunks, 0.75)  # both of its streams
        rig.destroy_node("song-one")
        wait_for_level(chunks, 0.25)
        rig.destroy_node("song-two")
        wait_until(lambda: "Music Player" in (status(rig)["source"]["missing"] or ""), "its end")
        begins("song-three", 0.125)
        wait_for_level(chunks, 0.125)

    rig.create_stream("other", program="Browser")
    rig.play(tone(rig, tmp_path / "other", 0.9), "other", loop=True, name="into-other")
    begins("song-one", 0.5)
    followed(rig, monkeypatch, "app:Music Player", steps)


def test_the_list_says_what_programs_need(rig: PrivatePipeWire) -> None:
    rig.create_sink("speakers", description="Loud speakers")
    rig.create_stream("music", program="Music Player")
    rig.set_default_source("rig-mic")
    rig.tool("pw-cli", "set-param", str(rig.node_id("rig-mic-stereo")), "Props", "{ mute: true }")
    done = command(rig, "sources", "--json")
    assert done.returncode == 0, done.stderr
    listed = {source["name"]: source for source in json.loads(done.stdout)}
    assert listed["rig-mic"] == {
        "name": "rig-mic",
        "description": "Rig microphone",
        "kind": "source",
        "default": True,
        "muted": False,
        "channels": 1,
        "rate": 48000,
    }
    stereo = listed["rig-mic-stereo"]
    assert (stereo["channels"], stereo["muted"], stereo["default"]) == (2, True, False)
    assert listed["monitor:speakers"]["kind"] == "monitor"
    assert listed["app:Music Player"]["kind"] == "app"
    assert sum(source["default"] for source in listed.values()) == 1
    text = command(rig, "sources").stdout
    assert "Rig stereo microphone (2 channels, 48000 Hz, muted)" in text


@pytest.mark.parametrize("name", ["clean", "file:x", "monitor:default"])
def test_whatever_a_source_is_called_it_can_be_captured(rig: PrivatePipeWire, name: str) -> None:
    """By what is listed for it, and not by its name, which means something else."""
    rig.create_source(name)
    listed = json.loads(command(rig, "sources", "--json").stdout)
    assert f"node:{name}" in [source["name"] for source in listed]
    with Engine(rig, "--source", f"node:{name}"):
        wait_until(lambda: linked(rig) == f"node:{name}", "its audio")
