"""What threads get as root, as an ordinary user without limits, and with them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import BINARY, PrivatePipeWire, wait_until
from rig.alsa import AlsaMic
from rig.service import Engine, status

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a user")


class Other:
    """A second user, with a directory of its own and a copy of the engine."""

    def __init__(self, name: str) -> None:
        self.name = name
        # Not pytest's directory, which nobody else may enter.
        self.home = Path(tempfile.mkdtemp(prefix="v2m-user-"))
        self.home.chmod(0o755)
        self.binary = self.home / "v2m-engine"
        shutil.copy(BINARY, self.binary)
        (self.home / "run").mkdir(mode=0o700)
        shutil.chown(self.home / "run", name, name)

    def command(self, *limits: str) -> list[str]:
        """What makes root's child this user's, within these limits."""
        user = ["setpriv", "--reuid", self.name, "--regid", self.name, "--clear-groups"]
        caps = ["--inh-caps=-all"]
        if limits == NICE:
            limits, caps = (), ["--inh-caps=+sys_nice", "--ambient-caps=+sys_nice"]
        return ["prlimit", *limits, *user, *caps, str(self.binary)]

    def env(self, runtime: Path, **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home / "run"),
            "XDG_RUNTIME_DIR": str(runtime),
            "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus",
        } | more


@pytest.fixture
def other() -> Iterator[Other]:
    name = f"v2m-test-{os.getpid()}"
    subprocess.run(
        ["useradd", "--system", "--user-group", "--no-create-home", name], check=True, timeout=30
    )
    try:
        user = Other(name)
        yield user
        shutil.rmtree(user.home)
    finally:
        subprocess.run(["userdel", name], check=False, timeout=30)


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(other: Other) -> Iterator[Run]:
    """Runs the engine as the second user; its status once it captures."""
    engines: list[subprocess.Popen[bytes]] = []

    def start(
        *arguments: str,
        limits: tuple[str, ...],
        runtime: Path | None = None,
        env: dict[str, str],
    ) -> dict[str, Any]:
        command = other.command(*limits)
        whole = other.env(runtime or other.home / "run", **env)
        whole["V2M_ENGINE_SOCKET"] = str(other.home / "run/engine.sock")
        engine = [*command, "run", "--capture", "always", *arguments]
        engines.append(subprocess.Popen(engine, env=whole))

        def answer() -> dict[str, Any] | None:
            done = subprocess.run(
                [*command, "status", "--json"],
                env=whole,
                capture_output=True,
                timeout=20,
                check=False,
            )
            found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
            flows = found and found["state"] == "running" and found["ring"]["position"] > 1600
            return found if flows and audio(found) else None

        found: dict[str, Any] = wait_until(answer, "capture", seconds=20)
        return found

    yield start
    for engine in engines:
        engine.terminate()
        assert engine.wait(15) == 0


def audio(found: dict[str, Any]) -> dict[str, Any] | None:
    """The thread that captures."""
    for thread in found["threads"]:
        if thread["role"] == "capture":
            result: dict[str, Any] = thread
            return result
    return None


UNLIMITED = ("--rtprio=20", "--memlock=67108864")
#: No limits but the capability, which takes no right to raise a limit: a root that may not raise
#: them finds them raised in the emulated machine (tests/machine/alsa/users.rs).
NICE = ("CAP_SYS_NICE",)
NOTHING = ("--rtprio=0", "--nice=0", "--memlock=65536")


def may_raise_limits() -> bool:
    """Root in a container may not, without CAP_SYS_RESOURCE."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line
    )
    return bool(int(line.split()[1], 16) & 1 << 24)


def test_without_limits_and_rtkit_all_works_and_says_what_it_lacks(
    run: Run, other: Other, tmp_path: Path
) -> None:
    mic = AlsaMic(other.home, level=0.25)
    for path in other.home.glob("alsa*"):
        shutil.chown(path, other.name)
    found = run("--source", "alsa:mic", limits=NOTHING, env=mic.env)
    thread = audio(found)
    assert thread and not thread["real_time"] and thread["asked"] == "fifo 70"
    assert thread["got"].startswith("not real time") and thread["by"] == "nobody"
    reasons = " ".join(thread["why_not"])
    assert "RLIMIT_RTPRIO is 0" in reasons and "RTKit" in reasons and "RLIMIT_NICE" in reasons
    degraded = "\n".join(found["degraded"])
    assert "v2m-alsa runs without real time" in degraded
    assert "v2m-wake runs without real time" in degraded
    assert "not granted: ring" in degraded and "RLIMIT_MEMLOCK is 64 KiB" in degraded
    assert found["losses"]["xruns"] == 0 or found["losses"]["lost_samples"] > 0


def test_what_the_system_grants_is_used(run: Run, other: Other) -> None:
    mic = AlsaMic(other.home, level=0.25)
    for path in other.home.glob("alsa*"):
        shutil.chown(path, other.name)
    limits = UNLIMITED if may_raise_limits() else NICE
    found = run("--source", "alsa:mic", limits=limits, env=mic.env)
    threads = {thread["name"]: thread for thread in found["threads"]}
    highest = 20 if limits == UNLIMITED else 70
    assert threads["v2m-alsa"]["got"] == f"fifo {highest}"
    assert threads["v2m-wake"]["got"] == f"fifo {highest - 1}"
    assert all(thread["by"] == "limits" for thread in threads.values())
    memory = [grant for grant in found["grants"] if "KiB locked" in grant["asked"]]
    assert {grant["asked"].split(":")[0] for grant in memory} >= {
        "ring",
        "scratch",
        "stack of v2m-alsa",
        "stack of v2m-wake",
        "ALSA period",
    }
    if limits == UNLIMITED:
        assert all(grant["granted"] for grant in memory), memory


def test_pipewires_own_thread_is_looked_at(run: Run, other: Other, rig: PrivatePipeWire) -> None:
    """As the second user, who gets nothing of it; as root, who gets all."""
    for path in (rig.directory, rig.directory / "pipewire-0"):
        path.chmod(0o777)
    found = run(limits=NOTHING, runtime=rig.directory, env={})
    thread = audio(found)
    assert thread and thread["by"] == "PipeWire" and not thread["real_time"]
    assert "libpipewire asked" in thread["why_not"][0]
    assert any(f"{thread['name']} runs without real time" in line for line in found["degraded"])

    mic = AlsaMic(rig.directory, level=0.25)
    with Engine(rig, "--source", "alsa:mic", **mic.env):
        thread = wait_until(lambda: audio(status(rig)), "the ALSA thread")
        assert thread["got"] == "fifo 70" and thread["why_not"] == []
    with Engine(rig):
        wait_until(lambda: audio(status(rig)), "the data thread")
        found = status(rig)
        thread = audio(found)
        assert thread and thread["real_time"] and thread["got"].startswith("fifo")
        asked = {grant["asked"].split(":")[0] for grant in found["grants"] if grant["granted"]}
        assert asked >= {"ring", "cycle", f"stack of {thread['name']}"}
        if os.access("/dev/cpu_dma_latency", os.W_OK):
            assert "/dev/cpu_dma_latency 0 µs" in asked
            rig.kill()
            wait_until(lambda: status(rig)["state"] == "waiting", "the loss")
            time.sleep(0.2)
            held = [grant["asked"] for grant in status(rig)["grants"]]
            assert "/dev/cpu_dma_latency 0 µs" not in held, "kept though nothing is captured"
