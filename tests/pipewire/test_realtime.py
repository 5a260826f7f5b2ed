"""What the real-time callback does, seen from between it and libpipewire."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig import ROOT, PrivatePipeWire
from rig.hostile import LONG
from rig.independent_reader import GAPS, RATES
from rig.peer import Peer
from rig.service import Engine
from rig.session import Session
from v2m_engine import AudioCapture

#: What the interposer leaves out of its report, and what the report is to be about.
WARM_UP_CYCLES, CYCLES = 200, 200
needs_session = pytest.mark.skipif(
    shutil.which("wireplumber") is None or shutil.which("pw-record") is None,
    reason="WirePlumber or pw-record is not installed",
)
#: Frames a second of the stream.
RATE = 16_000


@pytest.fixture(scope="session")
def rtcheck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("rtcheck") / "rtcheck.so"
    flags = subprocess.run(
        ["pkg-config", "--cflags", "libpipewire-0.3"], capture_output=True, text=True, check=True
    ).stdout.split()
    source = ROOT / "tests/realtime/rtcheck.c"
    subprocess.run(
        ["cc", "-O2", "-shared", "-fPIC", "-o", library, source, *flags, "-ldl"], check=True
    )
    return library


def observe(
    rig: PrivatePipeWire,
    rtcheck: Path,
    report: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    cycle_seconds: float = 256 / 48_000,
    source: str = "rig-mic",
    **env: str,
) -> dict[str, Any]:
    """The report on an engine that captured some cycles, with clients coming and going."""
    env |= {"LD_PRELOAD": str(rtcheck), "RTCHECK_REPORT": str(report)}
    with Engine(rig, "--source", source, **env) as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        node = source.removeprefix("clean:")
        rig.wait_for(
            lambda: any(a.startswith(f"{node}:") and "v2m" in b for a, b in rig.links()), "links"
        )
        left = (WARM_UP_CYCLES + CYCLES) * cycle_seconds * RATE
        with AudioCapture(engine="service").stream(timeout=20) as stream:
            for chunk in stream:
                with AudioCapture(engine="service", buffer_size=512).stream(timeout=20) as other:
                    next(iter(other))
                # Filled silence took no cycles.
                left -= 0 if chunk.gap else len(memoryview(chunk))
                if left <= 0:
                    break
        engine.stop()
    result: dict[str, Any] = json.loads(report.read_text())
    assert result["cycles"] >= CYCLES, "the callback hardly ran"
    return result


def page_faults(report: dict[str, Any]) -> int:
    """But for the few that meet a page which the kernel is moving just then: on a busy machine it
    does so all the time, and with locked ones, too."""
    faults = int(report["faults"])
    return 0 if report["migrated"] and faults <= 3 else faults


def test_the_callback_only_computes_and_clients_are_woken_after_it(
    rig: PrivatePipeWire, rtcheck: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = observe(rig, rtcheck, tmp_path / "report.json", monkeypatch)
    assert report["allocations"] == 0
    assert report["locks"] == 0
    assert report["most_syscalls"] == 0
    assert 1 <= report["most_wakes"] <= 3, "readers, the wake-up thread, the VAD worker"
    assert page_faults(report) == 0


def test_eight_channels_and_what_is_heard_of_them_are_no_excuse(
    rig: PrivatePipeWire, rtcheck: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.create_source("interface", channels=[f"AUX{n}" for n in range(8)])
    rng = np.random.default_rng(1)
    for port, level in (("AUX2", 0.1), ("AUX6", 0.5)):
        rng.normal(0, level, 48_000).astype(np.float32).tofile(tmp_path / port)
        rig.play(tmp_path / port, "interface", loop=True, port=port, name=f"player-{port}")
    report = observe(rig, rtcheck, tmp_path / "report.json", monkeypatch, source="interface")
    assert (report["allocations"], report["locks"], page_faults(report)) == (0, 0, 0)
    assert report["most_syscalls"] == 0


def test_a_change_of_rate_and_quantum_is_no_excuse(
    rig: PrivatePipeWire, rtcheck: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.set_rate(44_100)
    rig.set_quantum(1024)
    report = observe(
        rig, rtcheck, tmp_path / "report.json", monkeypatch, cycle_seconds=1024 / 44_100
    )
    assert (report["allocations"], report["locks"], page_faults(report)) == (0, 0, 0)
    assert report["most_syscalls"] == 0


def test_streams_that_come_and_go_are_no_excuse_and_cost_others_nothing(
    rig: PrivatePipeWire, rtcheck: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    env = {"LD_PRELOAD": str(rtcheck), "RTCHECK_REPORT": str(report)}
    opens = 1000 if LONG else 100
    # Nobody reads the log meanwhile.
    few = ("--log", "warn", "--linger", "0", "--history", "4")
    with Engine(rig, "--source", "rig-mic", *few, **env) as engine:
        friend = Peer(engine.socket)
        ring = friend.ring
        assert ring is not None
        rig.wait_for(lambda: ring.committed() > RATE, "audio")
        rates = [rate for rate in RATES if rate != RATE]
        for n in range(opens):
            peer = Peer(engine.socket, rate=rates[n % len(rates)])
            other = peer.ring
            assert other is not None
            begin = other.committed()
            if n % 4 == 0:
                # It is taken up, and gets audio.
                rig.wait_for(lambda o=other, b=begin: o.committed() > b, "a stream's audio")
            peer.close()
        rig.wait_for(lambda: ring.committed() > 3 * RATE, "cycles after the warm-up")
        # What the graph itself lost on a busy machine, its clock says (an xrun).
        assert {gap.detail for gap in ring.records(GAPS)} <= {1}
        assert ring.counters()["repeated"] == 0
        engine.stop()
    result = json.loads(report.read_text())
    assert result["cycles"] >= CYCLES
    assert (result["allocations"], result["locks"], page_faults(result)) == (0, 0, 0)
    assert result["most_syscalls"] == 0


def test_neither_is_cancelling_which_is_done_elsewhere(
    rig: PrivatePipeWire, rtcheck: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.create_sink("speakers")
    value = json.dumps({"name": "speakers"})
    rig.tool("pw-metadata", "-n", "default", "0", "default.audio.sink", value, "Spa:String:JSON")
    rig.link("speakers:monitor_FL", "rig-mic:input_MONO")
    rng = np.random.default_rng(1)
    rng.normal(0, 0.1, 48_000).astype(np.float32).tofile(tmp_path / "far")
    rig.play(tmp_path / "far", "speakers", loop=True)
    path = tmp_path / "report.json"
    report = observe(rig, rtcheck, path, monkeypatch, source="clean:rig-mic")
    assert (report["allocations"], report["locks"], page_faults(report)) == (0, 0, 0)
    assert report["most_syscalls"] == 0


@needs_session
def test_nor_is_the_virtual_microphone(rtcheck: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    env = {"LD_PRELOAD": str(rtcheck), "RTCHECK_REPORT": str(path)}
    arguments = ["--virtual-microphone", "--virtual-microphone-gate", "speech"]
    with Session(quantum=256) as session, Engine(session.rig, *arguments, **env) as engine:
        session.rig.wait_for_node("v2m-engine.microphone", timeout=30)
        command = ["pw-record", "--target", "v2m-engine.microphone", tmp_path / "heard.wav"]
        recorder = subprocess.Popen(command, env=session.env)
        time.sleep((WARM_UP_CYCLES + 2 * CYCLES) * 256 / 48_000 + 1)
        recorder.terminate()
        recorder.wait(10)
        engine.stop()
    report = json.loads(path.read_text())
    assert report["streams"] >= CYCLES
    assert (report["allocations"], report["locks"], page_faults(report)) == (0, 0, 0)
    assert report["most_syscalls"] == 0


@pytest.mark.parametrize(
    ("sin", "noticed"),
    [
        ("malloc", "allocations"),
        ("later-malloc", "allocations"),
        ("lock", "locks"),
        ("syscall", "syscalls"),
        ("fault", "faults"),
    ],
)
def test_each_sin_would_be_noticed(
    rig: PrivatePipeWire,
    rtcheck: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sin: str,
    noticed: str,
) -> None:
    path = tmp_path / "report.json"
    report = observe(rig, rtcheck, path, monkeypatch, RTCHECK_SABOTAGE=sin)
    assert (page_faults(report) if noticed == "faults" else report[noticed]) > 0
