"""Streams read together: chunks that cover the same time, whatever their source and rate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from rig.playing import Recording
from v2m_engine import AudioCapture, AudioChunk, V2MError, together

Recorder = Callable[..., Recording]


def capture(recording: Recording, rate: int = 16_000, **options: int) -> AudioCapture:
    return AudioCapture(rate, 1600 * rate // 16_000, engine="private", source=recording.source)


def apart_ns(chunks: tuple[AudioChunk, ...]) -> int:
    times = [chunk.time_ns for chunk in chunks]
    return max(times) - min(times)


def test_two_sources_cover_the_same_time_to_the_sample(recording: Recorder) -> None:
    first, second = recording(6), recording(6)
    with capture(first).stream() as a, capture(second).stream() as b:
        got = [pair for pair, _ in zip(together(a, b), range(20), strict=False)]
        apart = {pair[0].position - pair[1].position for pair in got}
        assert len(apart) == 1, "a constant apart"
        for pair in got:
            assert apart_ns(pair) <= 62_500
            assert first.holds(pair[0].position, pair[0])
            assert second.holds(pair[1].position, pair[1])
        assert [pair[0].position for pair in got[1:]] == [
            pair[0].position + 1600 for pair in got[:-1]
        ]


def test_rates_of_one_source_too(recording: Recorder) -> None:
    played = recording(6)
    with (
        capture(played).stream() as a,
        capture(played, 48_000).stream() as b,
        capture(played, 8_000).stream() as c,
    ):
        for chunks, _ in zip(together(a, b, c), range(20), strict=False):
            assert [len(chunk) for chunk in chunks] == [1600, 4800, 800]
            assert apart_ns(chunks) <= 125_000
            if not any(chunk.gap for chunk in chunks):
                # Below 1 kHz they hold the same.
                spectra = [np.fft.rfft(np.asarray(chunk))[1:100] / len(chunk) for chunk in chunks]
                for other in spectra[1:]:
                    likeness = np.abs(np.vdot(spectra[0], other))
                    likeness /= np.linalg.norm(spectra[0]) * np.linalg.norm(other)
                    assert likeness > 0.95, likeness


def test_a_loop_can_wait_for_them(recording: Recorder) -> None:
    first, second = recording(6), recording(6)

    async def main() -> list[tuple[AudioChunk, ...]]:
        got = []
        async with capture(first).stream() as a, capture(second).stream() as b:
            async for pair in together(a, b):
                got.append(pair)
                if len(got) == 10:
                    break
        return got

    for pair in asyncio.run(main()):
        assert apart_ns(pair) <= 62_500


def test_the_end_of_one_is_the_end(recording: Recorder) -> None:
    long, short = recording(6), recording(1)
    with capture(long).stream() as a, capture(short).stream() as b:
        got = list(together(a, b))
        assert 1 <= len(got) <= 10
        assert next(a).position > got[-1][0].position


def test_what_is_no_open_stream_is_refused(recording: Recorder) -> None:
    stream = capture(recording(1)).stream()
    with pytest.raises(V2MError, match="not open"):
        together(stream)
    with pytest.raises(ValueError, match="no stream"):
        together()
