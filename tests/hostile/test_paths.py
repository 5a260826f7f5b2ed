"""Names of recordings that others have prepared, drawn and exchanged meanwhile."""

from __future__ import annotations

import os
import random
import select
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rig import BINARY
from rig.hostile import IS_ROOT, LONG, NOBODY, ODD, is_clean

SPEECH = "/usr/share/sounds/alsa/Front_Center.wav"
PRECIOUS = b"precious" * 1000


def record(user: Any, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Half a second of speech by an engine of its own."""
    return subprocess.run(
        [BINARY, "record", *arguments, "--source", f"file:{SPEECH}", "--seconds", "0.5"],
        env=user.env,
        timeout=60,
        check=False,
        **({"capture_output": True, "text": True} | options),
    )


def is_recording(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[:4] == b"RIFF" and path.stat().st_size > 16_000


class Setup:
    """One name and what stands there, by chance, in a directory of its own."""

    KINDS = ("nothing", "file", "fifo", "link", "hanging link", "directory", "device", "socket")

    def __init__(self, base: Path, draw: random.Random) -> None:
        self.base = base
        base.mkdir()
        self.sticky = draw.random() < 0.5
        base.chmod(0o1777 if self.sticky else 0o755)
        self.precious = base / "precious"
        self.precious.write_bytes(PRECIOUS)
        self.kind = draw.choice(self.KINDS)
        self.foreign = IS_ROOT and draw.random() < 0.5
        self.overwrite = draw.random() < 0.5
        odd = draw.choice(["", "", *(odd.replace("/", "") for odd in ODD[:6])])
        self.name = base / f"note{odd}.wav"
        self.ear: int | None = None
        self.make()
        if self.foreign and self.kind not in ("nothing", "device"):
            os.lchown(self.name, NOBODY, NOBODY)
        self.before = self.name.lstat() if self.kind != "nothing" else None

    def make(self) -> None:
        match self.kind:
            case "file":
                self.name.write_bytes(PRECIOUS)
                self.name.chmod(0o666)
            case "fifo":
                os.mkfifo(self.name, 0o666)
                self.name.chmod(0o666)
                self.ear = os.open(self.name, os.O_RDONLY | os.O_NONBLOCK)
            case "link":
                self.name.symlink_to(self.precious)
            case "hanging link":
                self.name.symlink_to(self.base / "new")
            case "directory":
                self.name.mkdir()
            case "device":
                self.name.symlink_to("/dev/null")
            case "socket":
                import socket

                with socket.socket(socket.AF_UNIX) as made:
                    # A socket's path is short: bound from within its directory.
                    short = f"/proc/self/fd/{os.open(self.base, os.O_PATH)}/s"
                    made.bind(short)
                    os.rename(self.base / "s", self.name)

    def heard(self) -> bytes:
        """What came out of the FIFO."""
        assert self.ear is not None
        heard = b""
        while select.select([self.ear], [], [], 0)[0]:
            try:
                part = os.read(self.ear, 65536)
            except BlockingIOError:
                break
            if not part:
                break
            heard += part
        return heard

    def check(self, done: subprocess.CompletedProcess[str]) -> None:
        what = f"{self.kind} foreign={self.foreign} overwrite={self.overwrite}: {done.stderr}"
        assert is_clean(done.stderr), what
        works = {
            "nothing": True,
            "file": self.overwrite and not self.foreign,
            "fifo": not self.foreign,
            "link": self.overwrite and not self.foreign,
            "hanging link": self.overwrite and not self.foreign,
            "directory": False,
            "device": True,
            "socket": False,
        }[self.kind]
        assert (done.returncode == 0) == works, what
        assert self.before is None or self.name.lstat().st_ino == self.before.st_ino, what
        touched = self.precious.read_bytes() != PRECIOUS
        assert touched == (works and self.kind == "link"), what
        match self.kind:
            case "nothing":
                assert is_recording(self.name) and self.name.stat().st_mode & 0o777 == 0o600, what
            case "file":
                assert is_recording(self.name) == works, what
                assert works or self.name.read_bytes() == PRECIOUS, what
            case "fifo":
                assert bool(self.heard()) == works, what
            case "hanging link":
                assert (self.base / "new").exists() == works, what

    def close(self) -> None:
        if self.ear is not None:
            os.close(self.ear)


def test_names_that_were_prepared(user: Any, tmp_path: Path) -> None:
    draw = random.Random(17)
    setups = [Setup(tmp_path / str(n), draw) for n in range(200 if LONG else 36)]
    if not LONG:
        drawn = {(setup.kind, setup.foreign) for setup in setups}
        assert len(drawn) >= len(Setup.KINDS)

    def run(setup: Setup) -> None:
        flags = ["--overwrite"] if setup.overwrite else []
        # A FIFO's buffer holds half a second.
        setup.check(record(user, str(setup.name), *flags))
        setup.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, setups))


@pytest.mark.skipif(not IS_ROOT, reason="only root can make what belongs to others")
def test_names_that_are_exchanged_meanwhile(user: Any, tmp_path: Path) -> None:
    """Another process has a link, a FIFO and a file of its own take turns under one name."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    precious = tmp_path / "precious"
    precious.write_bytes(PRECIOUS)
    name = shared / "note.wav"
    theirs = [shared / "link", shared / "fifo", shared / "file"]
    theirs[0].symlink_to(precious)
    os.mkfifo(theirs[1], 0o666)
    theirs[2].write_bytes(b"")
    for path in theirs[1:]:
        path.chmod(0o666)
    for path in theirs:
        os.lchown(path, NOBODY, NOBODY)
    ear = os.open(theirs[1], os.O_RDONLY | os.O_NONBLOCK)
    stop = threading.Event()

    def exchange() -> None:
        draw = random.Random(2)
        while not stop.is_set():
            extra = shared / "extra"
            os.link(draw.choice(theirs), extra, follow_symlinks=False)
            extra.rename(name)
            # Where both are links to the same file already, both stay.
            extra.unlink(missing_ok=True)
            if draw.random() < 0.3:
                name.unlink(missing_ok=True)

    attacker = threading.Thread(target=exchange)
    attacker.start()
    try:
        for round_ in range(40 if LONG else 8):
            done = record(user, str(name), *(["--overwrite"] if round_ % 2 else []))
            assert is_clean(done.stderr), done.stderr
            assert precious.read_bytes() == PRECIOUS
            assert theirs[2].read_bytes() == b""
            assert not select.select([ear], [], [], 0)[0] or not os.read(ear, 10)
    finally:
        stop.set()
        attacker.join()
        os.close(ear)


def test_what_is_named_on_purpose_goes_on_working(user: Any, tmp_path: Path) -> None:
    for name in ("/dev/stdout", "-", "/proc/self/fd/1"):
        done = record(user, name, "--format", "wav", text=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout[:4] == b"RIFF" and len(done.stdout) > 16_000, name
    assert record(user, "/dev/null", "--format", "wav").returncode == 0
    assert record(user, "/dev/full", "--format", "wav").returncode == 1
    out = tmp_path / "out.wav"
    with out.open("wb") as file:
        done = record(user, "-", capture_output=False, stdout=file)
    assert done.returncode == 0 and is_recording(out)
    split = tmp_path / "split"
    split.mkdir()
    assert record(user, str(split), "--split").returncode in (0, 1)
    assert all(part.stat().st_mode & 0o777 == 0o600 for part in split.iterdir())


def mutated(good: bytes, draw: random.Random) -> bytes:
    data = bytearray(good)
    match draw.randrange(4):
        case 0:
            del data[draw.randrange(1, len(data)) :]
        case 1:
            for _ in range(draw.randrange(1, 20)):
                data[draw.randrange(min(200, len(data)))] = draw.randrange(256)
        case 2:
            for _ in range(draw.randrange(1, 200)):
                data[draw.randrange(len(data))] = draw.randrange(256)
        case 3:
            at = draw.randrange(len(data))
            data[at:at] = draw.randbytes(draw.randrange(1, 5000))
    return bytes(data)


def test_sources_that_are_damaged(user: Any, tmp_path: Path) -> None:
    flac = tmp_path / "good.flac"
    subprocess.run(["flac", "-s", "-o", flac, SPEECH], check=True)
    good = [Path(SPEECH).read_bytes()[:60_000], flac.read_bytes()[:60_000]]
    draw = random.Random(4)
    files = []
    for n in range(1000 if LONG else 24):
        path = tmp_path / f"{n}{draw.choice(ODD[:4])}.wav"
        path.write_bytes(mutated(good[n % 2], draw))
        files.append(path)

    def play(path: Path) -> None:
        command = [BINARY, "record", "/dev/null", "--format", "wav", "--source", f"file:{path}"]
        done = subprocess.run(
            [*command, "--seconds", "0.3"],
            env=user.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, 1, 2) and "panicked" not in done.stderr, done.stderr
        assert is_clean(done.stderr), done.stderr

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(play, files))


def test_configurations_that_are_damaged(user: Any) -> None:
    """Read whole or refused, and never more than that: the source that is asked for isn't there."""
    path = user.config / "v2m-engine/config.toml"
    good = b'source = "default"\nlinger = 5\n[vad]\nbackend = "native"\n[alsa]\nperiods = 64\n'
    draw = random.Random(6)
    for _ in range(300 if LONG else 20):
        path.write_bytes(mutated(good, draw).replace(b"l", draw.choice(ODD).encode()))
        done = user.command("run", "--source", "file:/nonexistent.wav")
        assert done.returncode in (1, 2) and "panicked" not in done.stderr, done.stderr
        assert is_clean(done.stderr), done.stderr
