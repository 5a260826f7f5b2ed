"""Settings can be pickled; audio can't, and says what can."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from rig.playing import Recording
from v2m_engine import AudioCapture, VADProcessor


def test_settings(recording: Callable[..., Recording]) -> None:
    source = recording(3)
    capture = AudioCapture(
        buffer_size=320,
        source=source.source,
        channel=1,
        dtype="int16",
        engine="private",
        latency="128/48000",
    )
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(capture, protocol))
        assert repr(copy) == repr(capture) and copy.buffer_size == 320
        assert copy.dtype == "int16"
        assert pickle.dumps(copy, protocol) == pickle.dumps(capture, protocol)
    with copy.stream() as audio:
        assert len(next(audio)) == 320
    vad = VADProcessor(
        threshold=0.3, min_speech_ms=1, min_silence_ms=2, pad_ms=3, hearing="enhanced"
    )
    assert repr(pickle.loads(pickle.dumps(vad))) == repr(vad)
    assert repr(pickle.loads(pickle.dumps(AudioCapture()))) == repr(AudioCapture())


def test_a_chunk_says_what_can_be(recording: Callable[..., Recording]) -> None:
    capture = AudioCapture(engine="private", source=recording(3).source, buffer_size=160)
    with capture.stream() as audio:
        chunk = next(audio)
        with pytest.raises(TypeError, match=r"copy\(\)"):
            pickle.dumps(chunk)
        assert pickle.loads(pickle.dumps(chunk.copy())) == chunk.copy()
