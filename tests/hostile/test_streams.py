"""Clients that ask for more streams than there are: refused within the documented limits, and
nobody else notices."""

from __future__ import annotations

import json
import random
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from rig import wait_until
from rig.hostile import LONG, ODD, connect, is_clean, memory, open_descriptors, undisturbed
from rig.peer import Peer
from rig.user import SPEECH, User

RATES = (8_000, 16_000, 24_000, 32_000, 48_000)
#: All of these are no rate that there is.
ODD_RATES = (0, 1, 7_999, 11_025, 16_001, 44_100, 96_000, 2**32 - 1, 2**32, -16_000, 1.5e4, "16000")


def wanted(draw: random.Random, tmp_path: Path) -> dict[str, Any]:
    """A stream as nobody should ask for it, now and then one that can be had."""
    files = [f"file:{tmp_path}/{draw.randrange(200)}.wav", f"file:{SPEECH}", "null:"]
    names = [*ODD, "x" * 3000, "", ":", "app:", "alsa:", "file:", "file:/", "file:/dev/zero"]
    names += ["file:/proc/self/mem", f"file:{tmp_path}", "clean:clean", "monitor:monitor:x"]
    kind = draw.choice(["file:", "app:", "monitor:", "alsa:", "clean:", "", "null:"])
    stream: dict[str, Any] = {"observe": draw.random() < 0.5}
    match draw.randrange(4):
        case 0:
            stream["source"] = draw.choice(files)
        case 1:
            stream["source"] = kind + draw.choice(names)
        case 2:
            stream["source"] = kind + draw.choice(names) + str(draw.randrange(10_000))
    if draw.random() < 0.6:
        stream["rate"] = draw.choice([*RATES, *RATES, *ODD_RATES])
    if draw.random() < 0.2:
        stream["channel"] = draw.choice(["auto", "mix", "FL", "9", "-1", "99999999999", *ODD])
    return stream


def ask_for_many(user: User, tmp_path: Path, count: int, seed: int, shown: list[str]) -> None:
    """Asks for so many streams, each a connection's, some of which stay for a while."""
    draw = random.Random(seed)
    held: list[Any] = []
    for _ in range(count):
        peer = connect(user.socket)
        held.append(peer)
        request = {"request": "open", "version": 2} | wanted(draw, tmp_path)
        # Hung up: it was no request, or there are too many connections.
        with suppress(ConnectionResetError, BrokenPipeError):
            peer.send(json.dumps(request).encode())
            if draw.random() < 0.8 and (packet := peer.recv(65536)):
                shown.append(json.loads(packet).get("message", ""))
        while len(held) > draw.randrange(1, 60):
            held.pop(draw.randrange(len(held))).close()
    for peer in held:
        peer.close()


def test_streams_without_end(user: User, tmp_path: Path) -> None:
    few = ("--capture", "always", "--linger", "0", "--history", "4")
    pid = user.start("--source", "null:", *few, log=tmp_path / "log").pid
    shown: list[str] = []

    def attack(count: int, first_seed: int) -> None:
        """By four at a time."""
        hostile = [
            threading.Thread(target=ask_for_many, args=(user, tmp_path, count, seed, shown))
            for seed in range(first_seed, first_seed + 4)
        ]
        for thread in hostile:
            thread.start()
        for thread in hostile:
            thread.join()
        wait_until(lambda: len(user.status()["streams"]) == 1, "all gone")

    # What libraries load, and a part of what an allocator keeps for so many threads at once.
    attack(60, 0)
    before, bytes_before = open_descriptors(pid), memory(pid)
    with undisturbed(user.env):
        attack(2_500 if LONG else 60, 4)
        # Whoever means well finds room again.
        peer = Peer(user.socket, rate=48_000)
        assert peer.reply["reply"] == "opened", peer.reply
        peer.close()
    wait_until(lambda: len(user.status()["streams"]) == 1, "all gone")
    wait_until(lambda: open_descriptors(pid) <= before, "the descriptors to return")
    # The allocator's part levels off at some 30 MiB after 3,000; a leak of 5 KiB would show.
    assert memory(pid) < bytes_before + (48 << 20)
    assert all(is_clean(message) for message in shown)
    said = (tmp_path / "log").read_text()
    assert is_clean(said) and "panicked" not in said
    assert len(said.splitlines()) < 400, "a bounded log"
