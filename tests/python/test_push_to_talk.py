"""An utterance ends when its program says so: a key is released, the stream is closed."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig import wait_until
from rig.speech import RATE, Talk
from v2m_engine import AudioCapture, AudioStream, SpeechSegment

LONG = (("en", "The quick brown fox jumps over the lazy dog, and then it runs home."),)


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path / "talk.wav", texts=LONG, lead=0.3, tail=1.0)


def private(source: str, **options: Any) -> AudioCapture:
    return AudioCapture(engine="private", source=source, **options)


def is_spoken_to(audio: AudioStream, talk: Talk, seconds: float = 1.2) -> None:
    begin, _ = talk.spoken[0]
    wait_until(lambda: audio.position > begin + seconds * RATE, "some speech", 30)


def whole(segment: SpeechSegment, talk: Talk) -> bool:
    place = slice(segment.position, segment.end)
    return np.array_equal(np.asarray(segment), talk.samples[place])


def test_finish(talk: Talk) -> None:
    with private(talk.source).stream() as audio:
        segments = audio.segments()
        assert not segments.finish()
        is_spoken_to(audio, talk)
        there = audio.position
        assert segments.finish()
        cut = next(segments)
        assert cut.final and whole(cut, talk)
        assert cut.position <= talk.spoken[0][0] and there <= cut.end <= audio.position
        # It goes on, with what follows.
        rest = list(segments)
        assert rest and all(whole(segment, talk) for segment in rest)
        assert rest[0].position >= cut.end and rest[-1].end >= talk.spoken[0][1] - RATE // 10
        assert not segments.finish()
    assert not segments.finish()


def test_finish_wakes_whoever_waits(talk: Talk) -> None:
    with private(talk.source).stream() as audio:
        segments = audio.segments()
        found: list[SpeechSegment] = []
        thread = threading.Thread(target=lambda: found.append(next(segments)))
        thread.start()
        is_spoken_to(audio, talk)
        assert segments.finish()
        thread.join()
        assert found[0].end < talk.spoken[0][1]


def test_finish_on_a_loop(talk: Talk, waiting: str) -> None:
    async def main() -> None:
        async with private(talk.source).stream() as audio:
            segments = audio.segments(partial_ms=200)

            async def utterance() -> list[SpeechSegment]:
                found = []
                async for segment in segments:
                    found.append(segment)
                    if segment.final:
                        break
                return found

            task = asyncio.create_task(utterance())
            await asyncio.to_thread(is_spoken_to, audio, talk)
            assert segments.finish()
            found = await asyncio.wait_for(task, 30)
        assert len(found) > 1 and found[-1].final and whole(found[-1], talk)
        assert found[-1].end < talk.spoken[0][1]

    asyncio.run(main())


def test_closing_gives_what_was_open(talk: Talk) -> None:
    """To whoever waits, and to whoever comes later."""
    with private(talk.source).stream() as audio:
        waits, later = audio.segments(), audio.segments()
        found: list[SpeechSegment] = []
        thread = threading.Thread(target=lambda: found.extend(waits))
        thread.start()
        is_spoken_to(audio, talk)
        there = audio.position
    thread.join()
    for segments in (found, list(later)):
        (last,) = segments
        assert last.final and whole(last, talk)
        assert last.position <= talk.spoken[0][0] and there <= last.end < talk.spoken[0][1]


def test_leaving_on_a_loop_gives_what_was_open(talk: Talk, waiting: str) -> None:
    async def main() -> None:
        async with private(talk.source).stream() as audio:
            segments = audio.segments()

            async def take() -> list[SpeechSegment]:
                return [segment async for segment in segments]

            tasks = [asyncio.create_task(take()) for _ in range(2)]
            await asyncio.to_thread(is_spoken_to, audio, talk)
        found = await asyncio.wait_for(asyncio.gather(*tasks), 30)
        # One of them gets it.
        (last,) = found[0] + found[1]
        assert last.final and whole(last, talk)

    asyncio.run(main())


def test_the_service_goes_on_after_that(talk: Talk, service: Any) -> None:
    """What the engine hears after the stream was closed is no part of it."""
    service("--source", talk.source)
    with AudioCapture(buffer_size=1000).stream() as other:
        with AudioCapture(buffer_size=1000).stream() as audio:
            segments = audio.segments()
            is_spoken_to(audio, talk)
        closed = other.position
        wait_until(lambda: other.position > closed + RATE // 2, "more speech", 30)
        (last,) = segments
        assert last.final and last.end <= closed
