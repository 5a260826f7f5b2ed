"""VADProcessor: the reference's answers for any audio, the track's for live audio."""

from __future__ import annotations

import array
import asyncio
import gc
import importlib
import os
import pickle
import resource
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from rig import wait_until
from rig.playing import Floats, Recording, Service
from rig.speech import RATE, TEXTS, Talk, say
from v2m_engine import AudioCapture, OverrunError, V2MError, VADProcessor, VADStream

Recorder = Callable[..., Recording]
Starter = Callable[..., Service]

TOLERANCE = 1e-4
CONTRACT = """
from v2m_engine import AudioCapture, VADProcessor

capture = AudioCapture(sample_rate=16000, buffer_size=4096)
vad = VADProcessor(threshold=0.5)

async with capture.stream() as audio:
    if vad.contains_speech(audio):
        await transcriber.process(audio)
"""


def numbers(found: Any) -> Floats:
    return np.asarray(found)


def test_the_reference_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On more than ten minutes of speech, noise, pauses and garbage, float32 and int16."""
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # espeak-ng leaves things there
    # Late: it sets ONNX Runtime's environment for whoever imports it.
    reference = importlib.import_module("rig.vad_reference")
    audio = np.round(reference.audio(10.5) * 32768)
    audio = np.clip(audio, -32768, 32767).astype(np.int16)[: RATE * 630 // 512 * 512]
    floats = (audio / 32768).astype(np.float32)
    expected = reference.Reference().probabilities(floats)
    assert len(expected) == len(audio) // 512 > 19_000
    assert 0.1 < (expected > 0.5).mean() < 0.9
    vad = VADProcessor()
    for samples in (floats, audio, array.array("h", audio.tobytes()), memoryview(floats)):
        found = numbers(vad.probabilities(samples))
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() < TOLERANCE
    # In pieces, of lengths that are no windows'.
    pieces = np.array_split(floats, 4001)
    assert len({len(piece) % 512 for piece in pieces}) > 1
    found = np.concatenate([vad.probabilities(piece, resume=True) for piece in pieces])
    assert np.abs(found - expected).max() < TOLERANCE
    vad.reset()
    again = np.concatenate([vad.probabilities(piece, resume=True) for piece in pieces[:50]])
    assert np.array_equal(again, found[: len(again)])


def test_a_recording_does_not_depend_on_what_came_before() -> None:
    vad = VADProcessor()
    speech = say(*reversed(TEXTS[0]))
    alone = bytes(vad.probabilities(speech))
    assert vad.contains_speech(speech)
    assert not vad.contains_speech(np.zeros(RATE, np.float32))
    vad.probabilities(speech[:5000], resume=True)
    assert bytes(vad.probabilities(speech)) == alone
    # The last window is filled up.
    assert len(vad.probabilities(speech[:513])) == 2
    assert len(vad.probabilities(speech[:1])) == 1


def test_timestamps(tmp_path: Path) -> None:
    vad = VADProcessor()
    for snr in (None, 20, 10):
        talk = Talk(tmp_path / f"{snr}.wav", texts=TEXTS * 4, snr=snr)
        found = vad.speech_timestamps(talk.samples)
        assert len(found) == len(talk.spoken) == 20
        for stamp, (begin, end) in zip(found, talk.spoken, strict=True):
            assert begin - RATE // 2 < stamp["start"] <= begin
            assert end - RATE // 10 <= stamp["end"] < end + RATE // 2
        seconds = vad.speech_timestamps(talk.samples, return_seconds=True)
        assert [s["start"] * RATE for s in seconds] == [s["start"] for s in found]
        assert all(type(s["start"]) is int for s in found)
        assert all(type(s["end"]) is float for s in seconds)
    strict = VADProcessor(threshold=0.95, pad_ms=0, min_speech_ms=500)
    bare = strict.speech_timestamps(talk.samples)
    assert sum(s["end"] - s["start"] for s in bare) < sum(s["end"] - s["start"] for s in found)


def test_no_speech_in_noise() -> None:
    vad = VADProcessor()
    rng = np.random.default_rng(2)
    for level in (1e-4, 0.01, 0.1, 1):
        noise = np.clip(rng.normal(0, level, 20 * RATE), -1, 1).astype(np.float32)
        assert not vad.contains_speech(noise)
        assert vad.speech_timestamps(noise) == []


def test_half_the_rate_has_a_network_of_its_own(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=TEXTS[:3], snr=20)
    # A low-pass filter and every second sample.
    spectrum = np.fft.rfft(talk.samples)
    spectrum[int(len(spectrum) * 0.45) :] = 0
    halved = np.fft.irfft(spectrum)[::2].astype(np.float32)
    vad = VADProcessor()
    found = vad.speech_timestamps(halved, sample_rate=8000)
    whole = vad.speech_timestamps(talk.samples)
    assert len(found) == len(whole) == 3
    for half, full in zip(found, whole, strict=True):
        assert abs(2 * half["start"] - full["start"]) <= 2 * 512
        assert abs(2 * half["end"] - full["end"]) <= 4 * 512
    narrow = numbers(vad.probabilities(halved, sample_rate=8000))
    assert len(narrow) == -(-2 * len(halved) // 512)
    # Every sample of it counts, the last ones too.
    assert len(vad.probabilities(halved[:257], sample_rate=8000)) == 2
    assert len(vad.probabilities(halved[:256], sample_rate=8000)) == 1


GOOD = np.zeros(1024, np.float32)


def unaligned() -> Any:
    return np.frombuffer(bytes(2049), np.int16, count=1024, offset=1)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (GOOD.astype(np.float64), "float32"),
        (GOOD.astype(np.int32), "int16"),
        (GOOD.astype(np.uint16), "int16"),
        (GOOD.astype(">f4"), 'format ">f"'),
        (GOOD.astype(np.complex64), "float32"),
        (bytes(1024), "cast"),
        (GOOD.reshape(2, 512), "2 dimensions"),
        (GOOD.reshape(1024, 1), "2 dimensions"),
        (GOOD[0], "no sequence"),
        (GOOD[::2], "contiguous"),
        (GOOD[::-1], "contiguous"),
        (unaligned(), "contiguous"),
        (np.r_[GOOD, np.float32("nan")], "sample 1024 is NaN"),
        (np.r_[GOOD, np.float32("inf")], "sample 1024 is inf"),
        (np.r_[GOOD, np.float32(1e30)], "sample 1024 is 1"),
        (np.r_[GOOD, np.float32(-10.5)], "beyond full scale: sample 1024 is -10.5.*32768"),
    ],
)
def test_audio_that_is_none(audio: Any, message: str) -> None:
    vad = VADProcessor()
    for use in (vad.contains_speech, vad.probabilities, vad.speech_timestamps):
        with pytest.raises(ValueError, match=message):
            use(audio)
    # Nothing of it stays behind.
    first = bytes(vad.probabilities(GOOD[:512], resume=True))
    with pytest.raises(ValueError, match=message):
        vad.probabilities(audio, resume=True)
    vad.reset()
    assert bytes(vad.probabilities(GOOD[:512], resume=True)) == first


def refused(use: Callable[[], object]) -> str:
    """Why; empty if it isn't."""
    try:
        use()
    except ValueError as error:
        return str(error)
    return ""


