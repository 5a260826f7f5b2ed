"""What is wrong with a source of the graph: the desktop's switches, and its sound."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig import BINARY, PrivatePipeWire
from rig.demo import write_speech
from rig.service import Engine, doctor
from v2m_engine import AudioCapture, Health, V2MError


def command(rig: PrivatePipeWire, *arguments: str) -> str:
    done = subprocess.run(
        [BINARY, *arguments], env=rig.env, capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout


def health(rig: PrivatePipeWire) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(command(rig, "status", "--json"))["health"]
    return found


def kinds(rig: PrivatePipeWire) -> list[str]:
    return [finding["kind"] for finding in health(rig)]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still waiting for: {what}"
        time.sleep(0.05)
    return result


def set_props(rig: PrivatePipeWire, node: str, props: str) -> None:
    rig.tool("pw-cli", "set-param", str(rig.node_id(node)), "Props", props)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    path = tmp_path / "speech.f32"
    write_speech(path)
    return path


def test_the_desktops_switches_are_seen_while_they_are_off(
    rig: PrivatePipeWire, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in rig.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(rig.directory))
    node = rig.node_id("rig-mic")
    with Engine(rig), AudioCapture().stream(timeout=20) as stream:
        rig.wait_for_links("rig-mic", "v2m-engine")
        rig.play(speech, "rig-mic", loop=True)
        wait_for(lambda: kinds(rig) == [], "a source that is well")
        assert "\nhealth     nothing wrong is heard\n" in command(rig, "status")
        assert stream.health.ok and str(stream.health) == "ok" and not list(stream.health)
        for switch, remedy, off, on in (
            ("is muted", f"wpctl set-mute {node} 0", "{ mute: true }", "{ mute: false }"),
            (
                "volume of rig-mic is zero",
                f"wpctl set-volume {node} 100%",
                "{ channelVolumes: [ 0.0 ] }",
                "{ channelVolumes: [ 1.0 ] }",
            ),
        ):
            before = stream.position
            set_props(rig, "rig-mic", off)
            wait_for(lambda: kinds(rig) == ["muted"], switch)
            (finding,) = health(rig)
            assert switch in finding["text"] and finding["remedy"] == remedy
            assert before <= finding["position"] <= stream.position
            assert f"{finding['text']}  -> {remedy}" in command(rig, "status")
            assert f"{finding['text']}  -> {remedy}" in command(rig, "monitor", "--once")
            assert doctor(rig.env, 1)["source"]["remedy"] == remedy
            (same,) = stream.health.findings
            assert not stream.health.ok and (same.kind, same.remedy) == ("muted", remedy)
            assert (same.position, same.time_ns) == (finding["position"], finding["time_ns"])
            assert 0 <= time.monotonic() - same.since < 60
            assert (same.value, same.unit) == (None, None)
            assert str(same) == f"{finding['text']}  -> {remedy}" == str(stream.health)
            set_props(rig, "rig-mic", on)
            wait_for(lambda: kinds(rig) == [], f"no longer {switch}")
            assert stream.health.ok
    with pytest.raises(V2MError):
        _ = stream.health


def test_a_switch_goes_with_its_source(rig: PrivatePipeWire, speech: Path) -> None:
    set_props(rig, "rig-mic", "{ mute: true }")
    set_props(rig, "rig-mic-stereo", "{ channelVolumes: [ 0.0, 1.0 ] }")
    rig.set_default_source("rig-mic")
    with Engine(rig):
        rig.wait_for_links("rig-mic", "v2m-engine")
        wait_for(lambda: kinds(rig) == ["muted"], "the switch")
        rig.set_default_source("rig-mic-stereo")
        # Half of its channels are on.
        wait_for(lambda: "muted" not in kinds(rig), "the other source")
        rig.set_default_source("rig-mic")
        wait_for(lambda: kinds(rig) == ["muted"], "the switch again")
        rig.destroy_node("rig-mic")
        wait_for(lambda: kinds(rig) == [], "nothing is captured")


def test_a_muted_sink_can_be_heard(rig: PrivatePipeWire) -> None:
    rig.create_sink("speakers")
    set_props(rig, "speakers", "{ mute: true }")
    with Engine(rig, "--source", "monitor:speakers"):
        rig.wait_for_links("speakers", "v2m-engine", 2)
        # Nothing plays: that is all that is to be said.
        wait_for(lambda: kinds(rig) == ["silence"], "silence")


def test_silence_noise_and_dc_come_and_go(rig: PrivatePipeWire, tmp_path: Path) -> None:
    with Engine(rig):
        rig.wait_for_links("rig-mic", "v2m-engine")
        wait_for(lambda: kinds(rig) == ["silence"], "silence, as nothing plays")
        noise = np.random.default_rng(3).normal(0.07, 10 ** (-63 / 20), 96_000)
        path = tmp_path / "noise.f32"
        noise.astype(np.float32).tofile(path)
        with rig.play(path, "rig-mic", loop=True):
            wait_for(lambda: kinds(rig) == ["dc"], "DC")
            wait_for(lambda: kinds(rig) == ["noise", "dc"], "nothing but noise")
            environment = rig.env | {"HOME": str(tmp_path)}

            def degraded() -> dict[str, str] | None:
                source = doctor(environment, 0)["source"]
                return source if source["status"] == "degraded" else None

            # It listens anew each time: cycles that the machine loses are no even noise.
            source = wait_for(degraded, "the doctor to hear it")
            assert "only faint, even noise" in source["meaning"] and "DC" in source["meaning"]
            assert "speak" in source["remedy"] and "high-pass" in source["remedy"]
        wait_for(lambda: kinds(rig) == ["silence"], "silence again")


def test_who_is_not_captured_is_not_judged(
    rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in rig.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(rig.directory))
    set_props(rig, "rig-mic", "{ mute: true }")
    with Engine(rig, "--capture", "while-used", "--linger", "0"):
        assert health(rig) == []
        with AudioCapture().stream(timeout=20) as stream:
            wait_for(lambda: not stream.health.ok and list(stream.health), "the switch")
            rig.destroy_node("rig-mic")
            rig.destroy_node("rig-mic-stereo")
            wait_for(lambda: stream.health.waiting, "no source")
            now = stream.health
            assert not now.ok and now.findings == () and str(now).startswith("no audio: ")
        wait_for(lambda: health(rig) == [], "nobody listens")


def is_stopped(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").iterdir()
    states = [(thread / "stat").read_text().rpartition(")")[2].split()[0] for thread in threads]
    return set(states) == {"T"}


def test_an_engine_that_hangs_holds_nobody(
    rig: PrivatePipeWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in rig.env.items():
        monkeypatch.setenv(name, value)
    with Engine(rig) as engine, AudioCapture().stream(timeout=20) as stream:
        wait_for(lambda: stream.health.waiting is None, "audio")
        engine.process.send_signal(signal.SIGSTOP)
        try:
            wait_for(lambda: is_stopped(engine.process.pid), "all of its threads to stop")
            for _ in range(2):
                with pytest.raises(V2MError, match="did not answer"):
                    _ = stream.health
        finally:
            engine.process.send_signal(signal.SIGCONT)
        # The late answers are nobody's.
        assert isinstance(stream.health, Health)
        wait_for(lambda: stream.health.waiting is None, "audio again")
