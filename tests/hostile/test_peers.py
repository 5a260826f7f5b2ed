"""Clients that mean no good: the engine forgets them, and its readers notice nothing."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import subprocess
import threading
import time
import wave
from pathlib import Path
from typing import Any

import pytest

from rig import BINARY, wait_until
from rig.hostile import (
    IS_ROOT,
    ODD,
    as_nobody,
    ask,
    connect,
    is_clean,
    memory,
    open_descriptors,
    talk,
    undisturbed,
)


def start(user: Any, tmp_path: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    """An engine that plays minutes of noise, and logs where one can read it."""
    noise = tmp_path / "noise.wav"
    with wave.open(str(noise), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(random.Random(1).randbytes(2 * 16_000 * 300))
    with (tmp_path / "log").open("w") as log:
        engine = subprocess.Popen(
            [BINARY, "run", "--source", f"file:{noise}", *arguments],
            env=user.env | env,
            stderr=log,
            text=True,
        )
    user.engines.append(engine)
    path = env.get("V2M_ENGINE_SOCKET", str(user.socket))

    def answers() -> bool:
        try:
            with connect(Path(path)) as peer:
                return ask(peer, {"request": "status"})["reply"] == "status"
        except OSError:
            return False

    wait_until(answers, "the engine")
    return engine


def settled(pid: int) -> int:
    """Descriptors, once all peers that hung up are forgotten."""
    seen = [open_descriptors(pid)]
    for _ in range(20):
        time.sleep(0.05)
        seen.append(open_descriptors(pid))
        if len(seen) > 3 and len(set(seen[-3:])) == 1:
            break
    return seen[-1]


def test_descriptors_that_come_along_go_again(user: Any, tmp_path: Path) -> None:
    pid = start(user, tmp_path).pid
    before = settled(pid)
    read, write = os.pipe()
    for count in [4, 5, 6, 100, 253] * 60:
        with connect(user.socket) as peer:
            socket.send_fds(peer, [b'{"request":"status"}'], [read] * count)
    wait_until(lambda: open_descriptors(pid) == before, "the descriptors to return")
    with connect(user.socket) as peer:
        assert ask(peer, {"request": "open", "version": 2})["reply"] == "opened"
    for end in (read, write):
        os.close(end)


def test_descriptors_without_a_place_go_again(user: Any, tmp_path: Path) -> None:
    """The engine's table is full: the kernel leaves out what has no room in it."""
    pid = start(user, tmp_path).pid
    before = settled(pid)
    limit = f"{before + 20}:{before + 20}"
    subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={limit}"], check=True)
    read, write = os.pipe()
    for count in [17, 18, 19, 20, 21, 22, 253] * 10:
        with connect(user.socket) as peer:
            socket.send_fds(peer, [b'{"request":"status"}'], [read] * count)
    wait_until(lambda: open_descriptors(pid) == before, "the descriptors to return")
    for end in (read, write):
        os.close(end)


def test_hostile_messages(user: Any, tmp_path: Path) -> None:
    pid = start(user, tmp_path).pid
    talk(user.socket, 500, seed=0)
    descriptors, bytes_before = settled(pid), memory(pid)
    with undisturbed(user.env):
        attackers = [
            threading.Thread(target=talk, args=(user.socket, 25_000, seed)) for seed in range(1, 5)
        ]
        for attacker in attackers:
            attacker.start()
        for attacker in attackers:
            attacker.join()
        with connect(user.socket) as newcomer:
            assert ask(newcomer, {"request": "open", "version": 2})["reply"] == "opened"
    wait_until(lambda: open_descriptors(pid) == descriptors, "the descriptors to return")
    assert memory(pid) < bytes_before + (8 << 20)
    log = (tmp_path / "log").read_text()
    assert is_clean(log) and "panicked" not in log
    assert len(log.splitlines()) < 200


