"""What the tests of hostile company share: how it looks, and that nothing is lost by it."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: The full numbers (minutes); without it a short form of each.
LONG = bool(os.environ.get("V2M_TEST_HOSTILE_LONG"))
#: Another user of this machine.
NOBODY = 65534
IS_ROOT = os.geteuid() == 0

#: Names as devices, programs and engines may have them, and what must not be seen of them.
ODD = [
    "\x1b[2J\x1b[H",
    "\x1b]0;title\x07",
    "two\nlines",
    "back\rspace\b\b\b",
    "tab\tbell\a",
    "\x9b31mred",
    "\u202egpj.exe",
    "\u2066isolated\u2069",
    "zero\u200bwidth\ufeff",
    "line\u2028paragraph\u2029",
    "\x7fdelete",
    "private\ue000use",
    "tag\U000e0041",
    "\u061calm",
]


def is_clean(text: str) -> bool:
    """Whether a terminal shows all of it, in order, and does nothing else."""
    return all(line.isprintable() for line in text.split("\n"))


def connect(path: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(20)
    peer.connect(str(path))
    return peer


def ask(peer: socket.socket, request: object) -> dict[str, object]:
    peer.send(json.dumps(request).encode())
    reply: dict[str, object] = json.loads(peer.recv(65536))
    return reply


def open_descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid: int) -> int:
    """Bytes of a process that no file stands behind."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


READER = """
import sys
from v2m_engine import AudioCapture
next_position = None
with AudioCapture(engine="service", buffer_size=1600).stream() as stream:
    for chunk in stream:
        samples = bytes(memoryview(chunk).cast("B"))
        whole = next_position in (None, chunk.position) and not chunk.gap
        print("whole" if whole else f"lost before {chunk.position}", flush=True)
        next_position = chunk.position + 1600
"""


@contextmanager
def undisturbed(env: dict[str, str]) -> Iterator[None]:
    """A reader of the engine beside what happens meanwhile; it must lose nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", READER], env=env, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said: list[str] = [process.stdout.readline().strip()]
    rest = threading.Thread(target=lambda: said.extend(map(str.strip, process.stdout or [])))
    rest.start()
    try:
        yield
        before = len(said)
        # It still gets what comes.
        for _ in range(2000):
            if len(said) > before + 2 or process.poll() is not None:
                break
            threading.Event().wait(0.01)
        assert len(said) > before + 2, "the reader gets no more"
        assert set(said) == {"whole"}, said
    finally:
        process.kill()
        process.wait()
        rest.join()


def as_nobody(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python as another user, to its end."""
    # What it imports may lie where the other user can't go.
    become = f"import os, socket, sys\nos.setgid({NOBODY})\nos.setuid({NOBODY})\n"
    return subprocess.run(
        [sys.executable, "-c", become + code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Messages:
    """Messages that an engine should not get, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pipes = os.pipe()

    def close(self) -> None:
        for end in self.pipes:
            os.close(end)

    def send(self, peer: socket.socket) -> None:
        """Sends one, with up to as many descriptors as the kernel lets a message have."""
        draw = self.random
        count = draw.choice([0, 0, 0, 1, 2, 4, 5, 6, 17, 253])
        socket.send_fds(peer, [self.packet()], [self.pipes[0]] * count)

    def packet(self) -> bytes:
        draw = self.random
        honest = draw.choice(
            [
                {"request": "open", "version": 2},
                {"request": "open", "version": 2, "latency": "128/48000", "observe": True},
                {"request": "status"},
            ]
        )
        text = bytearray(json.dumps(honest).encode())
        match draw.randrange(6):
            case 0:
                return draw.randbytes(draw.randrange(1, 5000))
            case 1:
                for _ in range(draw.randrange(1, 4)):
                    text[draw.randrange(len(text))] = draw.randrange(256)
            case 2:
                del text[draw.randrange(len(text)) :]
            case 3:
                return b"[" * draw.randrange(1, 4096)
            case 4:
                odd = draw.choice(ODD)
                return json.dumps(honest | {draw.choice(["request", "latency", "x"]): odd}).encode()
        return bytes(text) or b"{"


def talk(path: Path, count: int, seed: int) -> None:
    """Sends so many hostile messages, over as many connections as it takes."""
    messages = Messages(seed)
    sent = 0
    try:
        while sent < count:
            with connect(path) as peer, suppress(OSError):
                # Some wait for the answers, some don't read.
                patient = messages.random.random() < 0.5
                for _ in range(messages.random.randrange(1, 50)):
                    sent += 1
                    messages.send(peer)
                    if patient and not peer.recv(65536):
                        break
    finally:
        messages.close()
