"""What doctor finds: in a private PipeWire, beside ALSA only, and where nothing is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rig import BINARY, PrivatePipeWire
from rig.alsa import AlsaMic
from rig.demo import write_speech
from rig.peer import Peer
from rig.service import CHECKS, Engine, doctor
from rig.session import Session


def test_a_microphone_that_is_heard(rig: PrivatePipeWire, tmp_path: Path) -> None:
    write_speech(tmp_path / "speech.f32")
    rig.play(tmp_path / "speech.f32", "rig-mic", loop=True)
    checks = doctor(rig.env | {"HOME": str(tmp_path)}, 0)
    assert checks["PipeWire"]["status"] == "good"
    assert checks["PipeWire"]["meaning"].split()[0].count(".") == 2, "a version"
    assert checks["session manager"]["status"] == "degraded"
    assert checks["source"]["status"] == "good"
    heard = re.fullmatch(r"rig-mic, (\d+) dB below full scale .*", checks["source"]["meaning"])
    assert heard and 5 <= int(heard[1]) <= 20
    # The rig's graph is held at 256 samples, whatever is asked for.
    assert checks["quantum"]["status"] == "degraded"
    assert checks["quantum"]["meaning"].startswith("256/48000 where 128/48000")
    text = subprocess.run(
        [BINARY, "doctor"], env=rig.env, capture_output=True, text=True, timeout=40, check=False
    ).stdout
    lines = text.splitlines()
    assert [line.split()[0] for line in lines] == [checks[name]["status"] for name in CHECKS]
    for line, name in zip(lines, CHECKS, strict=True):
        assert (" -> " in line) == (checks[name]["remedy"] is not None), line


def test_silent_muted_and_missing_sources(rig: PrivatePipeWire, tmp_path: Path) -> None:
    env = rig.env | {"HOME": str(tmp_path)}
    silent = doctor(env, 0)["source"]
    assert silent["status"] == "degraded" and "nothing but zeros" in silent["meaning"]
    assert "switch" in silent["remedy"]
    node = str(rig.node_id("rig-mic"))
    rig.tool("pw-cli", "set-param", node, "Props", "{ mute: true }")
    source = doctor(env, 1)["source"]
    assert "rig-mic is muted" in source["meaning"] and "set-mute" in source["remedy"]
    rig.tool("pw-cli", "set-param", node, "Props", "{ mute: false, channelVolumes: [ 0.0 ] }")
    source = doctor(env, 1)["source"]
    assert "volume of rig-mic is zero" in source["meaning"] and "set-volume" in source["remedy"]
    rig.set_default_source("usb-mic")
    assert "usb-mic is gone" in doctor(env, 1)["source"]["meaning"]


def test_each_source_that_the_service_has_open(rig: PrivatePipeWire, tmp_path: Path) -> None:
    env = rig.env | {"HOME": str(tmp_path)}
    assert "none is open" in doctor(env)["streams"]["meaning"]
    rig.create_source("other-mic")
    with Engine(rig, "--source", "rig-mic", "--linger", "0") as engine:
        peers = [
            Peer(engine.socket, source=source, rate=rate)
            for source, rate in [("rig-mic", 48_000), ("other-mic", 24_000), ("other-mic", 8_000)]
        ]
        rig.wait_for_links("other-mic", "v2m-engine")
        checks = doctor(env)
        assert checks["stream 1"]["meaning"].startswith("rig-mic at 16000, 48000 Hz: ")
        other = checks["stream 2"]["meaning"]
        assert other.startswith("other-mic at 16000, 24000, 8000 Hz: captures other-mic; ")
        assert ", 2 clients" in other
        # One that goes is said of that one alone.
        rig.destroy_node("other-mic")
        rig.wait_for(
            lambda: doctor(env)["stream 2"]["meaning"].startswith(
                "other-mic at 16000, 24000, 8000 Hz: no audio: "
            ),
            "the source's end",
        )
        assert "no audio" not in doctor(env)["stream 1"]["meaning"]
        for peer in peers:
            peer.close()


@pytest.mark.skipif(shutil.which("wpctl") is None, reason="WirePlumber is not installed")
def test_what_it_says_mends_it_does(tmp_path: Path) -> None:
    """As it is printed, in a shell of the session."""
    write_speech(tmp_path / "speech.f32")
    # A quantum that is forced on the graph, and a source that the desktop has muted.
    with Session(quantum=1024) as session:
        rig, env = session.rig, session.env
        rig.play(tmp_path / "speech.f32", "rig-mic", loop=True)
        rig.tool("wpctl", "set-mute", str(rig.node_id("rig-mic")), "1")
        found = doctor(env, 1)
        mended = [found["source"], found["quantum"]]
        assert "muted" in found["source"]["meaning"] and found["quantum"]["status"] == "degraded"
        for check in mended:
            subprocess.run(["sh", "-c", check["remedy"]], env=env, check=True, timeout=20)
        found = doctor(env, 0)
        assert found["source"]["status"] == found["quantum"]["status"] == "good", found


def test_alsa_stands_in(tmp_path: Path) -> None:
    mic = AlsaMic(tmp_path, level=0.25)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    checks = doctor(env | mic.env, 0)
    assert checks["PipeWire"]["status"] == "degraded"
    # The same value all the time.
    assert checks["source"]["meaning"].startswith("alsa:default, heard for ")
    assert re.search(r"one value \(\+0.2[45]", checks["source"]["meaning"])
    assert re.search(r"\(DC\) of \+0.2[45]", checks["source"]["meaning"])
    assert checks["quantum"]["meaning"].startswith("128/48000")


def test_where_nothing_is(tmp_path: Path) -> None:
    config = tmp_path / "alsa.conf"
    config.write_text("ctl.default { type hw card 0 }\n")
    env = {"PATH": os.environ["PATH"], "ALSA_CONFIG_PATH": str(config)}
    checks = doctor(env, 1)
    assert checks["PipeWire"]["status"] == checks["source"]["status"] == "broken"
    assert "no ALSA PCM can be used" in checks["source"]["meaning"]


def test_a_pcm_that_hangs_is_named(tmp_path: Path) -> None:
    mic = AlsaMic(tmp_path)
    mic.fail("hangs")
    config = tmp_path / "v2m-engine/config.toml"
    config.parent.mkdir()
    config.write_text('source = "alsa:mic"\n')
    home = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    env = {"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(tmp_path)} | home | mic.env
    source = doctor(env)["source"]
    assert source["status"] == "broken"
    assert "opening ALSA PCM mic has taken" in json.dumps(source)
