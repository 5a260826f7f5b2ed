"""What doctor finds: in a private PipeWire, beside ALSA only, and where nothing is."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from rig import BINARY, ROOT, PrivatePipeWire, wait_until
from rig.alsa import AlsaMic
from rig.demo import write_speech
from rig.peer import Peer
from rig.remedies import SOURCE, printed, remedies
from rig.service import CHECKS, Engine, doctor, status
from rig.session import Session

COMMAND = r"systemctl --user \w+ \w[\w.-]*|sudo \w+ \w+|export \w+=[^,\"{]+"


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


def test_a_source_is_judged_by_what_is_heard_of_it(rig: PrivatePipeWire, tmp_path: Path) -> None:
    """A doctor that is stopped now and then, as on a busy machine, listens for longer."""
    command, env = [BINARY, "doctor", "--json"], rig.env | {"HOME": str(tmp_path)}
    draw = random.Random(8)
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as asked:
        while asked.poll() is None:
            pause = draw.uniform(0.1, 0.5)
            asked.send_signal(signal.SIGSTOP)
            time.sleep(pause)
            asked.send_signal(signal.SIGCONT)
            time.sleep(pause)
        assert asked.stdout is not None
        report = json.load(asked.stdout)
    (silent,) = (check for check in report["checks"] if check["name"] == "source")
    assert silent["status"] == "degraded" and "nothing but zeros" in silent["meaning"], silent


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
        assert "muted" in found["source"]["meaning"] and found["quantum"]["status"] == "degraded"
        for remedy in (found["source"]["remedy"], printed(found["quantum"], "FREE_QUANTUM")):
            subprocess.run(["sh", "-c", remedy], env=env, check=True, timeout=20)
        found = doctor(env, 0)
        assert found["source"]["status"] == found["quantum"]["status"] == "good", found


def on_terminal(env: dict[str, str], command: str, seconds: int = 2) -> str:
    """What a command shows there within so many seconds."""
    engine = BINARY.resolve().parent
    # Nobody types: at the end of what is typed `script` would leave.
    keys, typist = os.pipe()
    shown = subprocess.run(
        [
            "script",
            "--quiet",
            "--command",
            f"stty rows 30 cols 120; timeout --foreground {seconds} {command}",
            "/dev/null",
        ],
        env=env | {"PATH": f"{engine}:{os.environ['PATH']}", "TERM": "xterm"},
        stdin=keys,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    os.close(keys)
    os.close(typist)
    return shown.stdout


@pytest.mark.skipif(shutil.which("wpctl") is None, reason="WirePlumber is not installed")
def test_what_it_says_to_look_at_shows_what_is_wrong(tmp_path: Path) -> None:
    with Session(quantum=256) as session:
        rig, env = session.rig, session.env
        rig.create_sink("speakers")
        with Engine(rig, "--source", "clean", **env):
            # What it was told where there is no default sink, below.
            sinks, _, choose = remedies()["CHOOSE_SINK"].partition("wpctl set-default ID")
            assert choose and "speakers" in on_terminal(env, sinks)
            rig.tool("wpctl", "set-default", str(rig.node_id("speakers")))
            rig.wait_for(
                lambda: "monitor:speakers" in doctor(env)["echo"]["meaning"], "the sink", 30
            )
        with Engine(rig, "--source", "rig-mic", "--linger", "0") as engine:
            # Nothing is played into it.
            wait_until(lambda: status(rig)["health"], "the silence to be found")
            remedy = printed(doctor(env)["stream 1"], "WATCH_HEALTH")
            # It is heard anew, and found after a while.
            assert "zeros" in on_terminal(env, remedy, 6)
            # The same view shows losses, and PipeWire's who is late.
            assert "rig-mic" in on_terminal(env, remedies()["WATCH_LOSSES"])
            assert "rig-mic" in on_terminal(env, remedies()["WATCH_GRAPH"])
            peer = Peer(engine.socket, source="nowhere")
            rig.wait_for(lambda: "nowhere" in json.dumps(doctor(env)), "its stream")
            lost = next(check for check in doctor(env).values() if "nowhere" in check["meaning"])
            assert "rig-mic" in on_terminal(env, printed(lost, "LIST_SOURCES"))
            peer.close()


def test_without_a_sink_one_is_asked_for(rig: PrivatePipeWire) -> None:
    with Engine(rig, "--source", "clean"):
        rig.wait_for(lambda: doctor(rig.env)["echo"]["status"] == "degraded", "the echo", 30)
        printed(doctor(rig.env)["echo"], "CHOOSE_SINK")


def test_each_remedy_is_tried() -> None:
    """Somewhere a test names it, and holds what is printed against it."""
    tests = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "packaging/tests").rglob("test_*.py")]
    text = "".join(path.read_text() for path in tests)
    untried = [name for name in remedies() if f'"{name}"' not in text]
    assert len(remedies()) > 20 and untried == []
    # What other errors give as a command is tried by its own words.
    sources = [path for place in ("src", "crates") for path in (ROOT / place).rglob("*.rs")]
    elsewhere = set()
    for path in sources:
        if path != SOURCE and "tests" not in path.parts and path.name != "tests.rs":
            joined = re.sub(r"\\\n\s*", "", path.read_text().partition("#[cfg(test)]")[0])
            found = re.findall(COMMAND, joined)
            elsewhere |= set(found)
    tried = text + "".join(remedies().values())
    assert elsewhere and {command for command in elsewhere if command not in tried} == set()


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


# A container that nothing of the session is in ($0), unless its socket is let in ($1).
CONTAINER = """
mount -t tmpfs none /run && touch /run/.containerenv
mkdir /run/outside && mount --rbind "$0" /run/outside && mount -t tmpfs none "$0"
for rules in /etc/udev/rules.d /usr/lib/udev/rules.d; do
    [ ! -d "$rules" ] || mount -t tmpfs none "$rules"
