"""Starting and stopping where others have put something in the way."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rig import BINARY, wait_until
from rig.hostile import IS_ROOT, NOBODY, is_clean

SPEECH = "/usr/share/sounds/alsa/Front_Center.wav"


@contextmanager
def running(user: Any, *arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [BINARY, *arguments],
        env=user.env | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def threads(process: subprocess.Popen[str]) -> list[str]:
    names = []
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        names.append((task / "comm").read_text().strip())
    return names


def waits(process: subprocess.Popen[str]) -> bool:
    """Whether its signals are watched, and its first thread is not at work."""
    if "v2m-signals" not in threads(process):
        return False
    stat = Path(f"/proc/{process.pid}/task/{process.pid}/stat").read_text()
    return stat.rsplit(")", 1)[1].split()[0] == "S"


def ends_by(process: subprocess.Popen[str], how: signal.Signals, code: int) -> None:
    deadline = time.monotonic() + 15
    while not waits(process) and process.poll() is None:
        assert time.monotonic() < deadline, threads(process)
        time.sleep(0.01)
    time.sleep(0.2)
    assert process.poll() is None, process.communicate()
    process.send_signal(how)
    process.wait(10)
    assert process.returncode == code


ENDS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("how", ENDS)
def test_while_another_holds_the_directory(user: Any, how: signal.Signals) -> None:
    user.socket.parent.mkdir(mode=0o700)
    directory = os.open(user.socket.parent, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    with running(user, "run", "--source", f"file:{SPEECH}") as engine:
        ends_by(engine, how, 0)
    os.close(directory)


def test_a_directory_that_stays_locked_is_an_error(user: Any) -> None:
    user.socket.parent.mkdir(mode=0o700)
    directory = os.open(user.socket.parent, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    done = user.command("run", "--source", f"file:{SPEECH}")
    assert done.returncode == 1 and "held a lock" in done.stderr
    os.close(directory)


def records(user: Any) -> bool:
    """Whether a recorder has been handed audio."""
    readers = json.loads(user.command("status", "--json").stdout)["readers"]
    return any(reader["read"] for reader in readers)


@pytest.mark.parametrize("how", ENDS)
def test_while_a_fifo_has_no_reader(user: Any, tmp_path: Path, how: signal.Signals) -> None:
    os.mkfifo(tmp_path / "out.wav")
    user.start("--source", "null:")
    with running(user, "record", str(tmp_path / "out.wav")) as recorder:
        wait_until(lambda: records(user), "a recording")
        ends_by(recorder, how, 1)


@pytest.mark.parametrize("how", ENDS)
def test_while_a_fifo_that_is_a_source_has_no_writer(
    user: Any, tmp_path: Path, how: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "in.wav")
    with running(user, "run", "--source", f"file:{tmp_path / 'in.wav'}") as engine:
        ends_by(engine, how, 0)


@pytest.mark.parametrize("source", ["/proc/kmsg", "/dev/zero", "/proc/self/mem"])
def test_sources_that_say_nothing_are_not_waited_for(
    user: Any, tmp_path: Path, source: str
) -> None:
    done = user.command("run", "--source", f"file:{tmp_path / source}")
    assert done.returncode in (1, 2) and source in done.stderr


def test_a_configuration_that_is_a_fifo_is_refused(user: Any) -> None:
    path = user.config / "v2m-engine/config.toml"
    os.mkfifo(path)
    done = user.command("run")
    assert done.returncode == 2 and "a FIFO, not a regular file" in done.stderr


def test_configurations_of_others_are_refused(user: Any, tmp_path: Path) -> None:
    path = user.config / "v2m-engine/config.toml"
    path.write_text("linger = 1\n")
    path.chmod(0o666)
    done = user.command("run")
    assert done.returncode == 2 and "everybody may write it" in done.stderr
    path.chmod(0o664)
    # One's own, in another place, is what people keep in a repository.
    path.rename(tmp_path / "dotfile")
    path.symlink_to(tmp_path / "dotfile")
    user.start()
    user.stop_all()
    if IS_ROOT:
        os.chown(path, NOBODY, NOBODY)
        done = user.command("run")
        assert done.returncode == 2 and f"user {NOBODY}'s" in done.stderr


def things(directory: Path) -> dict[str, Path]:
    """What may stand where a socket is to be."""
    paths = {name: directory / name for name in ("file", "link", "fifo", "folder", "hanging")}
    paths["file"].write_text("precious")
    paths["link"].symlink_to(paths["file"])
    os.mkfifo(paths["fifo"])
    paths["folder"].mkdir()
    paths["hanging"].symlink_to(directory / "nothing")
    linked = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    linked.bind(str(directory / "dead.sock"))
    linked.close()
    paths["link to a socket"] = directory / "link to a socket"
    paths["link to a socket"].symlink_to(directory / "dead.sock")
    if IS_ROOT:
        theirs = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.bind(str(directory / "theirs"))
        theirs.close()
        os.chown(directory / "theirs", NOBODY, NOBODY)
        paths["theirs"] = directory / "theirs"
    return paths


def identity(path: Path) -> tuple[int, int]:
    """Which file it is, and when it was changed last."""
    known = path.lstat()
    return known.st_ino, known.st_ctime_ns


def test_what_is_no_socket_of_ours_stays(user: Any, tmp_path: Path) -> None:
    for name, path in things(tmp_path).items():
        before = identity(path)
        done = user.command("run", "--source", f"file:{SPEECH}", V2M_ENGINE_SOCKET=str(path))
        assert done.returncode == 1, name
        assert str(path) in done.stderr and is_clean(done.stderr), done.stderr
        assert identity(path) == before, name
    assert (tmp_path / "file").read_text() == "precious"


def test_at_its_end_it_removes_its_own_socket_only(user: Any) -> None:
    engine = user.start()
    user.socket.unlink()
    user.socket.write_text("precious")
    engine.terminate()
    assert engine.wait(10) == 0
    assert user.socket.read_text() == "precious"


def test_two_that_start_at_once(user: Any) -> None:
    """One of them gets the path that a dead one left, the others are told so."""
    user.start().kill()
    user.engines[0].wait()
    done: list[int | None] = []

    def run() -> None:
        with running(user, "run", "--source", f"file:{SPEECH}") as engine:
            try:
                done.append(engine.wait(4))
            except subprocess.TimeoutExpired:
                done.append(None)

    starting = [threading.Thread(target=run) for _ in range(4)]
    for thread in starting:
        thread.start()
    for thread in starting:
        thread.join()
    assert done.count(None) == 1 and done.count(1) == 3
