"""Sound servers, cards, disks and buses that hang: the engine answers all the same, says what it
waits for, and stops when it is told to."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import BINARY, wait_until
from rig.alsa import AlsaMic
from rig.user import SPEECH, User

#: Told to stop, it has two seconds; the rest is for a busy machine.
STOP_S = 6
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


@pytest.fixture
def mic(user: User) -> AlsaMic:
    mic = AlsaMic(user.runtime.parent, level=0.25)
    user.env |= mic.env
    return mic


@contextlib.contextmanager
def hanging_disk(directory: Path) -> Iterator[Path]:
    """A file system whose server never says a word: whoever looks into it waits."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        server = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")
    directory.mkdir()
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"hanging", os.fsencode(directory), b"fuse", 0, options) != 0:
        os.close(server)
        pytest.skip(f"no FUSE here: {os.strerror(ctypes.get_errno())}")
    try:
        yield directory
    finally:
        os.close(server)
        libc.umount2(os.fsencode(directory), 2)


@contextlib.contextmanager
def silent_bus(path: Path) -> Iterator[str]:
    """The address of a D-Bus that takes connections and says nothing."""
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(path))
        bus.listen(16)
        yield f"unix:path={path}"


def stops(user: User, engine: subprocess.Popen[str], how: signal.Signals = signal.SIGTERM) -> str:
    """Stops it; its log."""
    engine.send_signal(how)
    try:
        log = engine.communicate(timeout=STOP_S)[1]
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{how.name} is not obeyed") from None
    assert engine.returncode == 0, log
    assert "panicked" not in log, log
    assert not user.socket.exists()
    return log


def says(user: User, what: str) -> None:
    """Until the status says so, where it says why nothing is captured."""
    wait_until(lambda: what in (user.status()["source"]["waiting"] or ""), what)


@pytest.mark.parametrize("policy", ["always", "while-used"])
def test_a_pcm_that_does_not_open(user: User, mic: AlsaMic, policy: str) -> None:
    mic.fail("hangs")
    engine = user.start("--source", "alsa:mic", "--capture", policy)
    if policy == "always":
        assert user.status()["state"] == "starting"
        says(user, "opening ALSA PCM mic has taken")
        assert any("opening ALSA PCM mic" in line for line in user.status()["degraded"])
    else:
        assert user.status()["state"] == "idle"
    log = stops(user, engine)
    assert ("opening ALSA PCM mic" in log) == (policy == "always")


def test_a_pcm_that_opens_after_all(user: User, mic: AlsaMic) -> None:
    mic.fail("hangs")
    engine = user.start("--source", "alsa:mic", "--capture", "always")
    says(user, "opening ALSA PCM mic has taken")
    mic.fail("none")
    wait_until(lambda: user.status()["state"] == "running", "audio")
    assert user.status()["source"]["waiting"] is None
    stops(user, engine)


def test_a_pcm_that_hangs_while_it_runs(user: User, mic: AlsaMic) -> None:
    engine = user.start("--source", "alsa:mic", "--capture", "always")
    wait_until(lambda: user.status()["state"] == "running", "audio")
    mic.fail("hangs")
    says(user, "alsa:mic gives no audio")
    assert user.status()["state"] == "waiting"
    mic.fail("none")
    wait_until(lambda: user.status()["state"] == "running", "audio again")
    mic.fail("hangs")
    says(user, "alsa:mic gives no audio")
    log = stops(user, engine)
    assert "v2m-alsa is left behind" in log


