"""Audio that comes out of a pipe."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import threading
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from rig import BINARY
from rig.user import User
from v2m_engine import AudioCapture

RATE = 16_000


def wav(values: list[float], seconds: float = 1.0) -> bytes:
    """Constants, one after the other, so long each."""
    samples = np.repeat(np.array(values), int(seconds * RATE))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def heard(path: Path) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    chunks = []
    with AudioCapture(source=f"file:{path}", engine="private", buffer_size=1600).stream() as audio:
        chunks = [np.asarray(chunk.copy()) for chunk in audio]
    return np.concatenate(chunks)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "audio"
    os.mkfifo(path)
    return path


def test_a_fifo_is_waited_for_and_heard_to_its_end(fifo: Path) -> None:
    def play() -> None:
        time.sleep(1)
        fifo.write_bytes(wav([0.5, 0.25]))

    writer = threading.Thread(target=play)
    writer.start()
    samples = heard(fifo)
    writer.join()
    assert np.isclose(np.median(samples[4000:12000]), 0.5, atol=0.01)
    assert np.isclose(np.median(samples[20000:28000]), 0.25, atol=0.01)


@pytest.mark.parametrize("length", [RATE, 0, 2**64 - 1], ids=["known", "none", "unknown"])
def test_rf64_comes_out_of_a_pipe_too(fifo: Path, length: int) -> None:
    """As FFmpeg writes it into one, where the length is not known yet, or as a file holds it."""
    plain = wav([0.5, 0.25], 0.5)
    samples = plain[44:]
    lengths = struct.pack("<QQQI", 2**64 - 1, min(2 * length, 2**64 - 1), 0, 0)
    head = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<I", len(lengths)) + lengths
    note = b"note" + struct.pack("<I", 5) + b"hello\0"
    behind = b"more" + struct.pack("<I", 4) + b"\x7f\x7f\x7f\x7f" if length == RATE else b""
    rf64 = head + note + plain[12:40] + b"\xff\xff\xff\xff" + samples + behind
    writer = threading.Thread(target=lambda: fifo.write_bytes(rf64))
    writer.start()
    got = heard(fifo)
    writer.join()
    assert len(got) == RATE
    assert np.allclose(got, np.frombuffer(samples, "<i2") / 32768, atol=1e-6)


def test_a_pause_in_a_pipe_is_a_gap_of_its_length(fifo: Path) -> None:
    whole = wav([0.5, 0.25])
    middle = len(whole) - 2 * RATE

    def play() -> None:
        with fifo.open("wb", buffering=0) as out:
            out.write(whole[:middle])
            time.sleep(3)
            out.write(whole[middle:])

    writer = threading.Thread(target=play)
    writer.start()
    gaps = 0
    with AudioCapture(source=f"file:{fifo}", engine="private", buffer_size=1600).stream() as audio:
        for chunk in audio:
            gaps += 1600 * chunk.gap
    writer.join()
    assert 1.0 * RATE <= gaps <= 4.0 * RATE


def test_nobody_writes_and_the_engine_ends_all_the_same(user: User, fifo: Path) -> None:
    engine = subprocess.Popen([BINARY, "run", "--source", f"file:{fifo}"], env=user.env)
    time.sleep(0.5)
    engine.terminate()
    assert engine.wait(5) == 0


@pytest.mark.parametrize("command", ["run", "record"])
def test_standard_input_is_a_source(user: User, tmp_path: Path, command: str) -> None:
    out = tmp_path / "out.wav"
    if command == "record":
        done = subprocess.run(
            [BINARY, "record", out, "--format", "wav16", "--source", "file:-"],
            input=wav([0.5, 0.25]),
            env=user.env,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0
        with wave.open(str(out)) as recorded:
            assert recorded.getnframes() >= 1.8 * RATE
        return
    engine = subprocess.Popen(
        [BINARY, "run", "--source", "file:-", "--no-pace"], stdin=subprocess.PIPE, env=user.env
    )
    assert engine.stdin is not None
    engine.stdin.write(wav([0.5]))
    engine.stdin.close()
    try:
        deadline = time.monotonic() + 20
        while "ended" not in user.command("status").stdout:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        engine.terminate()
        engine.wait(5)
