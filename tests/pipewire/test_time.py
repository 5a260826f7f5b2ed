"""Whatever stops, and for however long: positions and times agree afterwards, losses count once,
and what happens is said while it lasts."""

from __future__ import annotations

import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rig import PrivatePipeWire
from rig.service import QUANTUM, Engine, assert_time_is_true, running, status

RATE = 16_000
#: Losses beyond what was stopped: the daemon may be a second late on a busy machine.
MORE_S = 1.5

LENGTHS = [1, 5, 8, 10, 15, 20, 40]


def lost_s(before: dict[str, Any], after: dict[str, Any]) -> float:
    lost: int = after["losses"]["lost_samples"] - before["losses"]["lost_samples"]
    return lost / RATE


def a_frozen_daemon(seconds: int) -> None:
    with PrivatePipeWire(quantum=QUANTUM) as rig, Engine(rig, "--source", "rig-mic") as engine:
        before = running(rig)
        rig.freeze()
        begin = time.monotonic()
        while time.monotonic() < begin + seconds:
            time.sleep(0.1)
            if 2.5 < time.monotonic() - begin < seconds - 0.2:
                now = status(rig)
                assert now["state"] == "waiting", now
                assert now["source"]["linked"] is None
                assert "rig-mic gives no audio" in now["source"]["waiting"]
                assert "PipeWire does not answer" in now["source"]["waiting"]
        rig.thaw()
        time.sleep(2)
        after = running(rig)
        assert_time_is_true(before, after)
        assert lost_s(before, after) <= seconds + MORE_S
        # Filling begins half a second late and stays 0.3 s behind.
        assert seconds < 2 or lost_s(before, after) >= seconds - 1
        log = engine.stop()
        assert log.count("gives no audio") == (1 if seconds >= 2 else log.count("gives no audio"))
        if seconds >= 2:
            (length,) = re.findall(r"audio comes again after ([0-9.]+) s", log)
            assert seconds - 1 < float(length) < seconds + MORE_S


def a_frozen_engine(seconds: int) -> None:
    with PrivatePipeWire(quantum=QUANTUM) as rig, Engine(rig, "--source", "rig-mic") as engine:
        before = running(rig)
        engine.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        engine.process.send_signal(signal.SIGCONT)
        time.sleep(2)
        after = running(rig)
        assert_time_is_true(before, after)
        assert seconds - 1 <= lost_s(before, after) <= seconds + MORE_S
        log = engine.stop()
        (length,) = re.findall(r"this process stood still for ([0-9.]+) s", log)
        assert abs(float(length) - seconds) < MORE_S


def both_frozen(seconds: int) -> None:
    """As by a debugger or a cgroup; the daemon goes on first."""
    with PrivatePipeWire(quantum=QUANTUM) as rig, Engine(rig, "--source", "rig-mic") as engine:
        before = running(rig)
        engine.process.send_signal(signal.SIGSTOP)
        rig.freeze()
        time.sleep(seconds)
        rig.thaw()
        engine.process.send_signal(signal.SIGCONT)
        time.sleep(2)
        after = running(rig)
        assert_time_is_true(before, after)
        assert lost_s(before, after) <= seconds + MORE_S


def test_positions_mean_times_whatever_stood_still() -> None:
    """All at once, as most of it is waiting."""
    cases = [(a_frozen_daemon, seconds) for seconds in LENGTHS]
    cases += [(a_frozen_engine, 4), (a_frozen_engine, 30), (both_frozen, 6), (both_frozen, 25)]
    with ThreadPoolExecutor(len(cases)) as pool:
        futures = {(case.__name__, s): pool.submit(case, s) for case, s in cases}
    failed = {name: future.exception() for name, future in futures.items() if future.exception()}
    assert not failed, "\n".join(f"{name}: {error}" for name, error in failed.items())
