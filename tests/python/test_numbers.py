"""Numbers out of range: whatever takes one refuses what it can't be, by a ValueError that names
the argument. The arguments are found in the stub, so that none is left out."""

from __future__ import annotations

import array
import ast
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import v2m_engine
from rig import ROOT
from rig.playing import Recording
from v2m_engine import AudioCapture, VADProcessor, VADStream, read_audio

STUB = Path(ROOT, "python/v2m_engine/_native.pyi")
SAMPLES = array.array("f", [0.0] * 2048)
HUGE = [2**31, 2**32, 2**63, 2**64, 2**70, 2**200, -(2**63), -(2**70), -(2**200)]

Call = Callable[..., object]


def audio_methods(vad: VADProcessor) -> dict[str, Call]:
    return {
        f"VADProcessor.{name}": lambda name=name, **given: getattr(vad, name)(SAMPLES, **given)
        for name in ("contains_speech", "probabilities", "speech_timestamps")
    }


#: How each function of the stub is called that takes numbers and needs no engine.
CALLS: dict[str, Call] = {
    "AudioCapture.__new__": AudioCapture,
    "AudioCapture.stream": lambda **given: AudioCapture().stream(**given),
    "AudioCapture.record": lambda **given: AudioCapture().record("never.wav", **given),
    "VADProcessor.__new__": VADProcessor,
    "VADStream.__new__": VADStream,
    "read_audio": lambda **given: read_audio(__file__, **given),
    "VADProcessor.speech_timestamps_from": lambda **given: VADProcessor().speech_timestamps_from(
        given.pop("probabilities", [0.9] * 10), **given
    ),
    "VADProcessor.speech_timestamps_many": lambda **given: VADProcessor().speech_timestamps_many(
        [SAMPLES], **given
    ),
    **audio_methods(VADProcessor()),
}
#: And those that need an open stream, or a recording.
OPEN = {"AudioStream.segments", "AudioStream.read", "Recording.wait"}


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        for member in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(member, ast.FunctionDef) and (
                member.name == "__new__" or not member.name.startswith("_")
            ):
                yield f"{getattr(node, 'name', '')}.{member.name}", member


def numbers() -> Iterator[tuple[str, str, str]]:
    """Function, argument, and `int` or `float`."""
    for name, node in functions():
        for argument in [*node.args.args, *node.args.kwonlyargs]:
            kinds = ast.unparse(argument.annotation).split(" | ") if argument.annotation else []
            for kind in ("int", "float"):
                if kind in kinds:
                    yield name, argument.arg, kind


NUMBERS = list(numbers())


def drawn(kind: str, name: str) -> list[Any]:
    """Numbers of all sizes, most of which no argument can be."""
    draw = random.Random(name)
    if kind == "int":
        whole = [draw.randrange(1, 2 ** draw.randrange(1, 80)) for _ in range(20)]
        return [0, -1, *HUGE, *whole, *(-size for size in whole)]
    sizes = [math.ldexp(draw.random(), draw.randrange(-1070, 1020)) for _ in range(20)]
    return [math.nan, math.inf, -math.inf, 0.0, -1, 2**70, *sizes, *(-size for size in sizes)]


def refusal(call: Call, argument: str, number: float) -> str | None:
    try:
        call(**{argument: number})
    except ValueError as refused:
        return str(refused)
    return None


def refuse_or_take(call: Call, argument: str, kind: str, name: str) -> None:
    for number in drawn(kind, name):
        # As many threads as it takes are no fault, but none of this test either.
        if argument == "jobs" and 16 < number <= 1024:
            continue
        refused = refusal(call, argument, number)
        if refused is None:
            assert is_possible(argument, number), f"{name}: {argument}={number}"
        else:
            assert argument in refused or RENAMED.get(argument, "?") in refused, refused


#: What a message calls it.
RENAMED = {"seconds": "length of a recording", "sync": "interval of syncs", "pad_ms": "two pads"}
LEAST = {"buffer_size": 1, "hop": 1, "jobs": 1, "n": 1, "partial_ms": 1}
THRESHOLDS = ("threshold", "neg_threshold")


def is_possible(argument: str, number: float) -> bool:
    if argument == "max_s":
        return number > 0
    if argument in THRESHOLDS:
        return 0 < number <= 1
    if argument == "sample_rate":
        return 8000 <= number <= 384_000
    return LEAST.get(argument, 0) <= number < 2**64


def test_every_function_that_takes_numbers_is_tried() -> None:
    assert {name for name, _, _ in NUMBERS} == set(CALLS) | OPEN
    assert len(NUMBERS) > 40


