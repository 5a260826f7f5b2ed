"""What the real-time callback does, seen from between it and libpipewire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import BINARY, ROOT, Engine
from rig import PrivatePipeWire

from v2m_engine import AudioCapture

#: What the interposer leaves out of its report, and what the report is to be about.
WARM_UP_CYCLES, CYCLES = 200, 200
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
    **env: str,
) -> dict[str, Any]:
    """The report on an engine that captured some cycles, with clients coming and going."""
    env |= {"LD_PRELOAD": str(rtcheck), "RTCHECK_REPORT": str(report)}
    with Engine(rig, **env) as engine:
        monkeypatch.setenv("V2M_ENGINE_SOCKET", engine.socket)
        rig.wait_for_links("rig-mic", "v2m-engine")
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


def test_the_callback_only_computes_and_wakes_once(
    rig: PrivatePipeWire, rtcheck: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = observe(rig, rtcheck, tmp_path / "report.json", monkeypatch)
    assert report["allocations"] == 0
    assert report["locks"] == 0
    assert report["most_syscalls"] == 1, "more than the one wake-up"
    assert report["faults"] == 0


def test_a_change_of_rate_and_quantum_is_no_excuse(
    rig: PrivatePipeWire, rtcheck: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.set_rate(44_100)
    rig.set_quantum(1024)
    report = observe(
        rig, rtcheck, tmp_path / "report.json", monkeypatch, cycle_seconds=1024 / 44_100
    )
    assert (report["allocations"], report["locks"], report["faults"]) == (0, 0, 0)
    assert report["most_syscalls"] == 1


@pytest.mark.parametrize(
    ("sin", "noticed"),
    [("malloc", "allocations"), ("lock", "locks"), ("syscall", "syscalls"), ("fault", "faults")],
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
    allowed = report["cycles"] if noticed == "syscalls" else 0
    assert report[noticed] > allowed


def wake_and_audio(rig: PrivatePipeWire, engine: Engine) -> tuple[int, int]:
    """The ids of the two threads; skips where the first has no real time."""
    rig.wait_for_links("rig-mic", "v2m-engine")
    status = subprocess.run(
        [BINARY, "status", "--json"], env=rig.env, capture_output=True, timeout=20, check=True
    ).stdout
    threads = {thread["name"]: thread for thread in json.loads(status)["threads"]}
    tasks = Path(f"/proc/{engine.process.pid}/task")
    ids = {(task / "comm").read_text().strip(): int(task.name) for task in tasks.iterdir()}
    if not threads["v2m-wake"]["real_time"]:
        assert os.sched_getaffinity(ids["v2m-wake"]) == os.sched_getaffinity(0)
        pytest.skip("real time is not granted here: the scheduler places the thread")
    return ids["v2m-wake"], ids["v2m-pipewire"]


def test_the_wake_up_thread_stays_beside_the_audio_thread(rig: PrivatePipeWire) -> None:
    """On another CPU it would interrupt the reader that was woken first."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    with Engine(rig) as engine:
        wake, audio = wake_and_audio(rig, engine)
        for cpu in cpus[::-1] + cpus:
            os.sched_setaffinity(audio, {cpu})
            rig.wait_for(
                lambda cpu=cpu: os.sched_getaffinity(wake) == {cpu},  # type: ignore[misc]
                f"the wake-up thread to be on CPU {cpu}",
                10,
            )


#: Takes a CPU for most of the time, with a priority between the two threads'.
GREEDY = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(75))
while True:
    end = time.monotonic() + 0.02
    while time.monotonic() < end:
        pass
    time.sleep(0.002)
"""


def test_it_leaves_when_others_hold_it_up_there(rig: PrivatePipeWire) -> None:
    everywhere = os.sched_getaffinity(0)
    if len(everywhere) < 2:
        pytest.skip("there is no other CPU to go to")
    cpu = max(everywhere)
    with Engine(rig) as engine:
        wake, audio = wake_and_audio(rig, engine)
        os.sched_setaffinity(audio, {cpu})
        rig.wait_for(lambda: os.sched_getaffinity(wake) == {cpu}, "the wake-up thread", 10)
        greedy = subprocess.Popen([sys.executable, "-c", GREEDY, str(cpu)])
        try:
            rig.wait_for(
                lambda: os.sched_getaffinity(wake) == everywhere, "it to be free again", 20
            )
        finally:
            greedy.kill()
            greedy.wait()
