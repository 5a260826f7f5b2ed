"""Utterances that get too long are cut where it is silent, live and in recordings."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from rig.playing import Floats, write_wav
from rig.speech import RATE, read_pocketsphinx
from v2m_engine import AudioCapture, VADProcessor

RECORDED = Path("/usr/share/pocketsphinx/test/data/librivox")
#: What is looked at for a cut is the last 5 s.
MAX_S = 12
Spans = list[tuple[int, int]]


def without_pauses(speech: Floats) -> Floats:
    """What is left of it without 40 ms and more that are 18 dB below it."""
    blocks = speech[: len(speech) // 160 * 160].reshape(-1, 160)
    level = np.sqrt(np.mean(blocks**2, axis=1))
    loud = level > 0.12 * np.sqrt(np.mean(speech**2))
    # With one loud block within 20 ms on either side.
    near = np.convolve(loud, np.ones(5), "same") > 0
    return blocks[near].ravel()


def drawn(rng: np.random.Generator) -> tuple[Floats, Spans]:
    """Half a minute of readers who don't pause, with 32 to 300 ms of digital silence in drawn
    places, and where these are."""
    readers = [without_pauses(read_pocketsphinx(path)) for path in sorted(RECORDED.glob("*.wav"))]
    order = rng.permutation(np.repeat(np.arange(len(readers)), 3))
    speech = np.concatenate([readers[n] / np.abs(readers[n]).max() / 2 for n in order])
    parts: list[Floats] = []
    silent: Spans = []
    at = 0
    while len(speech) > 4 * RATE and at < 30 * RATE:
        words = int(rng.uniform(2, 4) * RATE)
        # Most are so short that they don't end up as a pause.
        silence = int(0.032 * RATE * (300 / 32) ** rng.uniform(0, 1) ** 3)
        parts += [speech[:words], np.zeros(silence, np.float32)]
        silent.append((at + words, at + words + silence))
        speech = speech[words:]
        at = silent[-1][1]
    audio = np.concatenate([*parts, speech[: 2 * RATE]])
    return (np.round(audio * 32768) / 32768).astype(np.float32), silent


def cuts(found: Spans) -> list[int]:
    """Where one goes on where the one before ends."""
    return [end for (_, end), (start, _) in pairwise(found) if start == end]


@pytest.mark.parametrize("hearing", ["plain", "enhanced"])
def test_a_cut_falls_into_silence_if_there_was_any(hearing: Literal["plain", "enhanced"]) -> None:
    vad = VADProcessor(max_s=MAX_S, pad_ms=0, split="quietest", hearing=hearing)
    all_cuts = 0
    for seed in range(40):
        audio, silent = drawn(np.random.default_rng(seed))
        timestamps = vad.speech_timestamps(audio)
        assert vad.speech_timestamps_many([audio, audio], 1) == [timestamps, timestamps]
        found = [(int(t["start"]), int(t["end"])) for t in timestamps]
        assert all(end - start <= MAX_S * RATE for start, end in found)
        for cut in cuts(found):
            all_cuts += 1
            where = [span for span in silent if span[0] < cut < span[1]]
            assert where, f"seed {seed}: {cut} is in speech: {found}, silent: {silent}"
    assert all_cuts >= 10


@pytest.mark.parametrize("rate", [16000, 48000])
def test_live_speech_is_cut_in_the_same_silence(tmp_path: Path, rate: int) -> None:
    audio, silent = drawn(np.random.default_rng(3))
    path = tmp_path / "talk.wav"
    write_wav(path, np.round(audio * 32768).astype(np.int16))
    capture = AudioCapture(rate, engine="private", source=f"file:{path}")
    with capture.stream() as stream:
        live = [
            (s.position * RATE // rate, s.end * RATE // rate)
            for s in stream.segments(max_s=MAX_S, pad_ms=0)
        ]
    assert cuts(live)
    for cut in cuts(live):
        assert any(start < cut < end for start, end in silent), (live, silent)
    if rate == RATE:
        vad = VADProcessor(max_s=MAX_S, pad_ms=0, split="quietest", hearing="enhanced")
        same = [(t["start"], t["end"]) for t in vad.speech_timestamps(audio)]
        assert live == same
