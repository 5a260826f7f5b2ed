"""PipeWire goes and ALSA stands in; PipeWire returns and has it back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig import BINARY, PrivatePipeWire, wait_until
from rig.alsa import AlsaMic
from rig.service import NS_PER_SAMPLE, Engine, status, tone, wait_for_level
from v2m_engine import AudioCapture

#: A switch may be off by so much: the periods and quanta of both sides.
TOLERANCE_NS = 25_000_000


@pytest.fixture
def mic(tmp_path: Path) -> AlsaMic:
    return AlsaMic(tmp_path, level=0.25)


@pytest.fixture
def chunks(
    rig: PrivatePipeWire, mic: AlsaMic, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Engine, Iterator[Any]]]:
    """An engine on the source `default`, and a client that reads it throughout."""
    with Engine(rig, **mic.env) as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        rig.wait_for_links("rig-mic", "v2m-engine")
        with AudioCapture(engine="service", buffer_size=160).stream(timeout=30) as stream:
            yield engine, iter(stream)


def backend(rig: PrivatePipeWire) -> str:
    name: str = status(rig)["source"]["backend"]
    return name


def assert_time_is_true(before: Any, after: Any) -> None:
    samples = after.position - before.position
    off = (after.time_ns - before.time_ns) - samples * NS_PER_SAMPLE
    assert abs(off) <= TOLERANCE_NS, f"{off / 1e6:.2f} ms"


def test_there_and_back_with_a_running_client(
    rig: PrivatePipeWire, chunks: tuple[Engine, Iterator[Any]], tmp_path: Path
) -> None:
    _, reader = chunks
    rig.play(tone(rig, tmp_path / "a", 0.5), "rig-mic", loop=True)
    first = wait_for_level(reader, 0.5)
    ring = status(rig)["ring"]["id"]
    rig.kill()
    alsa = wait_for_level(reader, 0.25)
    now = status(rig)
    assert now["source"]["backend"] == "alsa" and now["source"]["linked"] == "alsa:default"
    assert "the connection to PipeWire broke" in now["source"]["fallback"]
    assert any("ALSA instead of PipeWire" in line for line in now["degraded"])
    assert "v2m-alsa" in [thread["name"] for thread in now["threads"]]

    rig.start()
    returned = time.monotonic()
    rig.wait_for_links("rig-mic", "v2m-engine")
    rig.play(tone(rig, tmp_path / "b", 0.75), "rig-mic", loop=True)
    last = wait_for_level(reader, 0.75)
    print(f"audio again {time.monotonic() - returned:.2f} s after the daemon")
    now = status(rig)
    assert now["source"]["backend"] == "pipewire" and now["source"]["fallback"] is None
    assert "v2m-alsa" not in [thread["name"] for thread in now["threads"]]
    assert now["ring"]["id"] == ring and now["state"] == "running"
    assert now["losses"]["gaps"] >= 2 and now["losses"]["lost_samples"] > 0
    assert_time_is_true(first, alsa)
    assert_time_is_true(alsa, last)
    # Not one position is missing for the reader.
    assert all(np.diff([next(reader).position for _ in range(50)]) == 160)


def test_a_restart_is_waited_for(
    rig: PrivatePipeWire, chunks: tuple[Engine, Iterator[Any]]
) -> None:
    engine, _ = chunks
    rig.restart()
    rig.wait_for_links("rig-mic", "v2m-engine")
    log = engine.stop()
    assert "alsa:default" not in log, log


def test_without_pipewire_alsa_captures_from_the_start_until_it_comes(
    mic: AlsaMic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rig = PrivatePipeWire(quantum=256)
    rig.start()
    rig.kill()
    try:
        with Engine(rig, **mic.env) as engine:
            monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
            with AudioCapture(engine="service", buffer_size=160).stream(timeout=30) as stream:
                wait_for_level(iter(stream), 0.25)
                rig.start()
                wait_until(lambda: backend(rig) == "pipewire", "PipeWire")
    finally:
        rig.stop()


def test_a_daemon_that_takes_connections_and_says_nothing_counts_as_gone(
    mic: AlsaMic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As under systemd, which holds the socket of a daemon that can't start."""
    rig = PrivatePipeWire()
    rig.start()
    rig.kill()
    path = rig.directory / "pipewire-0"
    path.unlink(missing_ok=True)
    try:
        with socket.socket(socket.AF_UNIX) as mute:
            mute.bind(str(path))
            mute.listen()
            with Engine(rig, **mic.env) as engine:
                wait_until(lambda: backend(rig) == "alsa", "ALSA", seconds=20)
                assert "does not answer" in status(rig)["source"]["fallback"]
                engine.stop()
    finally:
        rig.stop()


@pytest.mark.parametrize(
    "arguments",
    [("--source", "rig-mic"), ("--source", "monitor:x"), ("--alsa-fallback", "off")],
)
def test_what_only_pipewire_has_is_waited_for(
    rig: PrivatePipeWire, mic: AlsaMic, arguments: tuple[str, ...]
) -> None:
    with Engine(rig, *arguments, **mic.env) as engine:
        wait_until(lambda: status(rig)["source"]["server_version"], "PipeWire")
        rig.kill()
        wait_until(lambda: "broke" in (status(rig)["source"]["waiting"] or ""), "the reason")
        time.sleep(3)  # longer than the hand-over waits
        assert backend(rig) == "pipewire"
        assert "alsa:" not in engine.stop()


def test_alsa_that_was_asked_for_is_kept(rig: PrivatePipeWire, mic: AlsaMic) -> None:
    with Engine(rig, "--source", "alsa:mic", "--alsa-period", "256", **mic.env):
        wait_until(lambda: status(rig)["source"]["linked"] == "alsa:mic", "ALSA")
        assert status(rig)["source"]["quantum"] == 256
        assert not rig.links()


def test_waiting_costs_nothing(rig: PrivatePipeWire, mic: AlsaMic) -> None:
    """The daemon's return is told by the kernel, not asked for again and again."""
    with Engine(rig, "--alsa-fallback", "off", **mic.env) as engine:
        rig.kill()
        wait_until(lambda: status(rig)["source"]["waiting"], "the loss")
        time.sleep(4)  # it may be coming until then
        trace = rig.directory / "trace"
        watch = f"timeout -s INT 3 strace -f -q -e trace=connect -o {trace}".split()
        subprocess.run([*watch, "-p", str(engine.process.pid)], check=False, timeout=20)
        assert "pipewire" not in trace.read_text()


def test_neither_is_there(tmp_path: Path) -> None:
    config = tmp_path / "alsa.conf"
    config.write_text("ctl.default { type hw card 0 }\n")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "ALSA_CONFIG_PATH": str(config),
    }
    command = [BINARY, "run", "--capture", "always"]
    engine = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    engine.send_signal(signal.SIGTERM)
    log = engine.communicate(timeout=15)[1]
    assert engine.returncode == 0, log
    both = [line for line in log.splitlines() if "instead of it" in line]
    assert len(both) == 1 and "PipeWire can't be reached" in both[0], log
    assert "there is no ALSA PCM default" in both[0], log
