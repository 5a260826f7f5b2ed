"""Disks that fill, stall, go read-only or away: nothing that the ring holds is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rig import wait_until
from rig.recorder import (
    LONG,
    RATE,
    WITHOUT_IO_URING,
    Service,
    Tape,
    as_float,
    fill_disk,
    frozen,
    noise,
    read_wav,
    slow_disk,
    small_disk,
)

Engine = Callable[..., Service]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")

STALL = 20 if LONG else 1.5


def check(path: Path, played: np.ndarray, least: float) -> None:
    """Every sample is the ring's, and there are enough of them."""
    with tempfile.NamedTemporaryFile(suffix=path.suffix) as copy:
        # As it is at one moment: the recorder may be at work.
        copy.write(path.read_bytes())
        copy.flush()
        check_file(Path(copy.name), played, least)


def check_file(path: Path, played: np.ndarray, least: float) -> None:
    got = read_wav(path)
    assert np.array_equal(got.samples, as_float(played)[got.position :][: len(got.samples)])
    assert len(got.samples) >= least * RATE and not got.cues
    assert np.array_equal(soundfile.read(path, dtype="float32")[0], got.samples)


def said_on_the_way(tape: Tape, what: str) -> str:
    """Its messages up to this one."""
    assert tape.process.stderr
    said = ""
    while what not in said:
        line = tape.process.stderr.readline()
        assert line, f"{what!r} never came: {said}"
        said += line
    return said


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_a_full_disk(
    engine: Engine, minute: np.ndarray, tmp_path: Path, writing: tuple[str, ...], kind: str
) -> None:
    service = engine(minute)
    mount = tmp_path / "disk"
    if kind == "ext4":
        with small_disk(tmp_path) as mount:
            full_and_free_again(service, mount, minute, writing)
    else:
        mount.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mount], check=True)
        try:
            full_and_free_again(service, mount, minute, writing)
        finally:
            subprocess.run(["umount", "-l", mount], check=True)


def full_and_free_again(
    service: Service, mount: Path, played: np.ndarray, before: tuple[str, ...]
) -> None:
    out = mount / "out.wav"
    tape = service.start(out, "--sync", "0.2", before=before)
    wait_until(lambda: out.exists() and out.stat().st_size > 30_000, "the first second")
    hog = fill_disk(mount)
    said = said_on_the_way(tape, "No space left on device")
    assert "make room" in said and "keeps 65.5" in said
    # What it holds is whole meanwhile, and others don't notice.
    check(out, played, 0.2)
    position = service.position()
    time.sleep(0.7)
    assert service.position() > position + RATE // 2
    hog.unlink()
    said_on_the_way(tape, "writing goes on")
    end = service.position()
    assert tape.stop() == 0
    check(out, played, 1.0)
    got = read_wav(out)
    assert got.position + len(got.samples) >= end - RATE // 20


def test_a_disk_that_stays_full(engine: Engine, minute: np.ndarray, tmp_path: Path) -> None:
    service = engine(minute)
    with small_disk(tmp_path, 4) as mount:
        out = mount / "out.wav"
        tape = service.start(out, "--sync", "0.2")
        wait_until(lambda: out.exists() and out.stat().st_size > 30_000, "the first second")
        fill_disk(mount)
        said_on_the_way(tape, "No space left on device")
        assert tape.stop() == 1
        assert "could not be written: No space left on device: make room" in tape.said
        check(out, minute, 0.2)


@pytest.mark.parametrize("what", ["ext4", "fuse"])
def test_a_disk_that_stalls(
    engine: Engine, tmp_path: Path, writing: tuple[str, ...], what: str
) -> None:
    played = noise(STALL + 40)
    service = engine(played)
    if what == "ext4":
        with small_disk(tmp_path) as mount:
            tape = start_and_wait(service, mount, writing)
            with frozen(mount):
                position = service.position()
                time.sleep(STALL)
                assert service.position() > position + (STALL - 1) * RATE
            finish(service, tape, mount, played)
    else:
        with slow_disk(tmp_path) as (mount, server):
            tape = start_and_wait(service, mount, writing)
            server.send_signal(signal.SIGSTOP)
            time.sleep(STALL)
            server.send_signal(signal.SIGCONT)
            finish(service, tape, mount, played)


def test_a_disk_that_is_not_fast_enough(
    engine: Engine, minute: np.ndarray, tmp_path: Path, writing: tuple[str, ...]
) -> None:
    """Where it always has something left to write, what it has written is synced all the same."""
    service = engine(minute)
    rate = int(random.uniform(2.5, 3.9) * RATE)
    with slow_disk(tmp_path, f"--write-rate={rate}") as (mount, _):
        out = mount / "out.wav"
        tape = service.start(out, "--sync", "0.2", before=writing)
        wait_until(lambda: out.exists() and out.stat().st_size > 4 * 4 * RATE, "four seconds")
        # What a file says of its length is what was synced: a write may be of a second or two.
        check(out, minute, 1.5)
        tape.process.kill()
        tape.process.wait(30)


def start_and_wait(service: Service, mount: Path, before: tuple[str, ...]) -> Tape:
    out = mount / "out.wav"
    tape = service.start(out, "--sync", "0.2", before=before)
    wait_until(lambda: out.exists() and out.stat().st_size > 30_000, "the first second")
    return tape


