"""What is recorded is what the ring held, in files that other programs read."""

from __future__ import annotations

import os
import re
import subprocess
import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rig import BINARY, wait_until
from rig.decoding import decode_by_ffmpeg, position_of
from rig.recorder import RATE, WITHOUT_IO_URING, Service, as_float, noise, read_wav

Engine = Callable[..., Service]


def test_float_wav_is_the_ring(engine: Engine, minute: np.ndarray, tmp_path: Path) -> None:
    service = engine(minute)
    out = tmp_path / "out.wav"
    began = time.time()
    service.record(out, "--seconds", "1.5")
    got = read_wav(out)
    played = as_float(minute)[got.position : got.position + 24_000]
    assert np.array_equal(got.samples, played)
    assert got.ring == service.status()["ring"]["id"]
    # The same through others.
    assert np.array_equal(soundfile.read(out, dtype="float32")[0], played)
    assert np.array_equal(decode_by_ffmpeg(out), played)
    by_sox = subprocess.run(["sox", out, "-t", "f32", "-"], capture_output=True, check=True).stdout
    assert np.array_equal(np.frombuffer(by_sox, "<f4"), played)
    # When it began, by the wall clock: samples since midnight, to the second or so.
    midnight = time.mktime((*time.localtime(began)[:3], 0, 0, 0, 0, 0, -1))
    assert abs(got.time_reference / RATE - (began - midnight)) < 5
    assert re.search(r"CLOCK_MONOTONIC \d+ ns, source file:", got.comment)


