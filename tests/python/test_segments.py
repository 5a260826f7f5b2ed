"""Utterances of a live stream: all found, whole, in order, in place."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig import ROOT, wait_until
from rig.playing import Recording, Service, address_of, process_is_gone, ring_maps, write_wav
from rig.speech import RATE, Talk
from v2m_engine import (
    AudioCapture,
    AudioChunk,
    EngineUnavailableError,
    OverrunError,
    SpeechSegment,
    V2MError,
    VADProcessor,
)

Recorder = Callable[..., Recording]
Starter = Callable[..., Service]
Spoken = list[tuple[int, int]]

PAD = 3200
SHORT = (
    ("en", "Hello there, my friend."),
    ("en-us", "Good morning."),
    ("en", "See you later."),
)
SPEECH = Path("/usr/share/sounds/alsa/Front_Center.wav")


def private(source: str, **options: Any) -> AudioCapture:
    return AudioCapture(engine="private", source=source, **options)


def listen(source: str, **options: Any) -> list[SpeechSegment]:
    with private(source).stream() as audio:
        return list(audio.segments(**options))


def check(segments: list[SpeechSegment], talk: Talk) -> None:
    """Every utterance is in a segment, none begins after its first sound."""
    assert len(segments) == len(talk.spoken), (segments, talk.spoken)
    before = 0
    for segment, (begin, end) in zip(segments, talk.spoken, strict=True):
        assert before <= segment.position <= begin, (segment, begin)
        # What trails off can be quieter than the noise.
        assert segment.end >= end - RATE // 10, (segment, end)
        assert segment.position > begin - RATE // 2 and segment.end < end + RATE // 2
        before = segment.end


def write_noise(path: Path, kind: str) -> str:
    rng = np.random.default_rng(11)
    noise = rng.normal(0, 1, 12 * RATE)
    if kind == "pink":
        spectrum = np.fft.rfft(noise)
        noise = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)))
    elif kind == "hum":
        noise = noise * 0.1 + np.sin(np.arange(len(noise)) * 2 * np.pi * 50 / RATE)
    elif kind == "silence":
        noise *= 0
    scale = max(float(np.std(noise)), 1e-9)
    write_wav(path, np.clip(noise / scale * 2000, -32768, 32767).astype(np.int16))
    return f"file:{path}"


def test_every_utterance_is_found_in_quiet_and_in_noise(tmp_path: Path) -> None:
    """At the same time, each by an engine of its own: it takes as long as it plays."""
    talks = [Talk(tmp_path / f"{snr}.wav", texts=Talk.texts[:3], snr=snr) for snr in (None, 20, 10)]
    noises = [
        write_noise(tmp_path / f"{kind}.wav", kind) for kind in ("white", "pink", "hum", "silence")
    ]
    sources = [talk.source for talk in talks] + noises
    with ThreadPoolExecutor(len(sources)) as threads:
        found = list(threads.map(listen, sources))
    for talk, segments in zip(talks, found, strict=False):
        check(segments, talk)
        # Live or not, the same model by the same rules.
        stamps = VADProcessor(hearing="enhanced").speech_timestamps(talk.samples)
        assert [(s.position, s.end) for s in segments] == [(s["start"], s["end"]) for s in stamps]
    assert found[len(talks) :] == [[]] * len(noises)


def test_a_segment_is_a_chunk_in_the_rings_own_memory(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "talk.wav", lead=0.1, texts=SHORT[:1])
    with private(talk.source).stream() as audio:
        chunk = next(audio)
        (segment,) = audio.segments()
    assert isinstance(segment, AudioChunk)
    view = memoryview(segment)
    assert (view.format, view.ndim, view.readonly, view.contiguous) == ("f", 1, True, True)
    assert view.obj is segment
    assert len(segment) == len(view) == segment.end - segment.position
    assert segment.duration == len(segment) / RATE
    assert segment.final and segment.valid and not segment.gap
    samples = np.asarray(segment)
    # The pad was there before the speech was noticed, the ring's beginning before that.
    assert segment.position == 0
    assert np.array_equal(samples, talk.samples[: segment.end])
    assert address_of(segment) - address_of(chunk) == 4 * (segment.position - chunk.position)
    assert any(start <= address_of(segment) < end for start, end, _ in ring_maps())
    assert segment.time_ns == chunk.time_ns + (segment.position - chunk.position) * 62500
    speech = np.asarray(segment.speech)
    assert len(speech) == segment.end // 512 - segment.position // 512
    assert speech.max() > 0.5 and speech.min() >= 0
    copy = segment.copy()
    assert np.array_equal(copy, samples)
    assert "SpeechSegment" in repr(segment)


def test_a_slow_consumer_loses_nothing(tmp_path: Path) -> None:
    """5 s in the transcriber, with a quick one and another with a mind of its own beside it."""
    talk = Talk(tmp_path / "talk.wav", texts=Talk.texts[:3])
    capture = private(talk.source)

    async def transcribe(seconds: float, **options: Any) -> list[SpeechSegment]:
        found = []
        async with capture.stream() as audio:
            async for segment in audio.segments(**options):
                await asyncio.sleep(seconds)
                assert segment.valid
                place = slice(segment.position, segment.end)
                assert np.array_equal(np.asarray(segment), talk.samples[place])
                found.append(segment)
        return found

    async def main() -> tuple[list[SpeechSegment], ...]:
        return await asyncio.gather(
            transcribe(5), transcribe(0), transcribe(0, threshold=0.95), transcribe(0, pad_ms=0)
        )

    slow, quick, strict, bare = asyncio.run(main())
    for segments in (slow, quick):
        check(segments, talk)
    assert [s.position for s in slow] == [s.position for s in quick]
    # One client's threshold is no other's.
    assert sum(map(len, strict)) < sum(map(len, quick))
    assert all(b.position - q.position == PAD for b, q in zip(bare, quick, strict=True))


def test_growing_segments(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=Talk.texts[1:2], tail=0.8)
    found = listen(talk.source, partial_ms=300)
    finals = [segment for segment in found if segment.final]
    check(finals, talk)
    growing = [segment for segment in found if not segment.final]
    assert len(growing) >= 3
    for before, after in pairwise(found):
        if not before.final:
            assert after.position == before.position
            assert after.final or after.end > before.end


def test_a_file_that_ends_in_a_word(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=SHORT[:1], tail=0)
    (segment,) = listen(talk.source)
    assert segment.end == len(talk.samples)
    assert np.array_equal(np.asarray(segment), talk.samples[segment.position :])


def test_long_speech_is_split(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=Talk.texts[:1], tail=0.8)
    found = listen(talk.source, max_s=1.0, pad_ms=0)
    assert len(found) > 2
    assert max(segment.duration for segment in found) <= 1.04
    for begin, end in talk.spoken:
        assert sum(segment.position < end and segment.end > begin for segment in found) >= 2


def test_an_overrun_counts_the_speech_that_was_lost(tmp_path: Path, service: Starter) -> None:
    """The reader sleeps for longer than the 4 s of history."""
    talk = Talk(tmp_path / "talk.wav", texts=SHORT, lead=0.3)
    service("--source", talk.source, "--history", "4")
    with AudioCapture(buffer_size=1000).stream() as audio:
        segments = audio.segments()
        first = next(segments)
        held = np.asarray(first)
        # Until the last utterance is over.
        done = talk.spoken[-1][1] + RATE
        assert done - first.end > audio.history
        wait_until(lambda: audio.position > done, "most of the talk", 30)
        assert not first.valid
        assert len(held) == len(first)
        with pytest.raises(OverrunError, match="overwritten") as overrun:
            next(segments)
        rest = list(segments)
        assert overrun.value.lost >= sum(
            end - begin for begin, end in talk.spoken[1 : -len(rest) or None]
        )
        assert rest, "the last utterance is within half of the history"
        for segment in rest:
            assert np.array_equal(np.asarray(segment), talk.samples[segment.position : segment.end])


def test_nothing_is_lost_by_sleeping_in_silence(tmp_path: Path, service: Starter) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=SHORT[:1], lead=6, tail=0.9)
    service("--source", talk.source, "--history", "4")
    with AudioCapture(buffer_size=1000).stream() as audio:
        segments = audio.segments()
        wait_until(lambda: audio.position > 5 * RATE, "more than the history", 30)
        check(list(segments), talk)


def test_segments_begin_where_the_stream_does_then_with_what_is_new(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=SHORT[:2], lead=0.3)
    with private(talk.source).stream() as audio:
        # Called late, but nothing was taken from the stream yet.
        wait_until(lambda: audio.position > talk.spoken[0][1] + RATE, "the first utterance", 30)
        first = next(audio.segments())
        assert first.position <= talk.spoken[0][0]
        second = next(audio.segments())
        assert second.position > first.end


def test_closing_ends_the_iteration(tmp_path: Path) -> None:
    source = write_noise(tmp_path / "noise.wav", "pink")
    with private(source).stream(timeout=None) as audio:
        segments = audio.segments()
        thread = threading.Thread(target=lambda: results.extend(segments))
        results: list[SpeechSegment] = []
        thread.start()
        time.sleep(0.1)
        audio.close()
        thread.join(5)
        assert not thread.is_alive() and not results
        with pytest.raises(V2MError, match="closed"):
            audio.segments()


def test_on_a_loop_that_leaves_early(tmp_path: Path, waiting: str) -> None:
    """`break`, cancel, and go on: nothing stays behind in the loop."""
    talk = Talk(tmp_path / "talk.wav", texts=SHORT, lead=0.3, tail=0.8)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with private(talk.source).stream() as audio:
            kept = audio.segments()
            first = await anext(kept)
            assert first.position <= talk.spoken[0][0]
            async for _ in audio.segments():
                break  # and leaves an iterator behind
            gc.collect()
            waits = asyncio.ensure_future(anext(kept))
            await asyncio.sleep(0)
            waits.cancel()
            found = [first] + ([waits.result()] if waits.done() else [])
            found += [segment async for segment in kept]
            check(found, talk)
            del kept
            await asyncio.sleep(0.05)
        selector = getattr(loop, "_selector", None)
        if selector is not None:  # only the loop's own wake-up pipe is left
            assert len(selector.get_map()) <= 1

    asyncio.run(main())


def test_an_engine_that_dies(tmp_path: Path) -> None:
    """What was open comes; then it goes on with the next engine."""
    talk = Talk(tmp_path / "talk.wav", texts=SHORT[:2], lead=0.3, tail=0.8)
    begin, _ = talk.spoken[0]
    with private(talk.source).stream() as audio:
        segments = audio.segments()
        wait_until(lambda: audio.position > begin + RATE // 2, "half a second of speech")
        pid = audio.private_engine_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        cut = next(segments)
        assert cut.position <= begin and cut.final and not cut.gap
        assert np.array_equal(np.asarray(cut), talk.samples[cut.position : cut.end])
        again = list(segments)
        assert again[0].gap and not again[1].gap
        check(again, talk)


def test_an_engine_that_dies_on_a_loop(tmp_path: Path, waiting: str) -> None:
    """Segments and chunks of one stream lose the same engine, and find the same next one."""
    talk = Talk(tmp_path / "talk.wav", texts=SHORT[:1], lead=0.3, tail=0.8)

    async def main() -> None:
        async with private(talk.source).stream() as audio:

            async def speech() -> list[SpeechSegment]:
                return [segment async for segment in audio.segments()]

            async def chunks() -> list[AudioChunk]:
                return [chunk async for chunk in audio]

            both = asyncio.gather(speech(), chunks(), speech())
            await asyncio.sleep(0.5)
            pid = audio.private_engine_pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            found, all_chunks, second = await asyncio.wait_for(both, 60)
        assert [s.position for s in found] == [s.position for s in second]
        assert found[-1].gap and found[-1].position <= talk.spoken[0][0]
        assert sum(chunk.gap for chunk in all_chunks) == 1

    asyncio.run(main())


def test_an_iterator_keeps_no_engine(tmp_path: Path) -> None:
    capture = private(write_noise(tmp_path / "noise.wav", "pink"))
    with capture.stream() as audio:
        pid = audio.private_engine_pid
        assert pid is not None
        segments = audio.segments()
    capture.close()
    assert process_is_gone(pid)
    assert next(segments, None) is None


def switch_off(tmp_path: Path) -> None:
    directory = tmp_path / "config/v2m-engine"
    directory.mkdir(parents=True)
    (directory / "config.toml").write_text('[vad]\nbackend = "off"\n')


def test_an_engine_without_speech_detection_says_so(tmp_path: Path, waiting: str) -> None:
    switch_off(tmp_path)

    async def main() -> None:
        async with private(f"file:{SPEECH}").stream() as audio:
            async for _ in audio.segments():
                pytest.fail("a segment from nowhere")

    with private(f"file:{SPEECH}").stream() as audio:
        segments = audio.segments()
        for _ in range(2):
            with pytest.raises(V2MError, match=r"switched off.*--vad-backend off"):
                next(segments)
        assert len(next(audio).speech) == 0  # nothing is known, not zero
    with pytest.raises(V2MError, match="switched off"):
        asyncio.run(main())


def test_a_model_that_does_not_load_says_so(tmp_path: Path, service: Starter) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"nothing of the kind")
    service("--source", f"file:{SPEECH}", "--vad-model", str(model))
    with (
        AudioCapture(engine="service", buffer_size=1000).stream() as audio,
        pytest.raises(V2MError, match=r"no speech detection.*VAD"),
    ):
        list(audio.segments())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_speech_ms": -1}, "min_speech_ms=-1"),
        ({"min_silence_ms": 1 << 40}, "min_silence_ms"),
        ({"pad_ms": 20_000}, "max_s"),
        ({"pad_ms": 25_000, "max_s": 60}, "three quarters of what the engine keeps"),
        ({"max_s": 0.1}, "max_s"),
        ({"max_s": float("nan")}, "max_s"),
        ({"partial_ms": 0}, "partial_ms"),
        ({"threshold": 0}, "threshold"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": 0.5, "neg_threshold": 0.6}, "neg_threshold"),
    ],
)
def test_wrong_parameters(open_stream: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_stream.segments(**options)


@pytest.fixture(scope="module")
def open_stream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    directory = tmp_path_factory.mktemp("stream")
    environment = {"V2M_ENGINE_BIN": str(ROOT / "target/release/v2m-engine")}
    os.environ |= {k: v for k, v in environment.items() if k not in os.environ}
    with private(write_noise(directory / "noise.wav", "white")).stream() as audio:
        yield audio


def test_a_stream_that_is_not_open() -> None:
    with pytest.raises(V2MError, match="not open"):
        AudioCapture().stream().segments()
    with pytest.raises(EngineUnavailableError), AudioCapture(engine="service").stream() as audio:
        audio.segments()


def test_segments_leak_nothing(tmp_path: Path, service: Starter) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=Talk.texts[:1], lead=0.3, tail=10)
    service("--source", talk.source)
    with AudioCapture(buffer_size=1000).stream() as audio:
        wait_until(lambda: audio.position > talk.spoken[-1][1] + RATE, "all of the talk", 30)

        def take(count: int) -> int:
            for _ in range(count):
                # Nothing is taken from the stream's own: each begins where it was entered.
                held = audio.segments(max_s=0.1, pad_ms=0, min_speech_ms=0)
                del held
            gc.collect()
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        take(2000)
        before = take(1)
        assert take(20_000) - before < 2000  # KiB
        held = audio.segments(max_s=0.1, pad_ms=0, min_speech_ms=0)
        segments = [next(held) for _ in range(15)]
        for segment in segments:
            for _ in range(1000):
                np.asarray(memoryview(segment))[0]
                segment.speech  # noqa: B018
            assert sys.getrefcount(segment) == 3  # the list's, the loop's, the call's