@pytest.mark.parametrize(
    ("name", "argument", "kind"),
    [one for one in NUMBERS if one[0] in CALLS],
    ids=lambda part: str(part),
)
def test_numbers(name: str, argument: str, kind: str) -> None:
    if name == "read_audio":
        # This is no audio: whatever the rate, it is a ValueError.
        for number in drawn(kind, name):
            with pytest.raises(ValueError, match=r"sample_rate|read"):
                CALLS[name](sample_rate=number)
    else:
        refuse_or_take(CALLS[name], argument, kind, name)


def test_numbers_of_an_open_stream(recording: Callable[..., Recording], tmp_path: Path) -> None:
    capture = AudioCapture(engine="private", source=recording(1).source)
    with capture.stream() as stream:
        for name, argument, kind in NUMBERS:
            if name == "AudioStream.segments":
                refuse_or_take(stream.segments, argument, kind, name)
        for number in drawn("int", "read"):
            if not 1 <= number <= stream.history // 2:
                with pytest.raises(ValueError, match="n="):
                    stream.read(number)
        for number in (math.nan, math.inf, -1.0, 1e300):
            with pytest.raises(ValueError, match="timeout="):
                stream.read(1, timeout=number)
    with capture.record(tmp_path / "out.wav") as written:
        for number in (math.nan, math.inf, -1.0, 1e300):
            with pytest.raises(ValueError, match="timeout="):
                written.wait(number)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -1, -1e-6, 1.001, 2, 1e300])
def test_probabilities(wrong: float) -> None:
    draw = random.Random(str(wrong))
    makes: list[Callable[[list[float]], Any]] = [
        list,
        tuple,
        np.array,
        lambda p: np.asarray(p, np.float32),
        lambda p: array.array("f", p),
    ]
    for make in makes:
        probabilities = [draw.random() for _ in range(30)]
        assert VADProcessor().speech_timestamps_from(make(probabilities)) is not None
        at = draw.randrange(30)
        probabilities[at] = min(wrong, 3e38)
        with pytest.raises(ValueError, match=rf"probabilities\[{at}\]=.*must be 0 to 1"):
            VADProcessor().speech_timestamps_from(make(probabilities))


@pytest.mark.parametrize("shape", [(), (1, 10), (10, 1), (5, 2), (2, 2, 2)])
def test_shapes(shape: tuple[int, ...]) -> None:
    many = np.zeros(shape, np.float32)
    vad = VADProcessor()
    takes: list[Call] = [
        vad.contains_speech,
        vad.probabilities,
        vad.speech_timestamps,
        vad.speech_timestamps_from,
        VADStream().push,
    ]
    for take in takes:
        with pytest.raises(ValueError, match="dimension"):
            take(many)
    (error,) = vad.speech_timestamps_many([many])
    assert isinstance(error, ValueError) and "dimension" in str(error)


def test_lengths() -> None:
    """Of audio with so many windows, at any rate; live audio may begin or end inside of one."""
    draw = random.Random(5)
    for _ in range(300):
        rate = draw.choice([8000, 11025, 16000, 22050, 44100, 48000, 384_000])
        length = draw.randrange(0, 4 * rate)
        windows = -(-length * 16000 // (rate * 512))
        probabilities = [0.9] * windows
        found = VADProcessor().speech_timestamps_from(probabilities, length, sample_rate=rate)
        assert all(0 <= one["start"] <= one["end"] <= length for one in found)
        for wrong in (length + 2 * rate * 512 // 16000 + 1, length - 2 * rate * 512 // 16000):
            if wrong >= 0 or wrong > length:
                with pytest.raises(ValueError, match=f"length={wrong}: {windows} probabilities"):
                    VADProcessor().speech_timestamps_from(probabilities, wrong, sample_rate=rate)


def test_the_function_refuses_as_the_method() -> None:
    for given in ({"jobs": 0}, {"sample_rate": -1}, {"threshold": math.nan}, {"pad_ms": 2**70}):
        name = next(iter(given))
        with pytest.raises(ValueError, match=name):
            v2m_engine.speech_timestamps_many([SAMPLES], **given)


def test_seconds_are_rounded_as_python_does() -> None:
    """And never lie beyond the end of the audio."""
    vad, draw = VADProcessor(min_speech_ms=0, min_silence_ms=0, pad_ms=0), random.Random(3)
    for _ in range(300):
        rate = draw.choice([8000, 11025, 16000, 44100, 48000, draw.randint(4000, 192_000)])
        probabilities = [draw.choice([0.1, 0.9]) for _ in range(draw.randint(1, 400))]
        decimals = draw.choice([*range(9), 17, 30, 400, 2**31 - 1])
        samples = vad.speech_timestamps_from(probabilities, sample_rate=rate)
        seconds = vad.speech_timestamps_from(
            probabilities, return_seconds=True, sample_rate=rate, time_resolution=decimals
        )
        end = len(probabilities) * 512 * rate // 16000 / rate
        for own, found in zip(samples, seconds, strict=True):
            for key in ("start", "end"):
                assert found[key] == min(round(own[key] / rate, decimals), end), (rate, decimals)