@pytest.mark.parametrize("what", ["hangs", "silent", "engine"])
def test_positions_mean_times_after_alsa_stood_still(user: User, mic: AlsaMic, what: str) -> None:
    seconds = 4
    engine = user.start("--source", "alsa:mic", "--capture", "always")
    wait_until(lambda: user.status()["ring"]["position"] > 16_000, "a second of audio")
    before = user.status()
    if what == "engine":
        engine.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        engine.send_signal(signal.SIGCONT)
    else:
        mic.fail(what)
        time.sleep(seconds)
        mic.fail("none")
    time.sleep(1)
    wait_until(lambda: user.status()["state"] == "running", "audio again")
    position = user.status()["ring"]["position"]
    wait_until(lambda: user.status()["ring"]["position"] > position + 8000, "half a second of it")
    after = user.status()
    samples = after["ring"]["position"] - before["ring"]["position"]
    off = samples / 16_000 - (after["ring"]["time_ns"] - before["ring"]["time_ns"]) / 1e9
    # A period, and what the driver's times may be off.
    assert abs(off) < 0.025, f"{off * 1e3:+.1f} ms"
    lost = (after["losses"]["lost_samples"] - before["losses"]["lost_samples"]) / 16_000
    assert seconds - 1 < lost < seconds + 2.5
    stops(user, engine)


def test_a_pcm_that_is_not_there_is_still_refused(user: User, mic: AlsaMic) -> None:
    done = user.command("run", "--source", "alsa:other", "--capture", "always")
    assert done.returncode == 1
    assert done.stderr.startswith("v2m-engine: ") and "other" in done.stderr


def test_a_named_pipe_without_a_writer(user: User) -> None:
    """It is refused, or it is waited for; nothing hangs."""
    pipe = user.runtime / "pipe"
    os.mkfifo(pipe)
    engine = subprocess.Popen(
        [BINARY, "run", "--source", f"file:{pipe}"],
        env=user.env,
        stderr=subprocess.PIPE,
        text=True,
    )
    user.engines.append(engine)
    wait_until(
        lambda: engine.poll() is not None or user.command("status").returncode == 0, "an answer"
    )
    if engine.poll() is None:
        time.sleep(0.5)
        engine.terminate()
    engine.communicate(timeout=STOP_S)
    assert not user.socket.exists()


@ROOT_ONLY
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_file_on_a_disk_that_hangs(user: User, tmp_path: Path, end: signal.Signals) -> None:
    with hanging_disk(tmp_path / "disk") as disk:
        engine = user.start("--source", f"file:{disk}/a.wav")
        says(user, "opening")
        log = stops(user, engine, end)
        assert "v2m-file is left behind" in log


@ROOT_ONLY
def test_a_configuration_on_a_disk_that_hangs(user: User, tmp_path: Path) -> None:
    with hanging_disk(tmp_path / "disk") as disk:
        engine = subprocess.Popen(
            [BINARY, "run", "--source", f"file:{SPEECH}"],
            env=user.env | {"XDG_CONFIG_HOME": str(disk)},
            stderr=subprocess.PIPE,
            text=True,
        )
        user.engines.append(engine)
        time.sleep(1)
        assert engine.poll() is None
        log = stops(user, engine)
        assert log.startswith("v2m-engine: ") and log.count("\n") == 1


@ROOT_ONLY
@pytest.mark.parametrize("patient", [True, False])
def test_a_bus_that_says_nothing(user: User, mic: AlsaMic, patient: bool) -> None:
    """Audio comes without real time, which is said."""
    unprivileged = ["setpriv", "--bounding-set=-sys_nice", "prlimit", "--rtprio=0:0"]
    if not all(shutil.which(program) for program in ("setpriv", "prlimit")):
        pytest.skip("no setpriv here")

    def refused() -> bool:
        reasons = [line for thread in user.status()["threads"] for line in thread["why_not"]]
        return any("RTKit: no answer" in line for line in reasons)

    with silent_bus(user.runtime / "bus") as address:
        engine = subprocess.Popen(
            [*unprivileged, BINARY, "run", "--source", "alsa:mic", "--capture", "always"],
            env=user.env | {"DBUS_SYSTEM_BUS_ADDRESS": address},
            stderr=subprocess.PIPE,
            text=True,
        )
        user.engines.append(engine)
        wait_until(lambda: user.command("status").returncode == 0, "an answer")
        if patient:
            wait_until(lambda: user.status()["state"] == "running", "audio")
            wait_until(refused, "the bus's refusal")
        stops(user, engine)