def test_16_bit_wav_and_flac(engine: Engine, minute: np.ndarray, tmp_path: Path) -> None:
    service = engine(minute)
    for arguments in (["a.wav", "--format", "wav16"], ["b.flac"], ["c.bin", "--format", "flac24"]):
        out = tmp_path / arguments[0]
        tape = service.start(out, *arguments[1:], "--last", "9s", "--seconds", "1.1")
        assert tape.wait() == 0, tape.said
        got, rate = soundfile.read(out, dtype="float32")
        position = position_of(out)
        assert rate == RATE and len(got) == 17_600
        assert np.array_equal(got, as_float(minute)[position : position + len(got)])
    with wave.open(str(tmp_path / "a.wav")) as file:
        frames = np.frombuffer(file.readframes(10**6), "<i2")
    start = read_wav(tmp_path / "a.wav").position
    assert np.array_equal(frames, minute[start : start + len(frames)])
    checked = subprocess.run(
        ["flac", "-t", "-s", "-w", tmp_path / "b.flac"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    comments = (tmp_path / "b.flac").read_bytes()[:8192]
    for name in (b"V2M_RING=", b"V2M_MONOTONIC_NS=", b"DATE=2"):
        assert name in comments


def test_plain_writes_where_io_uring_is_refused(
    engine: Engine, minute: np.ndarray, tmp_path: Path
) -> None:
    service = engine(minute)
    out = tmp_path / "out.wav"
    tape = service.start(out, "--seconds", "0.7", "--log", "info", before=WITHOUT_IO_URING)
    assert tape.wait() == 0
    assert "plain writes: io_uring is refused" in tape.said
    got = read_wav(out)
    assert len(got.samples) == 11_200
    assert np.array_equal(got.samples, as_float(minute)[got.position :][:11_200])
    # And io_uring is what is used where it isn't.
    tape = service.start(tmp_path / "other.wav", "--seconds", "0.5", "--log", "debug")
    assert tape.wait() == 0 and "by io_uring" in tape.said


def test_the_past(engine: Engine, minute: np.ndarray, tmp_path: Path) -> None:
    service = engine(minute)
    wait_until(lambda: service.position() > 1.2 * RATE, "more than a second")
    began = service.position()
    service.record(tmp_path / "out.wav", "--last", "1s", "--seconds", "1s")
    got = read_wav(tmp_path / "out.wav")
    assert began - RATE <= got.position <= service.position() - RATE
    assert np.array_equal(got.samples, as_float(minute)[got.position :][:RATE])
    # Of more than the ring holds, what it holds.
    tape = service.start(tmp_path / "all.wav", "--last", "1h", "--seconds", "1s")
    assert tape.wait() == 0 and "goes back by" in tape.said
    assert read_wav(tmp_path / "all.wav").position == 0


def test_ctrl_c_ends_with_a_whole_file(engine: Engine, minute: np.ndarray, tmp_path: Path) -> None:
    service = engine(minute)
    for name in ("out.wav", "out.flac"):
        out = tmp_path / name
        tape = service.start(out)
        wait_until(out.exists, "the file")
        time.sleep(0.4)
        before = service.position()
        assert tape.stop() == 0 and tape.said == "", tape.said
        got = soundfile.read(out, dtype="float32")[0]
        position = position_of(out)
        assert np.array_equal(got, as_float(minute)[position : position + len(got)])
        assert position + len(got) >= before - RATE // 20


def test_standard_output(engine: Engine, minute: np.ndarray, tmp_path: Path) -> None:
    service = engine(minute)
    arguments = [BINARY, "record", "-", "--format", "wav32", "--seconds", "0.5"]
    piped = subprocess.run(arguments, env=service.env, capture_output=True, check=True)
    assert piped.stderr == b""
    position = int(re.search(rb"position (\d+)", piped.stdout)[1])
    got = np.frombuffer(piped.stdout[8192:], "<f4")
    assert np.array_equal(got, as_float(minute)[position : position + RATE // 2])
    # Others read it while its length is unknown.
    with subprocess.Popen(arguments, env=service.env, stdout=subprocess.PIPE) as tape:
        sox = ["sox", "-q", "--ignore-length", "-t", "wav", "-", "-t", "f32", "-"]
        by_sox = subprocess.run(sox, stdin=tape.stdout, capture_output=True, check=True).stdout
    assert len(by_sox) == RATE * 2
    # Into a file it is as good as a name.
    with open(tmp_path / "out.wav", "wb") as out:
        subprocess.run(arguments, env=service.env, stdout=out, check=True)
    assert len(read_wav(tmp_path / "out.wav").samples) == RATE // 2
    # A reader that goes ends it; one that stalls loses nothing that the ring holds.
    with subprocess.Popen([*arguments[:5]], env=service.env, stdout=subprocess.PIPE) as tape:
        tape.stdout.read(20_000)
        # Longer than a pipe holds.
        time.sleep(1.5)
        late = tape.stdout.read(100_000)
        tape.stdout.close()
        assert tape.wait(15) == 0
    assert len(late) == 100_000 and np.all(np.frombuffer(late[2:-2], "<f4") != 0)


def test_the_default_is_what_everybody_reads(
    engine: Engine, minute: np.ndarray, tmp_path: Path
) -> None:
    service = engine(minute)
    for out, arguments in (("a.wav", []), ("b.wav", ["--format", "wav"])):
        command = [BINARY, "record", tmp_path / out, "--seconds", "0.4", *arguments]
        subprocess.run(command, env=service.env, check=True)
        with wave.open(str(tmp_path / out)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
            frames = np.frombuffer(file.readframes(10**6), "<i2")
        start = read_wav(tmp_path / out).position
        assert np.array_equal(frames, minute[start : start + RATE * 2 // 5])


@pytest.mark.parametrize(("form", "kind"), [("s16le", "<i2"), ("f32le", "<f4")])
def test_samples_and_nothing_else(
    engine: Engine, minute: np.ndarray, tmp_path: Path, form: str, kind: str
) -> None:
    service = engine(minute)
    played = minute if kind == "<i2" else as_float(minute)
    command = [BINARY, "record", "-", "--format", form, "--seconds", "1"]
    pieces = []
    with subprocess.Popen(command, env=service.env, stdout=subprocess.PIPE) as tape:
        while piece := os.read(tape.stdout.fileno(), 1 << 16):
            pieces.append(piece)
    assert tape.returncode == 0
    got = np.frombuffer(b"".join(pieces), kind)
    assert len(got) == RATE
    (start,) = (at for at in np.flatnonzero(played == got[0]) if played[at + 1] == got[1])
    assert np.array_equal(got, played[start : start + RATE])
    # As the file plays, 20 ms at a time; not by the second, nor by a page of a pipe.
    assert len(pieces) > 25
    # Into files as well.
    subprocess.run([*command[:2], tmp_path / "a.pcm", *command[3:]], env=service.env, check=True)
    with open(tmp_path / "b.pcm", "wb") as out:
        subprocess.run(command, env=service.env, stdout=out, check=True)
    for name in ("a.pcm", "b.pcm"):
        assert len(np.fromfile(tmp_path / name, kind)) == RATE


def test_flac_into_a_pipe(engine: Engine, minute: np.ndarray) -> None:
    service = engine(minute)
    arguments = [BINARY, "record", "-", "--format", "flac", "--seconds", "0.8"]
    piped = subprocess.run(arguments, env=service.env, capture_output=True, check=True).stdout
    decoded = subprocess.run(
        ["flac", "-d", "-s", "-c", "--force-raw-format", "--endian=little", "--sign=signed", "-"],
        input=piped,
        capture_output=True,
        check=True,
    ).stdout
    position = int(re.search(rb"position (\d+)", piped)[1])
    got = np.frombuffer(decoded, "<i2")
    assert len(got) == 12_800 and np.array_equal(got, minute[position : position + len(got)])


def test_wrong_usage_is_refused_before_anything_is_written(
    engine: Engine, minute: np.ndarray, tmp_path: Path
) -> None:
    service = engine(minute)
    there = tmp_path / "there.wav"
    there.write_text("precious")
    for arguments, named in (
        ([there], "--overwrite"),
        ([tmp_path / "x.mp3"], ".mp3"),
        ([tmp_path / "x"], "wav16"),
        ([tmp_path / "none/x.wav"], "none/x.wav"),
        ([tmp_path], "neither"),
        ([tmp_path / "x.wav", "--sync", "0"], "0.05"),
        ([tmp_path / "x.wav", "--seconds", "0"], "more than 0"),
        ([tmp_path / "x.wav", "--last", "soon"], "30s"),
        ([tmp_path / "x.wav", "--format", "ogg"], "flac24"),
        (["-", "--split"], "standard output"),
    ):
        tape = service.start(*arguments)
        assert tape.wait() == 2, (arguments, tape.said)
        assert named in tape.said, tape.said
    assert there.read_text() == "precious"
    assert [path.name for path in tmp_path.glob("*.wav")] == ["there.wav"]
    service.record(there, "--overwrite", "--seconds", "0.3")
    assert len(read_wav(there).samples) == 4800


def test_an_engine_of_its_own(tmp_path: Path, engine: Engine, minute: np.ndarray) -> None:
    """Without a service, or when that captures something else."""
    service = engine(minute)
    other = noise(0.5, seed=2)
    from rig.playing import write_wav

    write_wav(tmp_path / "other.wav", other)
    service.record(tmp_path / "out.wav", "--source", f"file:{tmp_path}/other.wav")
    assert np.array_equal(read_wav(tmp_path / "out.wav").samples, as_float(other))
    service.kill()
    service.record(tmp_path / "again.wav", "--source", f"file:{tmp_path}/other.wav")
    assert np.array_equal(read_wav(tmp_path / "again.wav").samples, as_float(other))


def test_the_progress_line(engine: Engine, minute: np.ndarray, tmp_path: Path) -> None:
    """On a terminal, and only there."""
    import pty

    service = engine(minute)
    main, side = pty.openpty()
    command = [BINARY, "record", tmp_path / "out.wav", "--seconds", "0.9"]
    tape = subprocess.Popen(command, env=service.env, stderr=side)
    os.close(side)
    said = b""
    try:
        while block := os.read(main, 4096):
            said += block
    except OSError:
        pass
    os.close(main)
    assert tape.wait() == 0
    lines = said.decode().replace("\x1b[K", "").split("\r")
    assert any(re.search(r"00:00:0\d\.\d +0\.\d MB +-\d+\.\d dBFS +lost 0\.0 s", x) for x in lines)
    assert "out.wav (io_uring)" in lines[-2] + lines[-1]
