"""What a service manager does for the engine and hears from it, played by hand."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import BINARY, wait_until
from rig.user import SPEECH, User


class Manager:
    """The other end of NOTIFY_SOCKET, and the socket that is passed on."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.heard: list[str] = []
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(user.runtime / "notify"))
        threading.Thread(target=self._listen, daemon=True).start()
        user.socket.parent.mkdir(mode=0o700)
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door.bind(str(user.socket))
        self.door.listen()

    def _listen(self) -> None:
        while message := self.notify.recv(4096).decode():
            self.heard.extend(message.splitlines())

    def start(
        self,
        *arguments: str,
        door: socket.socket | None = None,
        count: int = 1,
        watchdog_s: float = 0,
    ) -> subprocess.Popen[str]:
        passed = (door or self.door).fileno()
        env = self.user.env | {"NOTIFY_SOCKET": str(self.user.runtime / "notify")}
        if watchdog_s:
            env["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        # The first descriptor passed is 3, and the process is told its own id.
        script = f'exec 3<&{passed}; LISTEN_PID=$$ LISTEN_FDS={count} exec "$@"'
        engine = subprocess.Popen(
            ["bash", "-c", script, "-", BINARY, "run", *arguments],
            env=env,
            pass_fds=[passed],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.user.engines.append(engine)
        return engine

    def fed(self) -> int:
        return self.heard.count("WATCHDOG=1")

    def close(self) -> None:
        self.door.close()
        # Ends the thread that listens.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(self.user.runtime / "notify"))


@pytest.fixture
def manager(user: User) -> Iterator[Manager]:
    manager = Manager(user)
    yield manager
    user.stop_all()
    manager.close()


def test_a_passed_socket_is_served_and_left_in_place(user: User, manager: Manager) -> None:
    # The client is there before the engine, as with socket activation.
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.settimeout(20)
    client.connect(str(user.socket))
    client.send(b'{"request":"status"}')
    engine = manager.start("--source", f"file:{SPEECH}")
    assert b'"reply":"status"' in client.recv(65536)
    assert user.status()["pid"] == engine.pid
    engine.terminate()
    assert engine.wait(10) == 0
    assert user.socket.exists(), "the socket is its owner's"
    again = manager.start("--source", f"file:{SPEECH}")
    assert user.status()["pid"] == again.pid


def test_readiness_state_and_end_are_told(user: User, manager: Manager) -> None:
    engine = manager.start("--source", f"file:{SPEECH}")
    wait_until(lambda: "READY=1" in manager.heard, "readiness")
    assert user.status()["pid"] == engine.pid
    wait_until(lambda: f"STATUS=capturing {SPEECH}" in manager.heard, "what it captures")
    engine.terminate()
    assert engine.wait(10) == 0
    wait_until(lambda: "STOPPING=1" in manager.heard, "the end")
    assert "WATCHDOG=1" not in manager.heard, "nobody asked for it"


def test_the_watchdog_starves_with_a_stopped_engine(manager: Manager) -> None:
    engine = manager.start("--source", f"file:{SPEECH}", watchdog_s=0.6)
    # The file comes to its end, and nothing has to progress after it.
    wait_until(lambda: "STATUS=ended" in manager.heard, "the end of the file")
    before = manager.fed()
    wait_until(lambda: manager.fed() > before + 2, "the watchdog to be fed")
    engine.send_signal(signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{engine.pid}/stat").read_text().split()[2] == "T", "the stop")
    before = manager.fed()
    with pytest.raises(AssertionError):
        wait_until(lambda: manager.fed() > before, "food from a stopped engine", seconds=2)
    engine.send_signal(signal.SIGCONT)
    wait_until(lambda: manager.fed() > before, "the watchdog to be fed again")


@pytest.mark.parametrize("kind", ["stream", "connected", "two"])
def test_an_unfit_socket_is_refused_with_a_reason(manager: Manager, kind: str) -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.bind(str(manager.user.runtime / "stream"))
    stream.listen()
    door = {"stream": stream, "connected": one, "two": manager.door}[kind]
    count = 2 if kind == "two" else 1
    spare = os.dup(door.fileno())
    os.close(spare)
    engine = manager.start(door=door, count=count)
    error = engine.communicate(timeout=20)[1]
    assert engine.returncode in (1, 2), error
    assert "systemd" in error and "panicked" not in error
    for each in (one, other, stream):
        each.close()


def test_other_processes_notifications_are_not_a_private_engines(user: User) -> None:
    """A client that is a service itself passes its environment on."""
    manager = Manager(user)
    env = {"NOTIFY_SOCKET": str(user.runtime / "notify"), "LISTEN_PID": "1", "LISTEN_FDS": "1"}
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    engine = subprocess.Popen(
        [BINARY, "run", "--source", f"file:{SPEECH}", "--private"],
        env=user.env | env,
        stdin=theirs,
    )
    theirs.close()
    ours.settimeout(20)
    ours.send(b'{"request":"status"}')
    assert b'"reply":"status"' in ours.recv(65536)
    ours.close()
    assert engine.wait(10) == 0
    manager.close()
    assert manager.heard == []