def test_audio_of_another_scale_is_never_judged() -> None:
    """Floats of 8 to 32 bit scale, at any level that shows it: whole, and in pieces."""
    rng = np.random.default_rng(31)
    speech = say(*reversed(TEXTS[0]))[:RATE]
    beyond = 0
    for _ in range(60):
        bits, level = int(rng.choice([8, 16, 24, 32])), rng.uniform(-100, 0)
        audio = (speech * 2.0 ** (bits - 1) * 10 ** (level / 20)).astype(np.float32)
        vad, stream = VADProcessor(), VADStream()
        pieces = [audio[begin : begin + 160] for begin in range(0, len(audio), 160)]
        (many,) = vad.speech_timestamps_many([audio])
        whole = {
            str(many) if isinstance(many, ValueError) else "",
            *(refused(partial(use, audio)) for use in (vad.contains_speech, vad.probabilities)),
            refused(partial(vad.speech_timestamps, audio)),
        }
        told = next(filter(None, (refused(partial(stream.push, p)) for p in pieces)), "")
        if np.abs(audio).max() <= 10:
            assert (whole, told) == ({""}, "")
            continue
        beyond += 1
        first = int(np.argmax(np.abs(audio) > 10))
        assert len(whole) == 1 and f"sample {first} is" in whole.pop()
        assert f"sample {first % 160} is" in told and "32768" in told
    assert 20 < beyond < 60


