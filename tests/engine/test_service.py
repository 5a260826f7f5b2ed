"""The service from outside: starting, refusing, surviving bad company."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import mmap
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import unicodedata
import wave
from pathlib import Path

import pytest

from rig import BINARY, wait_until
from rig.hostile import ask, connect
from rig.user import SPEECH, User
from v2m_engine import AudioCapture


def one_line(text: str) -> bool:
    return text.startswith("v2m-engine: ") and text.count("\n") == 1


def test_runs_answers_and_leaves_nothing_behind(user: User) -> None:
    for end in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        engine = user.start()
        status = user.status()
        assert status["service"] and status["pid"] == engine.pid
        assert status["source"]["asked"] == f"file:{SPEECH}"
        assert user.socket.stat().st_mode & 0o777 == 0o600
        assert user.socket.parent.stat().st_mode & 0o777 == 0o700
        engine.send_signal(end)
        assert engine.wait(10) == 0
        assert not user.socket.exists()
    assert "running" in user.command("status").stdout or user.command("status").returncode == 1


def test_status_without_an_engine_says_what_to_do(user: User) -> None:
    done = user.command("status")
    assert done.returncode == 1 and one_line(done.stderr)
    assert "v2m-engine run" in done.stderr


def test_second_start_is_refused_and_the_first_goes_on(user: User) -> None:
    first = user.start()
    second = user.command("run", "--source", f"file:{SPEECH}")
    assert second.returncode == 1 and one_line(second.stderr.splitlines(keepends=True)[-1])
    assert "already" in second.stderr
    assert user.status()["pid"] == first.pid


def test_a_dead_engines_socket_is_taken_over(user: User) -> None:
    first = user.start()
    first.kill()
    first.wait()
    assert user.socket.exists()
    second = user.start()
    assert user.status()["pid"] == second.pid


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"XDG_RUNTIME_DIR": ""}, "XDG_RUNTIME_DIR"),
        ({"XDG_RUNTIME_DIR": "/proc/self/nowhere"}, "/proc/self/nowhere"),
        ({"XDG_RUNTIME_DIR": "/dev/null"}, "/dev/null"),
        ({"V2M_ENGINE_SOCKET": "/tmp/" + "x" * 200}, "xxx"),
    ],
)
def test_no_place_for_the_socket(user: User, env: dict[str, str], named: str) -> None:
    done = user.command("run", "--source", f"file:{SPEECH}", **env)
    assert done.returncode == 1, done.stderr
    assert named in done.stderr and "panicked" not in done.stderr


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sorce = 'default'\n", ":1: sorce: unknown field"),
        ("# fine\nhistory = 1\n", ":2: history: "),
        ("latency = 'quick'\n", ":1: latency: "),
        ("source = ''\n", ":1: source: "),
        ("source = [\n", ":1: source"),
    ],
)
def test_bad_configuration_names_file_line_and_key(user: User, text: str, named: str) -> None:
    path = user.config / "v2m-engine/config.toml"
    path.write_text(text)
    done = user.command("run")
    assert done.returncode == 2, done.stderr
    assert f"{path}{named}" in done.stderr and one_line(done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--history", "1"],
        ["run", "--source", "monitor:"],
        ["run", "--latency", "0/48000"],
        ["run", "--private"],
        ["run", "--no-such-flag"],
        ["no-such-command"],
        [],
    ],
)
def test_wrong_usage(user: User, arguments: list[str]) -> None:
    done = user.command(*arguments)
    assert done.returncode == 2, done.stderr
    assert "panicked" not in done.stderr


def test_a_source_that_is_no_sound_file(user: User, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("this is no sound")
    for path in (text, tmp_path / "missing.wav", tmp_path):
        done = user.command("run", "--source", f"file:{path}")
        assert done.returncode in (1, 2) and str(path) in done.stderr
        assert one_line(done.stderr.splitlines(keepends=True)[-1])
        assert not user.socket.exists()


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0",
        b"garbage",
        os.urandom(1000),
        b"x" * 5000,
        b"[" * 4000,
        b'{"request":"shutdown"}',
        b'{"request":"open"}',
        b'{"request":"open","version":2,"latency":"1/1"}',
    ],
)
def test_what_is_no_request_drops_the_peer_and_nobody_else(user: User, packet: bytes) -> None:
    user.start()
    friend = connect(user.socket)
    assert ask(friend, {"request": "status"})["reply"] == "status"
    peer = connect(user.socket)
    peer.send(packet)
    with contextlib.suppress(ConnectionResetError):
        assert peer.recv(65536) == b""
    assert ask(friend, {"request": "status"})["reply"] == "status"


def test_another_version_is_refused_with_a_reason(user: User) -> None:
    user.start()
    for version in (0, 1, 3, 2**32 - 1):
        reply = ask(connect(user.socket), {"request": "open", "version": version})
        assert reply["reply"] == "refused"
        assert f"version 2 of the protocol, the client {version}" in str(reply["message"])


def test_a_silent_peer_is_dropped(user: User) -> None:
    user.start()
    silent = connect(user.socket)
    friend = connect(user.socket)
    assert ask(friend, {"request": "status"})["reply"] == "status"
    assert silent.recv(10) == b"", "the silent peer was not dropped"
    assert ask(friend, {"request": "status"})["reply"] == "status"


def test_a_peer_that_does_not_read_is_dropped(user: User) -> None:
    user.start()
    greedy = connect(user.socket)
    greedy.settimeout(5)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(100_000):
            greedy.send(b'{"request":"status"}')
    assert user.status()["clients"] == 0


def test_more_peers_than_allowed_wait_their_turn(user: User) -> None:
    user.start()
    peers = [connect(user.socket) for _ in range(200)]
    for peer in peers:
        assert ask(peer, {"request": "open", "version": 2})["reply"] == "opened"
    wait_until(lambda: user.status()["clients"] == 200, "all clients counted")
    for peer in peers:
        peer.close()
    wait_until(lambda: user.status()["clients"] == 0, "all clients gone")


def test_the_ring_comes_sealed_and_read_only(user: User) -> None:
    user.start()
    peer = connect(user.socket)
    peer.send(json.dumps({"request": "open", "version": 2}).encode())
    _, descriptors, _, _ = socket.recv_fds(peer, 65536, 4)
    (ring,) = descriptors
    with pytest.raises(OSError):
        os.open(f"/proc/self/fd/{ring}", os.O_RDWR) and os.write(ring, b"x")
    with pytest.raises(OSError):
        os.ftruncate(ring, 0)
    assert os.pread(ring, 8, 0) == b"v2m-ring"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_other_users_are_refused(user: User, tmp_path: Path) -> None:
    # Not pytest's directory, which nobody else may enter anyway: what is left
    # to refuse them are the socket's mode, and the engine itself.
    open_directory = Path(f"/tmp/v2m-test-{os.getpid()}")
    open_directory.mkdir(mode=0o755)
    path = open_directory / "engine.sock"
    attempt = (
        "import socket, os, sys\n"
        "os.setuid(65534)\n"
        "peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        f"peer.connect({str(path)!r})\n"
        'peer.send(b\'{"request":"open","version":2}\')\n'
        "sys.exit(0 if peer.recv(4096) == b'' else 9)\n"
    )
    try:
        user.start(V2M_ENGINE_SOCKET=str(path))
        run = [sys.executable, "-c", attempt]
        by_mode = subprocess.run(run, capture_output=True, text=True, timeout=20, check=False)
        assert "PermissionError" in by_mode.stderr
        path.chmod(0o666)
        by_engine = subprocess.run(run, capture_output=True, text=True, timeout=20, check=False)
        refused = ("ConnectionResetError", "BrokenPipeError")
        assert by_engine.returncode == 0 or any(name in by_engine.stderr for name in refused), (
            by_engine
        )
    finally:
        user.stop_all()
        path.unlink(missing_ok=True)
        open_directory.rmdir()


def test_a_stopped_client_costs_others_nothing(user: User) -> None:
    """A client that is frozen while it holds the ring."""
    user.start()
    frozen = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import socket, time\n"
            "peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
            f"peer.connect({str(user.socket)!r})\n"
            'peer.send(b\'{"request":"open","version":2}\')\n'
            "print(peer.recv(4096), flush=True)\n"
            "time.sleep(60)\n",
        ],
        stdout=subprocess.PIPE,
    )
    assert frozen.stdout is not None and b"opened" in frozen.stdout.readline()
    frozen.send_signal(signal.SIGSTOP)
    before = user.status()["ring"]["position"]
    wait_until(lambda: user.status()["ring"]["position"] > before, "capture to go on")
    frozen.kill()
    frozen.wait()
    wait_until(lambda: user.status()["clients"] == 0, "the dead client to be forgotten")


def test_status_is_answered_while_many_ask(user: User) -> None:
    user.start()
    failures: array.array[int] = array.array("i")

    def run() -> None:
        for _ in range(20):
            if user.command("status").returncode:
                failures.append(1)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | 0x0010 | fcntl.F_SEAL_SEAL


def cursor(
    position: int, name: bytes = b"", *, magic: bytes = b"v2m-mark", size: int = 4096
) -> tuple[int, mmap.mmap]:
    """A reader's cursor as docs/ring-layout.md describes it: its descriptor and map."""
    descriptor = os.memfd_create("cursor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    memory = mmap.mmap(descriptor, size)
    page = magic + struct.pack("=IIQ", 1, 0, position)
    page = page.ljust(0x40, b"\0") + name
    memory[: min(len(page), size)] = page[:size]
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    return descriptor, memory


def open_with(peer: socket.socket, *descriptors: int) -> dict[str, object]:
    socket.send_fds(peer, [b'{"request":"open","version":2}'], descriptors)
    reply: dict[str, object] = json.loads(peer.recv(65536))
    return reply


def reader(user: User) -> dict[str, object]:
    """The one reader of the status."""
    (only,) = user.status()["readers"]
    found: dict[str, object] = only
    return found


def test_a_readers_lag_comes_from_its_cursor(user: User) -> None:
    user.start()
    peer = connect(user.socket)
    descriptor, memory = cursor(2**64 - 1, b"my reader")
    assert open_with(peer, descriptor)["reply"] == "opened"
    os.close(descriptor)
    nothing_yet = reader(user)
    assert (nothing_yet["pid"], nothing_yet["name"]) == (os.getpid(), "my reader")
    assert nothing_yet["position"] is nothing_yet["lag"] is nothing_yet["lag_ms"] is None
    # What has not been written can't have been read.
    wait_until(lambda: user.status()["ring"]["position"] >= 160, "160 samples")
    for position in (0, 160):
        struct.pack_into("=Q", memory, 0x10, position)
        seen = reader(user)
        assert seen["position"] == position
        assert isinstance(seen["lag"], int) and seen["lag_ms"] == seen["lag"] / 16
        assert seen["lag"] <= user.status()["ring"]["position"] - position
    text = user.command("status").stdout
    assert re.search(
        rf"{os.getpid()} my reader, .* at 16000 Hz, since .*, lag \d+ samples", text
    ), text
    # Opened again without: known by what the kernel says.
    assert open_with(peer)["reply"] == "opened"
    again = reader(user)
    assert again["name"] == Path("/proc/self/comm").read_text().strip()
    assert again["lag"] is None


def test_clients_keep_a_cursor_by_themselves(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.start()
    monkeypatch.setenv("V2M_ENGINE_SOCKET", str(user.socket))
    with AudioCapture(engine="service", buffer_size=160).stream() as stream:
        chunk = next(iter(stream))
        seen = reader(user)
        assert seen["position"] == chunk.position + 160
        assert seen["pid"] == os.getpid() and str(seen["name"]).startswith("python")
    wait_until(lambda: not user.status()["readers"], "the reader to be forgotten")


def test_commands_keep_cursors_too(user: User, tmp_path: Path) -> None:
    noise = tmp_path / "noise.wav"
    with wave.open(str(noise), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(os.urandom(2 * 16_000 * 120))
    user.start("--source", f"file:{noise}")
    commands = [["record", str(tmp_path / "out.wav")], ["listen", "--json"]]
    running = [
        subprocess.Popen([BINARY, *command], env=user.env, stdout=subprocess.DEVNULL)
        for command in commands
    ]

    def noted() -> list[str]:
        return [seen["name"] for seen in user.status()["readers"] if seen["position"]]

    try:
        wait_until(lambda: len(noted()) == len(commands), "both to note their place")
        assert sorted(noted()) == ["v2m-engine listen", "v2m-engine record"]
    finally:
        for process in running:
            process.terminate()
            process.wait(10)


def liars() -> dict[str, tuple[int, object]]:
    """Descriptors that are no honest cursor, and what must be kept meanwhile."""
    unsealed = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, 4096)
    read_end, write_end = os.pipe()
    plain = os.open(sys.executable, os.O_RDONLY)
    return {
        "ahead": cursor(2**63),
        "another magic": cursor(0, magic=b"v2m-ring"),
        "too short": cursor(0, size=64),
        "no terminator, no text": cursor(0, bytes(range(128, 192))),
        "escapes": cursor(0, b"\x1b[2J\x1b]0;gone\x07\r\n"),
        "unsealed": (unsealed, None),
        "a pipe": (read_end, write_end),
        "a file": (plain, None),
        "a socket": (socket.socket(socket.AF_UNIX).detach(), None),
    }


def test_cursors_that_lie_harm_nobody(user: User) -> None:
    user.start()
    for what, (descriptor, kept) in liars().items():
        peer = connect(user.socket)
        assert open_with(peer, descriptor)["reply"] == "opened", what
        seen = reader(user)
        if what in ("ahead", "another magic", "unsealed", "a pipe", "a file", "a socket"):
            assert seen["position"] is seen["lag"] is None, what
        assert str(seen["name"]).isprintable(), what
        assert user.command("status").stdout.replace("\n", "").isprintable(), what
        peer.close()
        wait_until(lambda: not user.status()["readers"], "the liar to be forgotten")
        os.close(descriptor)
        if isinstance(kept, int):
            os.close(kept)
    several = [cursor(0)[0] for _ in range(4)]
    peer = connect(user.socket)
    assert open_with(peer, *several)["reply"] == "opened"
    assert reader(user)["lag"] is not None
    too_many = connect(user.socket)
    socket.send_fds(too_many, [b'{"request":"open","version":2}'], several * 3)
    with contextlib.suppress(ConnectionResetError):
        assert too_many.recv(65536) == b""
    assert reader(user)["lag"] is not None


def is_control(char: str) -> bool:
    """Whether a character moves a terminal's cursor or turns its text around."""
    directions = ("RLE", "LRE", "PDF", "RLO", "LRO", "RLI", "LRI", "FSI", "PDI")
    return unicodedata.category(char) == "Cc" or unicodedata.bidirectional(char) in directions


def test_a_cursor_that_flickers_never_shows_what_cannot_be(user: User) -> None:
    user.start()
    peer = connect(user.socket)
    descriptor, memory = cursor(0, b"flicker")
    assert open_with(peer, descriptor)["reply"] == "opened"
    stop = threading.Event()

    def flicker() -> None:
        while not stop.is_set():
            for position in (0, 2**64 - 1, 2**63, 1):
                struct.pack_into("=Q", memory, 0x10, position)
                memory[0x40:0x80] = os.urandom(64)

    liar = threading.Thread(target=flicker)
    liar.start()
    try:
        for _ in range(50):
            status = ask(peer, {"request": "status"})["status"]
            assert isinstance(status, dict)
            (seen,) = status["readers"]
            assert seen["lag"] is None or 0 <= seen["lag"] <= status["ring"]["position"]
            # Control characters, and what changes the direction of writing.
            moves = [c for c in seen["name"] or "" if is_control(c)]
            assert not moves
    finally:
        stop.set()
        liar.join()


def test_the_longest_status_fits_into_a_reply(user: User) -> None:
    user.start()
    peers = [connect(user.socket) for _ in range(200)]
    descriptor, _memory = cursor(0, b'"' * 64)
    for peer in peers:
        assert open_with(peer, descriptor)["reply"] == "opened"
    status = user.status()
    assert status["clients"] == 200 and len(status["readers"]) == 128
    peers[0].send(b'{"request":"status"}')
    assert len(peers[0].recv(65536, socket.MSG_TRUNC)) < 65536


def test_who_looks_on_is_said_to(user: User) -> None:
    user.start()
    peer = connect(user.socket)
    reply = ask(peer, {"request": "open", "version": 2, "observe": True})
    assert reply["reply"] == "opened"
    assert reader(user)["observes"] is True and user.status()["clients"] == 1
