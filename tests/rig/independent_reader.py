"""A reader of the ring written from docs/ring-layout.md alone: mmap, struct, sockets.

It shares no code with the package, so that the document, not the code, is tested.
Python has no atomic loads: this one relies on x86, where loads stay in order.
"""

from __future__ import annotations

import array
import fcntl
import json
import mmap
import os
import socket
import struct
from typing import NamedTuple

F_GET_SEALS = 1034
SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0010
HEADER = 65536
#: Rate in Hz, and samples of a window of 32 ms.
RATES = {8000: 256, 16000: 512, 24000: 768, 32000: 1024, 48000: 1536}
ELEMENT_SIZES = [4, 8, 32, 4, 32, 32, 8]
SAMPLES, CLOCK, GAPS, SPEECH, TURNS, NOTICES, ECHO = range(7)


class NotARing(Exception):
    pass


class Overwritten(Exception):
    pass


class Record(NamedTuple):
    kind: int
    detail: int
    position: int
    length: int
    time_ns: int


def require(condition: bool, what: str) -> None:
    if not condition:
        raise NotARing(what)


def connect(path: str, rate: int = 16000) -> tuple[socket.socket, int, str]:
    """The connection, the ring's descriptor, and the source."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.connect(path)
    _, uid, _ = struct.unpack(
        "3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    require(uid == os.getuid(), "another user's engine")
    peer.send(json.dumps({"request": "open", "version": 2, "rate": rate}).encode())
    packet, ancillary, _, _ = peer.recvmsg(65536, socket.CMSG_SPACE(4))
    reply = json.loads(packet)
    require(reply["reply"] == "opened" and reply["rate"] == rate, str(reply))
    ((level, kind, data),) = ancillary
    require((level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS), "no descriptor")
    (descriptor,) = struct.unpack("i", data)
    return peer, descriptor, reply["source"]


class Ring:
    def __init__(self, descriptor: int) -> None:
        require(fcntl.fcntl(descriptor, F_GET_SEALS) & SEALS == SEALS, "not sealed")
        size = os.fstat(descriptor).st_size
        require(size >= HEADER, "too short")
        self.map = mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ)
        header = self.map[:0x980]
        magic, version, header_size, total = struct.unpack_from("=8sIIQ", header)
        require(magic == b"v2m-ring" and version == 2 and header_size == HEADER, "header")
        require(total == size, "size")
        self.rate, self.window, lanes = struct.unpack_from("=3I", header, 0x028)
        require(RATES.get(self.rate) == self.window and lanes == 7, "constants")
        self.id = header[0x018:0x028]
        (self.engine_pid,) = struct.unpack_from("=I", header, 0x034)
        self.lanes: list[tuple[int, int]] = []
        free = HEADER
        for number, expected in enumerate(ELEMENT_SIZES):
            entry = struct.unpack_from("=IIQQ", header, 0x080 + 32 * number)
            lane, element, offset, capacity = entry
            require((lane, element, offset) == (number, expected, free), f"lane {number}")
            require(capacity > 0 and capacity & (capacity - 1) == 0, "capacity")
            require(capacity * element % HEADER == 0, "alignment")
            free += capacity * element
            require(free <= size, "end")
            self.lanes.append((offset, capacity))
        self.history = self.lanes[SAMPLES][1]
        require(self.history >= 65536, "history")
        for lane in (CLOCK, SPEECH, ECHO):
            require(self.lanes[lane][1] >= -(-self.history // self.window), "windows")

    def _u64(self, offset: int) -> int:
        return int(struct.unpack_from("=Q", self.map, offset)[0])

    def committed(self, lane: int = SAMPLES) -> int:
        return self._u64(0x400 + 128 * lane + 8)

    def claimed(self, lane: int = SAMPLES) -> int:
        return self._u64(0x400 + 128 * lane)

    def read(self, lane: int, first: int, count: int) -> bytes:
        """Elements [first, first + count), which are committed."""
        offset, capacity = self.lanes[lane]
        size = ELEMENT_SIZES[lane]
        assert count <= capacity
        assert first + count <= self.committed(lane)
        at = first & (capacity - 1)
        until_end = min(count, capacity - at)
        data = self.map[offset + at * size : offset + (at + until_end) * size]
        data += self.map[offset : offset + (count - until_end) * size]
        if first + capacity < self.claimed(lane):
            raise Overwritten(first)
        return data

    def samples(self, position: int, count: int) -> array.array[float]:
        return array.array("f", self.read(SAMPLES, position, count))

    def speech(self, window: int, count: int) -> array.array[float]:
        return array.array("f", self.read(SPEECH, window, count))

    def echo(self, window: int) -> tuple[float, bool, bool, bool]:
        """How many dB were taken off; whether something played, both spoke, it was learning."""
        decibels, flags = struct.unpack("=fI", self.read(ECHO, window, 1))
        return decibels, bool(flags & 1), bool(flags & 2), bool(flags & 4)

    def time_ns(self, position: int) -> int:
        (start,) = struct.unpack("=q", self.read(CLOCK, position // self.window, 1))
        return int(start + position % self.window * 1_000_000_000 // self.rate)

    def records(self, lane: int) -> list[Record]:
        """All records that are still there."""
        committed = self.committed(lane)
        first = max(0, committed - self.lanes[lane][1])
        data = self.read(lane, first, committed - first)
        return [Record(*fields) for fields in struct.iter_unpack("=IIQQq", data)]

    def sources(self) -> list[str]:
        """The names of the sources that were captured, in order."""
        records = self.records(NOTICES)
        names = []
        for number, device in enumerate(records):
            if device.kind == 4:
                pieces = records[number - -(-device.detail // 8) : number]
                numbers = [piece.detail for piece in pieces if piece.kind == 9]
                require(numbers == [*range(len(pieces))], "name")
                data = b"".join(struct.pack("=Q", piece.length) for piece in pieces)
                names.append(data[: device.detail].decode())
        return names

    def counters(self) -> dict[str, int]:
        names = ("gaps", "lost_samples", "xruns", "repeated", "written_ns")
        return dict(zip(names, struct.unpack_from("=5Q", self.map, 0x880), strict=True))

    def wake_word(self) -> int:
        return int(struct.unpack_from("=I", self.map, 0x800)[0])

    def heartbeat_ns(self) -> int:
        return int(struct.unpack_from("=q", self.map, 0x900)[0])

    def state(self) -> int:
        return int(struct.unpack_from("=I", self.map, 0x908)[0])