@pytest.mark.parametrize("audio", [None, [0.0] * 512, "audio", 3, object()])
def test_what_is_no_buffer(audio: Any) -> None:
    with pytest.raises(TypeError, match="a buffer of float32 or int16"):
        VADProcessor().contains_speech(audio)


@pytest.mark.parametrize("rate", [0, -16000, 7999, 1 << 40])
def test_rates_that_are_none(rate: int) -> None:
    with pytest.raises(ValueError, match="8000 to 384000 Hz"):
        VADProcessor().probabilities(GOOD, sample_rate=rate)


@pytest.mark.parametrize("rate", [11025, 22050, 24000, 44100, 48000, 96000])
def test_other_rates_are_resampled(rate: int) -> None:
    speech = say(*reversed(TEXTS[0]))
    there = np.arange(len(speech)) / RATE
    audio = np.interp(np.arange(len(speech) * rate // RATE) / rate, there, speech)
    audio = audio.astype(np.float32)
    vad = VADProcessor()
    (found,) = vad.speech_timestamps(audio, sample_rate=rate)
    (expected,) = vad.speech_timestamps(speech)
    assert abs(found["start"] / rate - expected["start"] / RATE) <= 0.064
    assert abs(found["end"] / rate - expected["end"] / RATE) <= 0.064
    assert found["end"] <= len(audio)
    count = -(-len(audio) * RATE // rate // -512)
    assert abs(len(vad.probabilities(audio, sample_rate=rate)) + count) <= 1


@pytest.mark.parametrize("empty", [GOOD[:0], array.array("f"), array.array("h"), b""[:0]])
def test_no_audio_is_no_speech(empty: Any) -> None:
    vad = VADProcessor()
    audio = memoryview(empty).cast("h") if isinstance(empty, bytes) else empty
    assert not vad.contains_speech(audio)
    assert len(vad.probabilities(audio)) == 0
    assert vad.speech_timestamps(audio) == []
    assert vad.speech_timestamps(audio, return_seconds=True, time_resolution=1) == []
    assert not vad.contains_speech(audio, resume=True)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 48000])
def test_pieces_of_any_size_have_the_answer_of_the_last_window(rate: int) -> None:
    """Also those that complete none, as two of three pieces of 10 ms do."""
    speech = np.pad(say(*reversed(TEXTS[0])), RATE // 2)
    count = len(speech) * rate // RATE
    there = np.arange(count) / rate * RATE
    audio = np.interp(there, np.arange(len(speech)), speech).astype(np.float32)
    rng = np.random.default_rng(rate)
    for most in (0.001, 0.01, 0.1):
        judge, asked = VADProcessor(), VADProcessor()
        latest, begin, answers = 0.0, 0, set()
        while begin < count:
            piece = audio[begin : begin + int(rng.integers(0, max(2, round(most * rate))))]
            begin += len(piece)
            windows = numbers(judge.probabilities(piece, sample_rate=rate, resume=True))
            answer = asked.contains_speech(piece, sample_rate=rate, resume=True)
            assert answer == (max(windows, default=latest) >= 0.5), begin
            latest = windows[-1] if len(windows) else latest
            answers.add(answer)
        assert answers == {False, True}


def pauses_drawn(rng: np.random.Generator, speech: Floats) -> Floats:
    """With 64 to 190 ms of digital silence every 2 to 4.5 s."""
    parts: list[Floats] = []
    while len(speech) > 5 * RATE:
        cut = int(rng.uniform(2, 4.5) * RATE)
        parts += [speech[:cut], np.zeros(int(rng.uniform(0.064, 0.19) * RATE), np.float32)]
        speech = speech[cut:]
    return np.concatenate([*parts, speech])


def test_speech_that_is_too_long_is_cut_where_it_is_quiet() -> None:
    """Silero's own rules cut some of these in mid-word: they know pauses, not where it is quiet."""
    words = "and then we all went over the hill and along the river where more people were waiting "
    speech = say(words * 7)

    def loudest_cut(split: Literal["quietest", "longest"]) -> float:
        """Of the quietest 32 ms around each cut, the level in that of the speech."""
        loudest = 0.0
        for seed in range(10):
            audio = pauses_drawn(np.random.default_rng(seed), speech)
            vad = VADProcessor(max_s=12, pad_ms=0, split=split)
            found = vad.speech_timestamps(audio)
            assert len(found) > 1 and all(s["end"] - s["start"] <= 12 * RATE for s in found)
            for before, after in pairwise(found):
                around = range(int(before["end"]) - 512, int(after["start"]) + 513, 128)
                quietest = min(float(np.mean(audio[n : n + 512] ** 2)) for n in around)
                loudest = max(loudest, (quietest / float(np.mean(speech**2))) ** 0.5)
        return loudest

    assert loudest_cut("quietest") < 0.05 < loudest_cut("longest")


def test_a_sequence_has_one_rate() -> None:
    vad = VADProcessor()
    vad.probabilities(GOOD, resume=True)
    with pytest.raises(ValueError, match="reset"):
        vad.probabilities(GOOD, sample_rate=8000, resume=True)
    vad.reset()
    assert len(vad.probabilities(GOOD, sample_rate=8000, resume=True)) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0}, "threshold"),
        ({"threshold": 1.01}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"min_speech_ms": -1}, "min_speech_ms=-1"),
        ({"min_silence_ms": -1}, "min_silence_ms"),
        ({"pad_ms": 1 << 33}, "pad_ms"),
        ({"hearing": "better"}, "write enhanced or plain"),
        ({"neg_threshold": 0.6}, "neg_threshold"),
        ({"max_s": 0.2}, "max_s"),
        ({"max_s": float("nan")}, "max_s"),
        ({"split_silence_ms": -1}, "split_silence_ms"),
        ({"split": "first"}, "write longest, last or quietest"),
    ],
)
def test_wrong_parameters(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VADProcessor(**options)


def test_parameters_are_as_given() -> None:
    vad = VADProcessor(0.3, 100, 200, 30)
    assert (vad.threshold, vad.min_speech_ms) == (0.3, 100)
    assert (vad.min_silence_ms, vad.pad_ms) == (200, 30)
    assert repr(VADProcessor()) == (
        "VADProcessor(threshold=0.5, min_speech_ms=250, min_silence_ms=500, pad_ms=200)"
    )


def test_every_parameter_is_kept_shown_and_pickled() -> None:
    vad = VADProcessor(0.4, neg_threshold=0.2, max_s=20, split_silence_ms=64, split="quietest")
    assert repr(vad) == (
        "VADProcessor(threshold=0.4, min_speech_ms=250, min_silence_ms=500, pad_ms=200, "
        "neg_threshold=0.2, max_s=20.0, split_silence_ms=64, split='quietest')"
    )
    assert repr(pickle.loads(pickle.dumps(vad))) == repr(vad)
    assert repr(eval(repr(vad))) == repr(vad)


def test_threads_get_what_each_would_get_alone() -> None:
    vad = VADProcessor()
    voices = [say(text, voice) for voice, text in TEXTS]
    alone = [bytes(VADProcessor().probabilities(voice)) for voice in voices]
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(20):
            if bytes(vad.probabilities(voices[number])) != alone[number]:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(n % len(voices),)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_model_leaves_the_gil() -> None:
    audio = np.tile(say(*reversed(TEXTS[0])), 200)
    ticks = 0
    stop = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not stop.wait(0.005):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    wait_until(lambda: ticks, "the other thread")
    before = ticks
    VADProcessor().probabilities(audio)
    during = ticks - before
    stop.set()
    thread.join()
    assert during > 3


def test_audio_that_changes_meanwhile_does_no_harm() -> None:
    audio = np.tile(say(*reversed(TEXTS[0])), 10)
    stop = threading.Event()

    def scribble() -> None:
        rng = np.random.default_rng(1)
        while not stop.is_set():
            audio[:] = rng.normal(0, 1, len(audio))

    thread = threading.Thread(target=scribble)
    thread.start()
    vad = VADProcessor()
    try:
        for _ in range(10):
            found = numbers(vad.probabilities(audio))
            assert ((found >= 0) & (found <= 1)).all()
    finally:
        stop.set()
        thread.join()


def test_nothing_leaks() -> None:
    vad = VADProcessor()
    audio = array.array("f", bytes(8192))

    def use(count: int) -> int:
        for _ in range(count):
            vad.probabilities(audio)
            vad.contains_speech(audio, resume=True)
            vad.speech_timestamps(audio)
            with pytest.raises(ValueError):
                vad.probabilities(memoryview(audio)[::2])
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    use(500)
    held = sys.getrefcount(audio)
    before = use(1)
    assert use(2000) - before < 2000  # KiB
    assert sys.getrefcount(audio) == held
    audio.append(0.0)  # no buffer of it is held any more


def test_live_audio_is_answered_by_the_track(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=TEXTS[:2], lead=1)
    vad = VADProcessor()
    with AudioCapture(engine="private", source=talk.source).stream() as audio:
        segments = audio.segments()
        answers = [(chunk.position, vad.contains_speech(chunk), chunk) for chunk in audio]
        (spoken, *_) = utterances = list(segments)
        for position, answer, chunk in answers:
            found = vad.probabilities(chunk)
            # The same bits: a model that begins here would say something else.
            assert bytes(found) == bytes(chunk.speech)
            assert len(found) == 8
            assert answer == (max(found) >= 0.5)
            inside = any(a < position and position + 4096 < b for a, b in talk.spoken)
            assert answer or not inside
        assert not answers[0][1]
        assert bytes(vad.probabilities(spoken)) == bytes(spoken.speech)
        assert vad.contains_speech(spoken)
        for segment in utterances:
            (stamp,) = vad.speech_timestamps(segment)
            assert stamp == {"start": 0, "end": len(segment)}
        # Its newest samples, in which the talk is over.
        assert not vad.contains_speech(audio)
        assert len(vad.probabilities(audio)) == 8
        with pytest.raises(ValueError, match="16000"):
            vad.contains_speech(spoken, sample_rate=8000)
    with pytest.raises(V2MError, match="closed"):
        vad.contains_speech(audio)


def test_chunks_shorter_than_a_window(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=TEXTS[:1], lead=0.5, tail=0.5)
    vad = VADProcessor()
    heard = []
    with AudioCapture(buffer_size=160, engine="private", source=talk.source).stream() as audio:
        for chunk in audio:
            found = vad.probabilities(chunk)
            assert len(found) == 1
            heard.append((chunk.position, found[0] >= 0.5))
    begin, end = talk.spoken[0]
    assert sum(speech for position, speech in heard if begin < position < end) > 100
    assert not any(speech for position, speech in heard if position < begin - 600)


def test_live_audio_without_a_track_is_answered_by_the_model(tmp_path: Path) -> None:
    directory = tmp_path / "config/v2m-engine"
    directory.mkdir(parents=True)
    (directory / "config.toml").write_text('[vad]\nbackend = "off"\n')
    talk = Talk(tmp_path / "talk.wav", texts=TEXTS[:1], lead=1)
    vad = VADProcessor()
    with AudioCapture(engine="private", source=talk.source).stream() as audio:
        answers = [(chunk.position, vad.contains_speech(chunk)) for chunk in audio]
    begin, end = talk.spoken[0]
    for position, answer in answers:
        if position + 4096 < begin:
            assert not answer
        elif begin < position and position + 4096 < end:
            assert answer


def test_overwritten_audio(tmp_path: Path, service: Starter, recording: Recorder) -> None:
    directory = tmp_path / "config/v2m-engine"
    directory.mkdir(parents=True)
    (directory / "config.toml").write_text('history = 4\n[vad]\nbackend = "off"\n')
    service("--source", recording(20).source)
    vad = VADProcessor()
    with AudioCapture(buffer_size=1000).stream() as audio:
        old = next(audio)
        assert len(vad.probabilities(old)) >= 1
        wait_until(lambda: not old.valid, "the ring to come round", 20)
        with pytest.raises(OverrunError) as overrun:
            vad.contains_speech(old)
        assert overrun.value.lost == 1000


@pytest.mark.parametrize("with_service", [True, False])
def test_the_contract_runs_as_written(
    tmp_path: Path, service: Starter, with_service: bool, waiting: str
) -> None:
    directory = tmp_path / "config/v2m-engine"
    directory.mkdir(parents=True)
    talk = Talk(tmp_path / "talk.wav", lead=0)
    (directory / "config.toml").write_text(f'source = "{talk.source}"\n')
    if with_service:
        service()
    got: list[Floats] = []

    class Transcriber:
        async def process(self, audio: Any) -> None:
            got.append(np.array(audio))
            assert audio.private_engine_pid is None or not with_service

    body = "".join(f"    {line}\n" for line in CONTRACT.splitlines())
    names: dict[str, Any] = {"transcriber": Transcriber()}
    exec(f"async def main():\n{body}", names)
    # Speech is soon there; a pause may be as well.
    deadline = time.monotonic() + 30
    while not got:
        asyncio.run(names["main"]())
        assert time.monotonic() < deadline
    assert len(got[0]) == 4096
    assert os.environ["V2M_ENGINE_SOCKET"]
