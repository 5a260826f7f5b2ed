"""silero-vad's own answers: its functions on its own model's probabilities, beside ours.

Its Python needs PyTorch, so its functions are taken out of its file one by one; ONNX Runtime
runs its model. Where PyTorch is there, its own calls are compared as well.
"""

from __future__ import annotations

import array
import importlib
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest

from rig import ROOT
from rig.playing import Floats
from rig.speech import TEXTS, say
from v2m_engine import VADEvent, VADProcessor, VADStream
from v2m_engine.compat import silero_vad as ours

torch = pytest.importorskip("torch") if os.environ.get("V2M_TEST_TORCH") else None

#: Of audio for each rate. `make test-vad-equal` is the long form.
MINUTES = float(os.environ.get("V2M_VAD_EQUAL_HOURS", 0)) * 60 or 2.5
SETS = 50
#: Every so many of these the model runs, too; the others begin with its probabilities.
WHOLE = 10
#: How equal probabilities are.
SAME = 1e-4
#: A power of two, 65 s: quick to transform.
BLOCK = 1 << 20


def reference() -> Any:
    """Late: it sets ONNX Runtime's environment for whoever imports it."""
    return importlib.import_module("rig.vad_reference")


def silero(name: str) -> Any:
    return run_path(str(ROOT / "tools/models/vad_segments.py"))["silero"](name)


def telephone(block: Floats) -> Floats:
    """Audio at 16 kHz as 8 kHz, with nothing but 300 to 3400 Hz."""
    spectrum = np.fft.rfft(block)
    frequencies = np.fft.rfftfreq(len(block), 1 / 16000)
    spectrum[(frequencies < 300) | (frequencies > 3400)] = 0
    return np.asarray(np.fft.irfft(spectrum, len(block))[::2], np.float32)