done
[ -z "$1" ] || { touch "$0/$1" && mount --bind "/run/outside/$1" "$0/$1"; }
shift
exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a container here")
def test_in_a_container_what_helps_is_outside(rig: PrivatePipeWire, tmp_path: Path) -> None:
    """And letting the socket in, as it says, helps."""
    (tmp_path / "alsa.conf").write_text("ctl.default { type hw card 0 }\n")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "ALSA_CONFIG_PATH": str(tmp_path / "alsa.conf"),
    }

    def inside(env: dict[str, str], socket: str = "") -> dict[str, dict[str, Any]]:
        done = subprocess.run(
            [
                *("unshare", "--mount", "--pid", "--fork", "--mount-proc"),
                *("sh", "-ec", CONTAINER, rig.directory, socket),
                *(BINARY, "doctor", "--json"),
            ],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return {check["name"]: check for check in json.loads(done.stdout)["checks"]}

    found = inside(env)
    assert found["sandbox"]["meaning"].startswith("a container")
    remedy = printed(found["PipeWire"], "LET_SOCKET_IN")
    assert "$XDG_RUNTIME_DIR/pipewire-0" in remedy
    printed(found["udev rules"], "LOOK_OUTSIDE")
    found = inside(env | {"XDG_RUNTIME_DIR": str(rig.directory)}, "pipewire-0")
    assert found["PipeWire"]["status"] == "good", found
    # Nothing is said of a sandbox where there is none.
    assert "sandbox" not in doctor(rig.env)


def test_what_happens_to_a_bluetooth_headset_is_said(rig: PrivatePipeWire, tmp_path: Path) -> None:
    name = "bluez_input.00_11_22_33_44_55.0"
    rig.create_source(name)
    config = tmp_path / "v2m-engine/config.toml"
    config.parent.mkdir()
    config.write_text(f'source = "{name}"\n')
    checks = doctor(rig.env | {"XDG_CONFIG_HOME": str(tmp_path)})
    assert checks["Bluetooth"]["meaning"].startswith(f"{name} no session manager")
    assert "Bluetooth" not in doctor(rig.env)
