"""What was heard stays with those who heard it while they were seen."""

from __future__ import annotations

import mmap
import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from rig import BINARY, wait_until
from rig.alsa import AlsaMic
from rig.hostile import connect


def open_ring(path: Path) -> tuple[socket.socket, mmap.mmap]:
    """The ring as a client that is no friend maps it."""
    peer = connect(path)
    peer.send(b'{"request":"open","version":2}')
    _, (ring,), _, _ = socket.recv_fds(peer, 65536, 1)
    memory = mmap.mmap(ring, 0, mmap.MAP_SHARED, mmap.PROT_READ)
    os.close(ring)
    return peer, memory


def samples(memory: mmap.mmap) -> tuple[int, int, bytes]:
    """What was claimed and committed, and all samples, by docs/ring-layout.md."""
    offset, capacity = struct.unpack_from("=QQ", memory, 0x88)
    claimed, committed = struct.unpack_from("=QQ", memory, 0x400)
    return claimed, committed, memory[offset : offset + 4 * capacity]


def is_gap(memory: mmap.mmap, first: int, end: int) -> bool:
    """Whether a record says that nothing was captured there."""
    offset, capacity = struct.unpack_from("=QQ", memory, 0x80 + 2 * 32 + 8)
    _, committed = struct.unpack_from("=QQ", memory, 0x400 + 2 * 0x80)
    for number in range(max(0, committed - capacity), committed):
        record = struct.unpack_from("=IIQQq", memory, offset + number % capacity * 32)
        kind, reason, position, length, _ = record
        if (kind, reason) == (1, 4) and position <= first and position + length >= end:
            return True
    return False


def microphone(user: Any, tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """The service, capturing from a microphone of ALSA's."""
    mic = AlsaMic(tmp_path, level=0.25)
    engine: subprocess.Popen[str] = user.start("--source", "alsa:mic", *arguments, **mic.env)
    return engine


def test_nothing_old_is_left_while_nobody_listens(user: Any, tmp_path: Path) -> None:
    microphone(user, tmp_path, "--linger", "0")
    peer, memory = open_ring(user.socket)
    wait_until(lambda: samples(memory)[1] > 8000, "half a second")
    assert any(samples(memory)[2])
    # A client that hangs up keeps its map, and finds nothing in it.
    peer.close()
    wait_until(lambda: user.status()["state"] == "idle", "the microphone to be left alone")
    wait_until(lambda: not any(samples(memory)[2]), "the audio to be gone")
    claimed, committed, _ = samples(memory)
    capacity = struct.unpack_from("=Q", memory, 0x90)[0]
    assert claimed == committed + capacity, "readers must know that it is not whole"
    # Who comes next gets what comes next, and finds a gap where it was.
    peer, _ = open_ring(user.socket)
    wait_until(lambda: any(samples(memory)[2]), "what comes next")
    claimed, now, data = samples(memory)
    assert claimed < now + capacity
    assert not any(data[: 4 * (committed - 1)])
    assert is_gap(memory, 0, committed)
    peer.close()
    memory.close()


def test_what_is_always_captured_is_always_there(user: Any, tmp_path: Path) -> None:
    microphone(user, tmp_path, "--linger", "0", "--capture", "always")
    peer, memory = open_ring(user.socket)
    wait_until(lambda: samples(memory)[1] > 4000, "a quarter of a second")
    peer.close()
    wait_until(lambda: samples(memory)[1] > 12_000, "more of it")
    assert any(samples(memory)[2][:4000])
    memory.close()


def ring_maps(pid: int) -> list[tuple[str, bool]]:
    """A process's maps of rings and bookmarks, and whether cores leave them out."""
    maps = []
    for part in re.split(
        r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text(), flags=re.M
    ):
        if "memfd:v2m-" in part:
            (flags,) = re.findall(r"^VmFlags:(.*)$", part, re.M)
            maps.append((part.splitlines()[0], "dd" in flags.split()))
    return maps


def test_no_core_holds_a_ring(user: Any, tmp_path: Path) -> None:
    engine = microphone(user, tmp_path)
    recorder = subprocess.Popen([BINARY, "record", str(tmp_path / "o.wav")], env=user.env)
    python = subprocess.Popen(
        [sys.executable, "-c", CLIENT], env=user.env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert python.stdout is not None and python.stdout.readline()
        wait_until(lambda: len(ring_maps(recorder.pid)) > 2, "the recorder's map")
        for process in (engine, recorder, python):
            maps = ring_maps(process.pid)
            assert len(maps) > 2 and all(left_out for _, left_out in maps), maps
    finally:
        for process in (recorder, python):
            process.kill()
            process.wait()


CLIENT = """
from v2m_engine import AudioCapture
with AudioCapture(engine="service").stream() as stream:
    next(iter(stream))
    print(flush=True)
    for chunk in stream:
        pass
"""


def test_who_listens_is_logged(user: Any, tmp_path: Path) -> None:
    engine = microphone(user, tmp_path)
    peer, memory = open_ring(user.socket)
    memory.close()
    peer.close()
    wait_until(lambda: user.status()["clients"] == 0, "the client to be gone")
    engine.terminate()
    _, log = engine.communicate(timeout=20)
    name = Path("/proc/self/comm").read_text().strip()
    for what in (r"listens to \S+ at 16000 Hz", "listens no more"):
        assert re.search(rf"process {os.getpid()} \({name}\) {what}$", log, re.M), log
