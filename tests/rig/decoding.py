"""What other programs make of a recording."""

from __future__ import annotations

import re
import subprocess
import wave
from pathlib import Path

import av
import numpy as np
import soundfile

from rig.recorder import as_float, read_wav


def decode_by_ffmpeg(path: Path, *, cut: bool = False) -> np.ndarray:
    """FFmpeg's libraries' idea of the file; of one that was `cut`, up to a frame that is
    not whole, as the program does.
    """
    frames = []
    with av.open(str(path)) as container:
        try:
            for frame in container.decode(audio=0):
                frames.append(frame.to_ndarray().ravel())
        except av.error.InvalidDataError:
            assert cut
    return np.concatenate(frames)


def position_of(path: Path) -> int:
    found = re.search(rb"position (\d+)", path.read_bytes()[:8192])
    assert found
    return int(found[1])


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
