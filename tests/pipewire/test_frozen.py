"""A PipeWire or a D-Bus that hangs: the engine answers, says so, and stops all the same."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess

import pytest

from rig import PrivatePipeWire, wait_until
from rig.holding import held, thread_named
from rig.service import Engine, assert_time_is_true, running, status

#: Told to stop, it has two seconds; the rest is for a busy machine.
STOP_S = 6


def stops(engine: Engine, how: signal.Signals = signal.SIGTERM) -> str:
    engine.process.send_signal(how)
    try:
        log: str = engine.process.communicate(timeout=STOP_S)[1]
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{how.name} is not obeyed") from None
    assert engine.process.returncode == 0, log
    assert "panicked" not in log, log
    assert not os.path.exists(engine.socket)
    return log


@pytest.mark.parametrize("source", ["default", "rig-mic"])
def test_a_daemon_that_hangs_from_the_start(rig: PrivatePipeWire, source: str) -> None:
    rig.freeze()
    try:
        with Engine(rig, "--source", source, "--alsa-fallback", "off") as engine:
            assert status(rig)["state"] in ("starting", "waiting")
            wait_until(
                lambda: "does not answer" in (status(rig)["source"]["waiting"] or ""), "the reason"
            )
            stops(engine)
    finally:
        rig.thaw()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_that_hangs_at_the_end(rig: PrivatePipeWire, how: signal.Signals) -> None:
    with Engine(rig, "--source", "rig-mic") as engine:
        wait_until(lambda: status(rig)["state"] == "running", "audio")
        rig.freeze()
        try:
            stops(engine, how)
        finally:
            rig.thaw()


def test_a_graph_that_stands_still_is_told_from_a_daemon_that_hangs(rig: PrivatePipeWire) -> None:
    with Engine(rig, "--source", "rig-mic") as engine:
        before = running(rig)
        # Older daemons leave their data thread without a name of its own.
        with held(thread_named(rig.pid, "data-loop.0", "pipewire")):
            wait_until(
                lambda: "the graph stands still" in (status(rig)["source"]["waiting"] or ""),
                "the reason",
            )
            assert status(rig)["state"] == "waiting"
        assert_time_is_true(before, running(rig))
        assert "audio comes again after" in stops(engine)


@pytest.mark.skipif(os.geteuid() != 0, reason="drops a capability")
@pytest.mark.parametrize("patient", [True, False])
def test_a_bus_that_says_nothing(rig: PrivatePipeWire, patient: bool) -> None:
    """Libpipewire itself asks RTKit."""
    unprivileged = ["setpriv", "--bounding-set=-sys_nice", "prlimit", "--rtprio=0:0"]
    if not all(shutil.which(program) for program in ("setpriv", "prlimit")):
        pytest.skip("no setpriv here")
    path = rig.directory / "bus"
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(path))
        bus.listen(16)
        engine = Engine(
            rig,
            "--source",
            "rig-mic",
            before=unprivileged,
            DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={path}",
        )
        with engine:
            if patient:
                wait_until(lambda: status(rig)["state"] == "running", "audio", seconds=60)
            stops(engine)