def finish(service: Service, tape: Tape, mount: Path, played: np.ndarray) -> None:
    time.sleep(0.5)
    end = service.position()
    assert tape.stop() == 0, tape.said
    check(mount / "out.wav", played, STALL)
    got = read_wav(mount / "out.wav")
    assert got.position + len(got.samples) >= end - RATE // 20


def test_the_end_waits_for_a_disk_that_stalls(
    engine: Engine, tmp_path: Path, writing: tuple[str, ...]
) -> None:
    """What a recording ended with gets to the disk, with io_uring also when the ring has
    forgotten it. Plain writes stall with the disk, and see the end after that.
    """
    played = noise(60)
    service = engine(played, "--history", "4")
    with small_disk(tmp_path) as mount:
        out = mount / "out.wav"
        tape = service.start(out, "--sync", "0.2", "--seconds", "1", before=writing)
        wait_until(lambda: out.exists() and out.stat().st_size > 10_000, "the first syncs")
        with frozen(mount):
            began = service.position()
            time.sleep(1.5 if writing else 5)
            assert writing or service.position() > began + 65_536, "longer than the history"
        assert tape.wait() == 0
        check(out, played, 1)


@pytest.mark.parametrize("form", ["wav", "flac"] if LONG else ["wav"])
def test_a_stall_longer_than_the_history(
    engine: Engine, tmp_path: Path, writing: tuple[str, ...], form: str
) -> None:
    """What the ring could not keep is silence of the same length, a cue, and counted.

    Encoded, it waits in the recorder's memory, if the recorder doesn't stall with the disk.
    """
    played = noise(60)
    service = engine(played, "--history", "4")
    kept = form == "flac" and not writing
    with small_disk(tmp_path) as mount:
        out = mount / f"out.{form}"
        tape = service.start(out, "--sync", "0.2", before=writing)
        wait_until(lambda: out.exists() and out.stat().st_size > 20_000, "the first second")
        with frozen(mount):
            time.sleep(5)
        time.sleep(0.4)
        assert tape.stop() == 0
        assert ("overwritten before the disk took them" in tape.said) != kept
        if form == "flac":
            samples = soundfile.read(out, dtype="float32")[0]
            head = out.read_bytes()[:8192]
            assert (b"NAME=lost " in head) != kept
            position = int(head.split(b"V2M_POSITION=")[1].split(b"V2M_")[0][:-4])
        else:
            got = read_wav(out)
            samples, position = got.samples, got.position
            silences = got.silences()
            assert [(at, f"lost {length / RATE:.3f} s") for at, length in silences] == got.cues
            # 4.8 s less the 4.1 s that the ring holds, less what is on the way.
            assert 0.3 * RATE < sum(length for _, length in silences) < 3 * RATE
        heard = samples != 0
        expected = as_float(played)[position : position + len(samples)]
        assert np.array_equal(samples[heard], expected[heard])
        assert heard.sum() > 2 * RATE
        assert not kept or heard.all()


@pytest.mark.parametrize("writing", [(), WITHOUT_IO_URING] if LONG else [()])
def test_a_file_system_that_goes_read_only(
    engine: Engine, minute: np.ndarray, tmp_path: Path, writing: tuple[str, ...]
) -> None:
    """As after an error of the disk: what it holds stays, the error is clear."""
    service = engine(minute)
    with small_disk(tmp_path) as mount:
        tape = start_and_wait(service, mount, writing)
        device = Path(os.path.realpath(source_of(mount))).name
        subprocess.run(["mount", "-o", "remount,errors=remount-ro", mount], check=True)
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("test\n")
        said = said_on_the_way(tape, "cannot write")
        assert "Read-only file system" in said or "Input/output error" in said
        position = service.position()
        check(mount / "out.wav", minute, 0.2)
        wait_until(lambda: service.position() > position, "more audio")
        assert tape.stop() == 1
        assert "could not be written" in tape.said


def source_of(mount: Path) -> str:
    done = subprocess.run(
        ["findmnt", "-n", "-o", "SOURCE", mount], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_target_that_is_removed(
    engine: Engine, minute: np.ndarray, tmp_path: Path, writing: tuple[str, ...]
) -> None:
    service = engine(minute)
    folder = tmp_path / "folder"
    folder.mkdir()
    tape = start_and_wait(service, folder, writing)
    (folder / "out.wav").unlink()
    said_on_the_way(tape, "was removed: recording goes on in")
    # With its folder: until that is there again the open file takes it.
    (folder / "out.wav").unlink()
    folder.rmdir()
    said_on_the_way(tape, "can't be made again")
    time.sleep(0.5)
    folder.mkdir()
    said_on_the_way(tape, "recording goes on in")
    # Another file of its name is left alone.
    (folder / "out.wav").unlink()
    (folder / "out.wav").write_text("precious")
    said_on_the_way(tape, "recording goes on in")
    assert tape.stop() == 0
    assert (folder / "out.wav").read_text() == "precious"
    (restored,) = folder.glob("out-*.wav")
    check(restored, minute, 0.8)
    assert read_wav(restored).position < RATE
