"""An engine that lies: its ring is one by docs/ring-layout.md, and then changes as it likes."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import random
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

from rig import ROOT

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | 0x0010 | fcntl.F_SEAL_SEAL
HEADER = 65536
#: Bytes of an element, by lane: samples, clock, gaps, speech, turns, notices, echo.
ELEMENT = (4, 8, 32, 4, 32, 32, 8)
COUNTERS, STRIDE = 0x400, 0x80
WAKE, ENGINE = 0x800, 0x900
WINDOW = 512
#: What a counter may be said to be.
EDGES = (0, 1, 511, 512, 65_535, 65_536, 2**31, 2**32, 2**48, 2**62, 2**63, 2**64 - 1)


def example_status() -> dict[str, object]:
    """The status in docs/status.md, of an engine that finds speech."""
    text = (ROOT / "docs/status.md").read_text()
    status: dict[str, Any] = json.loads(text.split("```json\n")[1].split("```")[0])
    status["vad"]["problem"] = None
    return status


class LyingEngine:
    """Serves its ring at `path` until it is closed; what it lies about is drawn from `seed`."""

    def __init__(
        self, path: Path, seed: int, *, samples: int = 65536, sparse: bool = False
    ) -> None:
        self.random = random.Random(seed)
        self.capacities = (samples, max(8192, samples // 512), 2048, max(16384, samples // 512))
        self.capacities += (2048, 2048, max(8192, samples // 512))
        self.offsets = []
        at = HEADER
        for element, capacity in zip(ELEMENT, self.capacities, strict=True):
            self.offsets.append(at)
            at += element * capacity
        self.size = at
        self.file = os.memfd_create("lies", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.ftruncate(self.file, self.size)
        if not sparse:
            os.posix_fallocate(self.file, 0, self.size)
        self.memory = mmap.mmap(self.file, self.size)
        self.memory[:0x980] = self.header()
        fcntl.fcntl(self.file, fcntl.F_ADD_SEALS, SEALS)
        self.lies = self.random.sample(
            [self.counter, self.counter, self.record, self.samples, self.state, self.standstill],
            self.random.randrange(1, 4),
        )
        self.stop = threading.Event()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.bind(str(path))
        self.socket.listen(64)
        self.peers: list[socket.socket] = []
        self.threads = [
            threading.Thread(target=self.write, daemon=True),
            threading.Thread(target=self.accept, daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    def header(self) -> bytes:
        header = bytearray(0x980)
        header[:8] = b"v2m-ring"
        struct.pack_into("=IIQ16sIIII", header, 8, 2, HEADER, self.size, os.urandom(16), 16_000,
                         WINDOW, 7, os.getpid())  # fmt: skip
        for lane, (offset, capacity) in enumerate(zip(self.offsets, self.capacities, strict=True)):
            struct.pack_into(
                "=IIQQ", header, 0x80 + 32 * lane, lane, ELEMENT[lane], offset, capacity
            )
        struct.pack_into("=QI", header, ENGINE, 0, 1)
        return bytes(header)

    def put(self, lane: int, claimed: int, committed: int) -> None:
        at = COUNTERS + STRIDE * lane
        struct.pack_into("=QQ", self.memory, at, claimed % 2**64, committed % 2**64)

    def write(self) -> None:
        """Honest for a moment, then not."""
        begun = time.monotonic()
        written = 0
        # Some go back to the truth each time, others stay with what they said last.
        relents = self.random.random() < 0.4
        while not self.stop.is_set():
            now = time.monotonic()
            written = max(written, int((now - begun) * 16_000))
            if relents or now - begun < 0.3:
                windows = -(-written // WINDOW)
                self.put(0, written, written)
                self.put(1, windows, windows)
                self.put(3, written // WINDOW, written // WINDOW)
                self.put(6, written // WINDOW, written // WINDOW)
            struct.pack_into("=Q", self.memory, ENGINE, time.monotonic_ns())
            if now - begun > 0.3:
                self.random.choice(self.lies)()
            (word,) = struct.unpack_from("=I", self.memory, WAKE)
            struct.pack_into("=I", self.memory, WAKE, (word + 1) % 2**32)
            time.sleep(self.random.choice([0.0, 0.001, 0.01, 0.05]))

    def counter(self) -> None:
        lane = self.random.randrange(7)
        draw = self.random.choice
        committed = (draw(EDGES) + self.random.randrange(3)) % 2**64
        claimed = draw([committed, committed + 1, committed - 1, draw(EDGES), committed + 65_536])
        self.put(lane, claimed, committed)
        time.sleep(draw([0.0, 0.001, 0.3]))

    def record(self) -> None:
        """Records that overlap, go back, and never end."""
        lane = self.random.choice([2, 4, 5])
        count = self.random.choice([1, 2047, 2048, 5000])
        for _ in range(20):
            at = self.offsets[lane] + 32 * self.random.randrange(2048)
            edge = self.random.choice
            struct.pack_into("=IIQQq", self.memory, at, self.random.randrange(8),
                             self.random.randrange(8), edge(EDGES), edge(EDGES), -1)  # fmt: skip
        self.put(lane, count, count)

    def samples(self) -> None:
        """No numbers, infinities, and probabilities beyond what there is."""
        for lane in (0, 3):
            at = self.offsets[lane] + 4 * self.random.randrange(16_000)
            self.memory[at : at + 256] = self.random.randbytes(256)

    def state(self) -> None:
        struct.pack_into("=I", self.memory, ENGINE + 8, self.random.choice([0, 1, 2, 3, 4, 5, 99]))

    def standstill(self) -> None:
        time.sleep(0.3)

    def accept(self) -> None:
        while not self.stop.is_set():
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            self.peers.append(peer)
            thread = threading.Thread(target=self.answer, args=(peer,), daemon=True)
            thread.start()

    def answer(self, peer: socket.socket) -> None:
        try:
            while data := peer.recv(4096):
                if json.loads(data)["request"] == "open":
                    reply = json.dumps(
                        {
                            "reply": "opened",
                            "source": "default",
                            "channel": "auto",
                            "rate": 16_000,
                        }
                    ).encode()
                    socket.send_fds(peer, [reply], [self.file])
                else:
                    status = {"reply": "status", "status": example_status()}
                    peer.send(json.dumps(status).encode())
        except OSError:
            pass

    def close(self) -> None:
        self.stop.set()
        self.socket.shutdown(socket.SHUT_RDWR)
        for peer in self.peers:
            peer.close()
        for thread in self.threads:
            thread.join()
        self.socket.close()
        self.memory.close()
        os.close(self.file)
