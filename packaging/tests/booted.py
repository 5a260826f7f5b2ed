"""A Debian root that is booted: systemd, a user's session manager, PipeWire, RTKit."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from roots import Root, new_directory, packages, remove

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
USER_ENV = [
    "HOME=/home/user",
    "USER=user",
    "LC_ALL=C.UTF-8",
    "XDG_RUNTIME_DIR=/run/user/1000",
    "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus",
]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """Polls until the condition holds; the limit only turns a hang into a failure."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still waiting for: {what}"
        time.sleep(0.1)
    return result


# RTKit allows its own user a few processes, which the kernel counts on the whole machine: here
# that user has a number that nobody outside has.
RTKIT_USER = 60_578 + os.getpid() % 600


@contextlib.contextmanager
def booted(name: str, prepare: Callable[[Root], None]) -> Iterator[Machine]:
    """A Debian with the engine's packages, made ready by `prepare`, and booted."""
    directory = new_directory(name)
    try:
        root = Root(directory, "trixie", booted=True)
        root.run("useradd", "--create-home", "--uid=1000", "user")
        root.run("usermod", f"--uid={RTKIT_USER}", "rtkit")
        root.install(*packages("*engine_*.deb"))
        prepare(root)
        machine = Machine(root)
        try:
            machine.boot()
            yield machine
        finally:
            machine.stop()
    finally:
        remove(directory)


class Machine:
    """The running container; its user is `user`, who stays logged in."""

    def __init__(self, root: Root) -> None:
        self.root = root
        directory = root.directory
        linger = directory / "var/lib/systemd/linger"
        linger.mkdir(parents=True, exist_ok=True)
        (linger / "user").touch()
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.nspawn = subprocess.Popen(
            [
                # Whatever happens to the tests, it does not outlive them.
                *("setpriv", "--pdeathsig=KILL"),
                *("systemd-nspawn", "--quiet", f"--directory={directory}", "--boot"),
                *("--register=no", "--keep-unit", "--private-network", "--console=pipe"),
                # Its own filter has no mlock(2), which a real machine grants.
                "--system-call-filter=@memlock",
            ],
            env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        self.leader = ""

    def boot(self) -> None:
        """Waits until the user's session is there."""
        wait_for(self._leads, "the container's first process")
        wait_for(
            lambda: self.user("systemctl", "--user", "is-active", "pipewire", check=False),
            "the user's PipeWire",
            seconds=180,
        )

    def _leads(self) -> bool:
        if self.nspawn.poll() is not None:
            self.log.seek(0)
            raise AssertionError(f"systemd-nspawn ended:\n{self.log.read()}")
        pid = self.nspawn.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            # Others come and go before it.
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    self.leader = child
        return bool(self.leader)

    def command(self, *command: str, as_user: bool) -> list[str]:
        enter = ["nsenter", "--target", self.leader, "--all", "--root", "--wd"]
        env = ["env", "-i", f"PATH={PATH}"]
        if as_user:
            # It ends with the nsenter that it is a child of.
            env += ["setpriv", "--reuid=1000", "--regid=1000", "--init-groups", "--pdeathsig=KILL"]
            env += ["env", *USER_ENV]
        return [*enter, *env, *command]

    def run(
        self, *command: str, as_user: bool, check: bool = True, timeout: float = 120
    ) -> str | None:
        """The output; without `check`, None if the command failed."""
        done = subprocess.run(
            self.command(*command, as_user=as_user),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout
        assert not check, f"{command}: {done.returncode}\n{done.stdout}"
        return None

    def user(self, *command: str, check: bool = True) -> str | None:
        return self.run(*command, as_user=True, check=check)

    def admin(self, *command: str) -> str | None:
        return self.run(*command, as_user=False)

    def unit(self, prop: str) -> str:
        """A property of the engine's unit."""
        shown = self.user("systemctl", "--user", "show", "-P", prop, "v2m-engine.service")
        return (shown or "").strip()

    def status(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.user("v2m-engine", "status", "--json") or "")
        return result

    def stop(self) -> None:
        try:
            if self.leader:
                self.run("poweroff", as_user=False, check=False)
                self.nspawn.wait(60)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.nspawn.kill()
            self.nspawn.wait()
            self.log.close()


CLIENT = """
import json, sys
from v2m_engine import AudioCapture
with AudioCapture(buffer_size=1600, engine=sys.argv[1]).stream(timeout=60) as audio:
    for chunk in audio:
        loudest = max(map(abs, memoryview(chunk)))
        line = [chunk.position, chunk.gap, loudest, audio.private_engine_pid]
        print(json.dumps(line), flush=True)
"""


class Client:
    """A Python program in there that reads for as long as it is left alone."""

    def __init__(self, machine: Machine, engine: str = "auto") -> None:
        self.chunks: list[tuple[int, bool, float, int | None]] = []
        self.errors = ""
        self.process = subprocess.Popen(
            machine.command("python3", "-c", CLIENT, engine, as_user=True),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout and self.process.stderr
        for line in self.process.stdout:
            self.chunks.append(tuple(json.loads(line)))
        self.errors = self.process.stderr.read()

    def more(self, count: int = 10) -> list[tuple[int, bool, float, int | None]]:
        """Waits for so many more chunks."""
        begin = len(self.chunks)

        def there() -> bool:
            ended = self.process.poll()
            assert ended is None, f"the client ended ({ended}): {self.errors}"
            return len(self.chunks) >= begin + count

        wait_for(there, f"{count} more chunks")
        return self.chunks[begin : begin + count]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