def test_many_connections(user: Any, tmp_path: Path) -> None:
    pid = start(user, tmp_path).pid
    descriptors, bytes_before = settled(pid), memory(pid)
    with undisturbed(user.env):
        draw = random.Random(3)
        for _ in range(10_000):
            with connect(user.socket) as peer:
                if draw.random() < 0.3:
                    assert ask(peer, {"request": "open", "version": 2})["reply"] == "opened"
    wait_until(lambda: open_descriptors(pid) == descriptors, "the descriptors to return")
    assert memory(pid) < bytes_before + (8 << 20)
    log = (tmp_path / "log").read_text()
    listens = rf"process {os.getpid()} \(\S+\) listens to \S+ at 16000 Hz$"
    assert re.search(listens, log, re.MULTILINE), log
    assert re.search(r"said 100 times within a minute", log)
    assert len(log.splitlines()) < 60, log


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_another_users_connections_fill_no_log(user: Any, tmp_path: Path) -> None:
    directory = Path(f"/tmp/v2m-hostile-{os.getpid()}")
    directory.mkdir(mode=0o755)
    path = directory / "engine.sock"
    try:
        start(user, tmp_path, V2M_ENGINE_SOCKET=str(path))
        path.chmod(0o666)
        done = as_nobody(
            "for _ in range(2000):\n"
            "    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
            "    peer.connect(sys.argv[1])\n"
            "    try:\n"
            "        assert peer.recv(10) == b''\n"
            "    except ConnectionResetError:\n"
            "        pass\n"
            "    peer.close()\n",
            str(path),
        )
        assert done.returncode == 0, done.stderr
        log = (tmp_path / "log").read_text()
        assert "user 65534" in log and "said 1000 times within a minute" in log
        assert len(log.splitlines()) < 25, log
    finally:
        user.stop_all()
        path.unlink(missing_ok=True)
        directory.rmdir()


def test_connecting_to_who_takes_no_connection_ends(user: Any, tmp_path: Path) -> None:
    path = tmp_path / "full.sock"
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    deaf.bind(str(path))
    deaf.listen(0)
    waiting = connect(path)
    done = user.command("status", V2M_ENGINE_SOCKET=str(path))
    assert done.returncode == 1 and "takes no connection" in done.stderr
    waiting.close()
    deaf.close()


class Liar:
    """An engine that answers what it likes."""

    def __init__(self, path: Path, replies: list[object]) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.bind(str(path))
        self.socket.listen(8)
        self.replies = replies
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        for reply in self.replies:
            peer, _ = self.socket.accept()
            with peer:
                peer.recv(4096)
                peer.send(json.dumps(reply).encode())

    def close(self) -> None:
        self.thread.join(20)
        self.socket.close()


def spoilt(value: object, draw: random.Random) -> object:
    """The same with odd text in every text."""
    match value:
        case str():
            return value + draw.choice(ODD)
        case list():
            return [spoilt(item, draw) for item in value]
        case dict():
            return {key: spoilt(item, draw) for key, item in value.items()}
    return value


def test_what_an_engine_says_is_printable(user: Any, tmp_path: Path) -> None:
    engine = start(user, tmp_path)
    with connect(user.socket) as peer:
        assert ask(peer, {"request": "open", "version": 2})["reply"] == "opened"
        status: Any = ask(peer, {"request": "status"})["status"]
    engine.kill()
    draw = random.Random(5)
    # What is a word of the protocol must stay one.
    lies: list[Any] = [spoilt(status, draw) | {"state": status["state"]} for _ in range(3)]
    for lie in lies:
        for stream in lie["streams"]:
            stream["state"] = status["state"]
    replies: list[object] = [{"reply": "status", "status": lie} for lie in lies]
    replies += [{"reply": "refused", "message": odd} for odd in ODD]
    replies += [{"reply": odd} for odd in ODD[:3]]
    path = tmp_path / "liar.sock"
    liar = Liar(path, replies)
    for number, _ in enumerate(replies):
        json_too = ["--json"] if number == 1 else []
        done = user.command("status", *json_too, V2M_ENGINE_SOCKET=str(path))
        assert is_clean(done.stdout) and is_clean(done.stderr), replies[number]
        assert done.returncode == (0 if number < 3 else 1), done.stderr
    liar.close()


def test_programs_with_odd_names(user: Any, tmp_path: Path) -> None:
    start(user, tmp_path)
    rename = (
        "import ctypes, os, socket, sys\n"
        "ctypes.CDLL(None).prctl(15, os.fsencode(sys.argv[2]))\n"
        "peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "peer.connect(sys.argv[1])\n"
        'peer.send(b\'{"request":"open","version":2}\')\n'
        "peer.recv(4096)\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    clients = [
        subprocess.Popen(
            ["python3", "-c", rename, user.socket, odd],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for odd in [*ODD[:6], os.fsdecode(b"\xff\xfe")]
    ]
    for client in clients:
        assert client.stdout is not None
        client.stdout.readline()
    text = user.command("status").stdout
    assert text.count("\ufffd") >= len(clients) - 2 and is_clean(text), text
    monitor = user.command("monitor", "--once").stdout
    assert is_clean(monitor), monitor
    for client in clients:
        client.communicate()
    assert is_clean((tmp_path / "log").read_text())