@cache
def audio(rate: int) -> Floats:
    """Speech, music-like tones, noise, silence and garbage; at 8 kHz as a telephone has it."""
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        # espeak-ng leaves things there.
        patch.setenv("XDG_RUNTIME_DIR", place)
        whole = np.asarray(reference().audio(MINUTES), np.float32)
    # Not a whole number of windows.
    whole = whole[: len(whole) // 512 * 512 - 100]
    if rate == 16000:
        return whole
    # Block by block: a transform of hours takes more memory than most machines have.
    blocks = np.split(whole, range(BLOCK, len(whole), BLOCK))
    narrow: Floats = np.clip(np.concatenate([telephone(b) for b in blocks]), -1, 1)
    # As A-law leaves it, roughly: 8 bits on a logarithmic scale.
    levels = np.sign(narrow) * np.round(np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
    heard = np.sign(levels) * np.expm1(np.abs(levels) * np.log(256)) / 255
    return np.asarray(heard, np.float32)


@cache
def probabilities(rate: int) -> Floats:
    samples = audio(rate)
    window = 512 * rate // 16000
    padded = np.pad(samples, (0, -len(samples) % window))
    return np.asarray(reference().Reference(rate=rate).probabilities(padded), np.float32)


def drawn(rng: np.random.Generator) -> dict[str, Any]:
    """One set of parameters under silero's names."""
    threshold = float(np.round(rng.uniform(0.05, 0.95), 2))
    negative = None if rng.random() < 0.5 else float(np.round(rng.uniform(0.01, threshold), 3))
    pad = int(rng.integers(0, 500))
    longest = float("inf")
    if rng.random() < 0.7:
        longest = float(np.round(rng.uniform(2 * pad / 1000 + 0.1, 20), 2))
    return {
        "threshold": threshold,
        "neg_threshold": negative,
        "min_speech_duration_ms": int(rng.integers(0, 600)),
        "min_silence_duration_ms": int(rng.integers(0, 2500)),
        "speech_pad_ms": pad,
        "max_speech_duration_s": longest,
        "min_silence_at_max_speech": int(rng.integers(0, 400)),
        "use_max_poss_sil_at_max_speech": bool(rng.random() < 0.5),
    }


@pytest.mark.parametrize("rate", [16000, 8000])
def test_sample_numbers_are_silero_s_own(rate: int) -> None:
    samples, expected = audio(rate), probabilities(rate).astype(float)
    found = VADProcessor().probabilities(samples, sample_rate=rate)
    assert len(found) == len(expected)
    mine = np.asarray(found, float)
    difference = np.abs(mine - expected)
    # After hours there are places where float32 isn't that exact, silero's least (docs/offline.md).
    far = int((difference >= SAME).sum())
    assert far <= MINUTES // 60 * 30 and difference.max() < 1e-3
    theirs = silero("get_speech_timestamps_from_probs")
    model = ours.load_silero_vad()
    rng = np.random.default_rng(17)
    segments = near = 0
    for number in range(SETS):
        parameters = drawn(rng) | {"sampling_rate": rate}
        parameters["return_seconds"] = bool(rng.random() < 0.3)
        parameters["time_resolution"] = int(rng.integers(0, 4))
        length: Any = {"audio_length_samples": len(samples)}
        want = theirs(expected.tolist(), **length, **parameters)
        if number % WHOLE == 0:
            got = ours.get_speech_timestamps(samples, model, **parameters)
        else:
            got = ours.get_speech_timestamps_from_probs(found, **length, **parameters)
        segments += len(want)
        if got != want:
            # Only where a window is within the promise of equality of a threshold, and we are on
            # its other side: with ours in these windows silero says the same.
            limit = parameters["neg_threshold"] or max(parameters["threshold"] - 0.15, 0.01)
            decided = expected.copy()
            for edge in (parameters["threshold"], limit):
                other_side = (mine >= edge) != (expected >= edge)
                assert (np.abs(expected - edge)[other_side] < SAME).all(), parameters
                decided[other_side] = mine[other_side]
            assert theirs(decided.tolist(), **length, **parameters) == got
            near += 1
    print(f"{rate} Hz: {len(samples) / rate / 60:.0f} min, {SETS} sets, {segments} segments,")
    print(f"{near} sets with a probability on a threshold; {far} of {len(found)} windows differ")
    print(f"by more than {SAME}, by {difference.max():.1e} at most")
    assert segments > 200
    assert near <= MINUTES // 60


def test_many_at_once_say_the_same() -> None:
    vad = VADProcessor(min_silence_ms=100, pad_ms=30, max_s=15)
    whole = audio(16000)
    cuts = np.random.default_rng(3).integers(0, len(whole), 40)
    parts = [*np.split(whole, np.sort(cuts)), whole, whole[:0], whole[:1]]
    expected = [vad.speech_timestamps(part) for part in parts]
    for jobs in (None, 1, 2, 7):
        assert vad.speech_timestamps_many(iter(parts), jobs) == expected


def events(audio: Any, **options: Any) -> list[dict[str, int]]:
    """silero's iterator, window by window."""
    iterator = ours.VADIterator(ours.load_silero_vad(), **options)
    window = 512 if options.get("sampling_rate", 16000) == 16000 else 256
    whole = len(audio) // window * window
    found = [iterator(audio[n : n + window]) for n in range(0, whole, window)]
    return [event for event in found if event]


@pytest.mark.parametrize("rate", [16000, 8000])
def test_pieces_of_any_size_give_the_iterator_s_events(rate: int) -> None:
    rng = np.random.default_rng(5)
    samples = audio(rate)[: 40 * rate]
    for threshold, silence, pad in ((0.5, 100, 30), (0.3, 500, 0), (0.8, 0, 200)):
        stream = VADStream(threshold, silence, pad, sample_rate=rate)
        found: list[VADEvent] = []
        begin = 0
        while begin < len(samples):
            end = begin + int(rng.integers(0, 3000))
            found += stream.push(samples[begin:end])
            begin = end
        assert stream.position == len(samples)
        expected = events(
            samples,
            threshold=threshold,
            sampling_rate=rate,
            min_silence_duration_ms=silence,
            speech_pad_ms=pad,
        )
        assert [{event.kind: event.position} for event in found] == expected
        assert len(found) > 3
        assert stream.in_speech == (found[-1].kind == "start")
        # The end ends it, and begins anew.
        last = stream.finish()
        assert [event.kind for event in last] == (["end"] if found[-1].kind == "start" else [])
        assert (stream.position, stream.in_speech, stream.probability) == (0, False, None)


def test_a_word_that_is_too_short_is_a_misfire() -> None:
    word = say("no", "en")[:3200]
    audio = np.concatenate([np.zeros(8000, np.float32), word, np.zeros(16000, np.float32)])
    kinds = [[e.kind for e in VADStream(min_speech_ms=ms).push(audio)] for ms in (0, 2000)]
    assert kinds == [["start", "end"], ["start", "misfire"]]
    start, end = VADStream().push(audio)
    assert (start.time, start.position) == (start.position / 16000, start.position)
    match end:
        case VADEvent("end", position):
            assert position > start.position
        case _:
            raise AssertionError(end)
    assert repr(start).startswith("<VADEvent start at ")
    assert start == VADStream().push(audio)[0] != end


def test_too_short_is_told_of_any_length() -> None:
    """Words of drawn lengths: the same edges, and a misfire just where speech was too short."""
    rng = np.random.default_rng(41)
    words = say(*reversed(TEXTS[0]))
    parts: list[Floats] = []
    for _ in range(30):
        begin, length = int(rng.integers(0, len(words) // 2)), int(rng.uniform(0.05, 1) * 16000)
        parts += [words[begin : begin + length], np.zeros(8000, np.float32)]
    audio = np.concatenate(parts)
    edges = VADStream(pad_ms=0).push(audio)
    assert {event.kind for event in edges} == {"start", "end"}
    # A window's length is 32 ms: exactly as long as it says is too short, too.
    for ms in (*rng.integers(1, 700, 6), *(32 * rng.integers(1, 22, 6))):
        found = VADStream(pad_ms=0, min_speech_ms=int(ms)).push(audio)
        assert [event.position for event in found] == [event.position for event in edges]
        for start, end in zip(found[::2], found[1::2], strict=True):
            short = end.position - start.position <= 16 * ms
            assert (start.kind, end.kind) == ("start", "misfire" if short else "end"), ms


def test_a_piece_that_is_none_changes_nothing() -> None:
    samples = audio(16000)[: 20 * 16000]
    clean, wronged = VADStream(), VADStream()
    for begin in range(0, len(samples), 4000):
        piece = samples[begin : begin + 4000]
        bad = piece.copy()
        bad[-1] = np.nan
        with pytest.raises(ValueError, match="sample 3999 is NaN"):
            wronged.push(bad)
        assert wronged.push(piece) == clean.push(piece)


@pytest.mark.parametrize("kind", ["numpy", "list", "array", "double", "int16", "row", "strided"])
def test_audio_of_any_kind(kind: str) -> None:
    speech = np.concatenate([say(*reversed(TEXTS[0])), np.zeros(8000, np.float32)])
    speech = np.round(speech * 32768) / 32768
    plain = speech.astype(np.float32)
    kinds = {
        "numpy": plain,
        "list": plain.tolist(),
        "array": array.array("f", plain.tolist()),
        "double": plain.astype(np.float64),
        "int16": (plain * 32768).astype(np.int16),
        "row": plain[None, :],
        "strided": np.repeat(plain, 2)[::2],
    }
    model = ours.load_silero_vad()
    expected = VADProcessor(min_silence_ms=100, pad_ms=30).speech_timestamps(plain)
    assert ours.get_speech_timestamps(kinds[kind], model) == expected
    sequence = ours.load_silero_vad(sequence=True)
    assert ours.get_speech_timestamps_sequence(kinds[kind], sequence) == expected


def test_rates_callbacks_and_chunks(tmp_path: Path) -> None:
    speech = np.concatenate([say(*reversed(TEXTS[0])), np.zeros(8000, np.float32)])
    model = ours.load_silero_vad(onnx=True)
    expected = ours.get_speech_timestamps(speech, model)
    told: list[float] = []
    again = ours.get_speech_timestamps(speech, model, progress_tracking_callback=told.append)
    assert again == expected
    assert told == sorted(told) and told[-1] == 100 and len(told) == -(-len(speech) // 512)
    with pytest.warns(UserWarning, match="multiply of 16000"):
        tripled = ours.get_speech_timestamps(np.repeat(speech, 3), model, sampling_rate=48000)
    assert tripled == [{"start": 3 * s["start"], "end": 3 * s["end"]} for s in expected]
    with pytest.raises(ValueError, match="support 8000 and 16000"):
        ours.get_speech_timestamps(speech, model, sampling_rate=44100)
    with pytest.raises(ValueError, match="2 channels"):
        ours.get_speech_timestamps(np.stack([speech, speech]), model)
    # What is collected and what is dropped are the whole.
    seconds = [{k: v / 16000 for k, v in s.items()} for s in expected]
    kept = ours.collect_chunks(expected, speech)
    assert len(kept) == sum(s["end"] - s["start"] for s in expected) > 0
    assert np.array_equal(kept, ours.collect_chunks(seconds, speech, True, 16000))
    dropped = ours.drop_chunks(expected, speech)
    assert len(kept) + len(dropped) == len(speech)
    with pytest.raises(ValueError, match="sampling_rate must be provided"):
        ours.drop_chunks(seconds, speech, seconds=True)
    path = tmp_path / "kept.wav"
    ours.save_audio(path, kept)
    read = ours.read_audio(path)
    assert np.abs(np.asarray(read) - np.asarray(kept)).max() <= 0.5 / 32768 + 1e-6


def test_the_model_is_called_as_silero_s(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ours.load_silero_vad()
    samples = audio(16000)[: 512 * 200]
    expected = probabilities(16000)[:200]
    found = [model(w, 16000).item() for w in samples.reshape(-1, 512)]
    assert np.abs(np.array(found) - expected).max() < 1e-4
    # Several streams at once, each with a state of its own.
    both = np.stack([samples, samples[::-1]])
    rows = [model(both[:, n : n + 512], 16000) for n in range(0, 5120, 512)]
    assert np.shape(rows) == (10, 2, 1)
    assert np.abs(np.array(rows)[:, 0, 0] - expected[:10]).max() < 1e-4
    whole = model.audio_forward(samples, 16000)
    assert np.shape(whole) == (1, 200)
    with pytest.raises(ValueError, match="Provided number of samples is 100"):
        model(samples[:100], 16000)


#: A program whose `import silero_vad` is of our module.
SILERO_IS_OURS = """
import sys
import pytest
from v2m_engine.compat import silero_vad
sys.modules["silero_vad"] = silero_vad
sys.exit(pytest.main(["--noconftest", "-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def test_silero_s_own_tests() -> None:
    """Those of its source distribution that need no PyTorch; of its audio, too."""
    place = ROOT / "target/silero_vad-6.2.3"
    if not place.exists():
        pytest.skip("packaging/setup.sh test unpacks them")
    command = [sys.executable, "-c", SILERO_IS_OURS, "tests/test_sequence_parity.py"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "30 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(torch is None, reason="V2M_TEST_TORCH=1 compares with silero in PyTorch")
@pytest.mark.parametrize("rate", [16000, 8000])
def test_silero_in_pytorch_says_the_same(rate: int) -> None:
    import silero_vad as theirs  # type: ignore[import-not-found,import-untyped,unused-ignore]

    assert torch is not None
    samples = torch.from_numpy(audio(rate)[: 60 * rate].copy())
    model = theirs.load_silero_vad(onnx=True)
    rng = np.random.default_rng(23)
    for _ in range(5):
        parameters = drawn(rng) | {"sampling_rate": rate}
        want = theirs.get_speech_timestamps(samples, model, **parameters)
        assert ours.get_speech_timestamps(samples, ours.load_silero_vad(), **parameters) == want
    kept = ours.collect_chunks(want, samples)
    assert torch.equal(kept, theirs.collect_chunks(want, samples))
    assert torch.equal(ours.drop_chunks(want, samples), theirs.drop_chunks(want, samples))
    window = 512 * rate // 16000
    iterators = [
        package.VADIterator(package.load_silero_vad(onnx=True), sampling_rate=rate)
        for package in (theirs, ours)
    ]
    for begin in range(0, len(samples) // window * window, window):
        want, got = (iterator(samples[begin : begin + window]) for iterator in iterators)
        assert got == want
    assert torch.is_tensor(ours.load_silero_vad()(samples[:window], rate))
