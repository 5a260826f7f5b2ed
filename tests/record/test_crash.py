"""Killed at any moment: every file opens, and at most the last sync interval is missing."""

from __future__ import annotations

import os
import random
import subprocess
import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support import LONG, RATE, Service, Tape, as_float, noise, read_wav, wait_until
from test_files import decode_by_ffmpeg, position_of
from watch import Watch

Engine = Callable[..., Service]

ROUNDS = 200 if LONG else 9
SYNC = 0.2
FORMS = (("wav", []), ("wav", ["--format", "wav16"]), ("flac", []))


def opens(path: Path, played: np.ndarray) -> tuple[int, int]:
    """Position and length of what is in the file; fails if it isn't the ring's."""
    position = position_of(path)
    # In a FLAC without a frame libsndfile can't seek; of no length it is of any.
    empty = not 0 < soundfile.info(path).frames < 1 << 62
    samples = np.zeros(0, np.float32) if empty else soundfile.read(path, dtype="float32")[0]
    assert np.array_equal(samples, as_float(played)[position:][: len(samples)])
    if path.suffix == ".wav":
        assert len(read_wav(path).samples) == len(samples)
    if path.suffix == ".wav" and soundfile.info(path).subtype == "PCM_16":
        with wave.open(str(path)) as file:
            assert file.getnframes() == len(samples)
    if len(samples) and path.suffix == ".wav":
        sox = ["sox", "-q", path, "-t", "f32", "-"]
        by_sox = subprocess.run(sox, capture_output=True, check=True).stdout
        assert np.array_equal(np.frombuffer(by_sox, "<f4"), samples)
    if len(samples):
        by_ffmpeg = decode_by_ffmpeg(path, cut=True)
        if by_ffmpeg.dtype == np.int16:
            by_ffmpeg = as_float(by_ffmpeg)
        # FFmpeg reads on where a killed writer left more than the header says.
        assert np.array_equal(by_ffmpeg[: len(samples)], samples)
    return position, len(samples)


@pytest.mark.parametrize("victim", ["recorder", "engine", "both"])
def test_kill_9(engine: Engine, tmp_path: Path, victim: str, writing: tuple[str, ...]) -> None:
    """What the ring held one interval before the kill is in the file.

    But for what the machine itself withheld from the recorder, as measured meanwhile.
    """
    rounds = -(-ROUNDS // 6) if LONG else -(-ROUNDS // 3)
    played = noise(120, seed=5)
    dice = random.Random()
    service = engine(played)
    for turn in range(rounds):
        if service.process.poll() is not None or service.position() > 100 * RATE:
            service.kill()
            service = engine(played)
        extension, arguments = FORMS[turn % 3]
        out = tmp_path / f"{victim}-{turn}.{extension}"
        watch = Watch(service.env["V2M_ENGINE_SOCKET"], tmp_path)
        tape: Tape = service.start(out, "--sync", str(SYNC), *arguments, before=writing)
        watch.pid = tape.process.pid
        wait_until(out.exists, "the file")
        # From its first moment on; as one read finds it, since it grows.
        first = out.with_stem("first")
        first.write_bytes(out.read_bytes())
        opens(first, played)
        time.sleep(dice.uniform(0, 1.5 if LONG else 0.8))
        killed, end = time.monotonic(), watch.ring.committed()
        if victim == "engine":
            service.kill()
            # It waits for another engine, until it is told to end.
            assert tape.stop() == 0, tape.said
        else:
            tape.process.kill()
            if victim == "both":
                service.kill()
            os.waitid(os.P_PID, tape.process.pid, os.WEXITED | os.WNOWAIT)
        watch.stop()
        if victim != "engine":
            tape.kill()
        position, length = opens(out, played)
        late = watch.withheld(killed, SYNC)
        least = watch.committed(killed - SYNC - late)
        print(f"{victim} {turn}: lacks {(end - position - length) / RATE:.3f} s, late {late:.3f} s")
        assert position + length >= min(least, end), (position, length, least, late)
        if victim == "engine":
            assert position + length >= end, "not all that the ring held"
        out.unlink()
