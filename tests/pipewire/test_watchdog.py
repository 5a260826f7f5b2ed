"""The service manager's watchdog is fed as long as the engine's own threads are well, whatever
becomes of the audio: it starves where a restart helps."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from rig import PrivatePipeWire
from rig.holding import held, thread_named
from rig.service import Engine


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, rig: PrivatePipeWire) -> None:
        self.rig = rig
        path = str(rig.directory / "notify")
        self.heard: list[str] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        # Fed every 0.2 s, as long as it is.
        self.env = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "600000"}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while message := self.socket.recv(4096).decode():
            self.heard.extend(message.splitlines())

    def wait_for(self, line: str, times: int = 1) -> None:
        """Until it was heard so often from now on."""
        before = self.heard.count(line)
        self.rig.wait_for(lambda: self.heard.count(line) >= before + times, line, 30)

    def starves(self) -> bool:
        """Whether ten meals are missed in a row."""
        before = self.heard.count("WATCHDOG=1")
        time.sleep(2)
        return self.heard.count("WATCHDOG=1") == before

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.env["NOTIFY_SOCKET"])


@pytest.fixture
def manager(rig: PrivatePipeWire) -> Iterator[Manager]:
    manager = Manager(rig)
    yield manager
    manager.close()


def test_it_is_fed_while_the_daemon_hangs(rig: PrivatePipeWire, manager: Manager) -> None:
    """That is not the engine's fault, and a restart wouldn't help."""
    with Engine(rig, "--source", "rig-mic", **manager.env):
        rig.wait_for(lambda: "STATUS=capturing rig-mic" in manager.heard, "the link")
        rig.freeze()
        try:
            why = "STATUS=not capturing: rig-mic gives no audio: PipeWire does not answer"
            rig.wait_for(lambda: any(line.startswith(why) for line in manager.heard), why)
            manager.wait_for("WATCHDOG=1", 5)
        finally:
            rig.thaw()
        manager.wait_for("STATUS=capturing rig-mic")


def test_it_starves_with_a_thread_that_hangs(rig: PrivatePipeWire, manager: Manager) -> None:
    with Engine(rig, "--source", "rig-mic", **manager.env) as engine:
        manager.wait_for("WATCHDOG=1", 3)
        with held(thread_named(engine.process.pid, "v2m-server")):
            rig.wait_for(manager.starves, "an end of the feeding", 30)
        manager.wait_for("WATCHDOG=1", 3)


def test_it_is_fed_where_nothing_can_be_expected(rig: PrivatePipeWire, manager: Manager) -> None:
    with Engine(rig, "--capture", "while-used", **manager.env):
        rig.wait_for(lambda: "READY=1" in manager.heard, "readiness")
        manager.wait_for("WATCHDOG=1", 3)
    assert not [line for line in manager.heard if line.startswith("STATUS=capturing")]


def test_it_is_fed_without_its_source(rig: PrivatePipeWire, manager: Manager) -> None:
    with Engine(rig, "--source", "nowhere", **manager.env):
        rig.wait_for(lambda: "READY=1" in manager.heard, "readiness")
        manager.wait_for("WATCHDOG=1", 3)
